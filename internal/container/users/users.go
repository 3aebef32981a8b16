// Package users decides which host ids the users of a container are: those of
// the host's root namespace, those that the daemon is told to use for all
// containers, or 65536 of a container's own.
package users

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"errors"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/userns"
)

// Block is how many ids a container of its own mapping has.
const Block = 65536

// Default are ids that no distribution gives to users: above what systemd has
// for its containers, below where numbers become negative for old programs.
var Default = Range{First: 0x70000000, Count: 4095 * Block}

// DefaultUser is whose subordinate ids "default" means, as in Docker.
const DefaultUser = "dockremap"

// Range is a run of host ids.
type Range struct{ First, Count uint32 }

// ParseRange reads "FIRST:COUNT"; empty is the default.
func ParseRange(s string) (Range, error) {
	if s == "" {
		return Default, nil
	}
	first, count, _ := strings.Cut(s, ":")
	a, errA := strconv.ParseUint(first, 10, 32)
	n, errN := strconv.ParseUint(count, 10, 32)
	switch {
	case errA != nil || errN != nil:
		return Range{}, fmt.Errorf("invalid userns-range %q: must be FIRST:COUNT, two numbers", s)
	case a < Block:
		return Range{}, fmt.Errorf("invalid userns-range %q: ids below %d are the host's own", s, Block)
	case n < Block:
		return Range{}, fmt.Errorf("invalid userns-range %q: a container needs %d ids", s, Block)
	case a+n > 1<<32-1:
		return Range{}, fmt.Errorf("invalid userns-range %q: goes beyond the highest id", s)
	}
	return Range{uint32(a), uint32(n)}, nil
}

// Map is the mapping of the block that begins at first.
func Map(first uint32) userns.Map {
	one := []specs.LinuxIDMapping{{HostID: first, Size: Block}}
	return userns.Map{UIDs: one, GIDs: one}
}

// Files of the host; tests name others.
type Files struct{ Passwd, Group, SubUID, SubGID string }

// HostFiles are where every Linux has them.
var HostFiles = Files{"/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"}

// Remap reads userns-remap, in dockerd's forms: "default", "user", "uid",
// "user:group", "uid:gid". An empty one is no mapping.
func (f Files) Remap(setting string, spare Range) (*userns.Map, error) {
	if setting == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(setting, ":")
	if name == "" || hasGroup && (group == "" || strings.Contains(group, ":")) {
		return nil, fmt.Errorf("invalid userns-remap %q: must be default, or a user with or without a group", setting)
	}
	byDefault := setting == "default"
	if byDefault {
		name = DefaultUser
	}
	users, err := f.names(f.Passwd, name)
	if err != nil {
		return nil, err
	}
	groups := users
	if hasGroup {
		if groups, err = f.names(f.Group, group); err != nil {
			return nil, err
		}
		groups = append(groups, users...)
	}
	if slices.Contains(users, "root") || slices.Contains(users, "0") {
		return nil, fmt.Errorf("userns-remap %q: root cannot be mapped to itself", setting)
	}
	m := userns.Map{}
	if m.UIDs, err = subordinate(f.SubUID, users); err != nil {
		return nil, err
	}
	if m.GIDs, err = subordinate(f.SubGID, groups); err != nil {
		return nil, err
	}
	switch {
	case byDefault && len(m.UIDs) == 0 && len(m.GIDs) == 0:
		m = Map(spare.First)
	case len(m.UIDs) == 0:
		return nil, fmt.Errorf("userns-remap %q: %s has no line for %s, such as %s:100000:65536", setting, f.SubUID, name, name)
	case len(m.GIDs) == 0:
		return nil, fmt.Errorf("userns-remap %q: %s has no line for %s, such as %s:100000:65536", setting, f.SubGID, name, name)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("userns-remap %q: %w", setting, err)
	}
	return &m, nil
}

// maxFile bounds how much of a file of the host is read.
const maxFile = 16 << 20

// names are all names of a user or group: as it was written, and the name or
// number that the file has for it.
func (f Files) names(file, name string) ([]string, error) {
	all := []string{name}
	err := lines(file, func(fields []string) {
		if len(fields) < 3 || fields[0] == "" {
			return
		}
		if fields[0] == name {
			all = append(all, fields[2])
		} else if fields[2] == name {
			all = append(all, fields[0])
		}
	})
	if err != nil {
		return nil, err
	}
	if _, number := strconv.ParseUint(name, 10, 32); len(all) == 1 && number != nil && name != DefaultUser {
		return nil, fmt.Errorf("userns-remap: %s is not in %s", name, file)
	}
	return all, nil
}

func lines(file string, each func(fields []string)) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			each(strings.Split(line, ":"))
		}
	}
	return nil
}

// subordinate are the ranges of any of names, one behind the other.
func subordinate(file string, names []string) ([]specs.LinuxIDMapping, error) {
	ranges, err := readSub(file)
	if err != nil {
		return nil, err
	}
	var out []specs.LinuxIDMapping
	next := uint64(0)
	for _, r := range ranges {
		if !slices.Contains(names, r.Name) || r.Count <= 0 {
			continue
		}
		if r.SubID < 0 || r.SubID+r.Count > 1<<32-1 || next+uint64(r.Count) > 1<<32-1 {
			return nil, fmt.Errorf("%s: %s:%d:%d goes beyond the highest id", file, r.Name, r.SubID, r.Count)
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: uint32(r.SubID), Size: uint32(r.Count)})
		next += uint64(r.Count)
	}
	return out, nil
}

func readSub(file string) ([]user.SubID, error) {
	ranges, err := user.ParseSubIDFile(filepath.Clean(file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return ranges, err
}

// taken are the runs of ids that the host's users have.
func (f Files) taken() ([]Range, error) {
	var all []Range
	for _, file := range []string{f.SubUID, f.SubGID} {
		ranges, err := readSub(file)
		if err != nil {
			return nil, err
		}
		for _, r := range ranges {
			if r.SubID >= 0 && r.Count > 0 && r.SubID < 1<<32 {
				all = append(all, Range{uint32(r.SubID), uint32(min(r.Count, 1<<32-1-r.SubID))})
			}
		}
	}
	return all, nil
}
