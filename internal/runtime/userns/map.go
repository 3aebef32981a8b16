package userns

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Map is which ids of a user namespace are which of its parent's.
type Map struct {
	UIDs, GIDs []specs.LinuxIDMapping
}

// maxRanges is how many lines the kernel takes, see user_namespaces(7).
const maxRanges = 340

// Nobody is what an id that is not mapped looks like, /proc/sys/fs/overflowuid.
const Nobody = 65534

// Check refuses what the kernel would, in words that say what is wrong.
func (m Map) Check() error {
	for _, l := range m.lists() {
		if len(l.list) == 0 {
			return fmt.Errorf("a user namespace needs uid and gid mappings: %s mappings are missing", l.what)
		}
		if len(l.list) > maxRanges {
			return fmt.Errorf("%d %s mappings, the kernel takes %d", len(l.list), l.what, maxRanges)
		}
		for _, side := range []struct {
			name string
			id   func(specs.LinuxIDMapping) uint32
		}{
			{"container", func(r specs.LinuxIDMapping) uint32 { return r.ContainerID }},
			{"host", func(r specs.LinuxIDMapping) uint32 { return r.HostID }},
		} {
			if err := checkSide(l.what, side.name, l.list, side.id); err != nil {
				return err
			}
		}
	}
	return nil
}

type list struct {
	what string
	list []specs.LinuxIDMapping
}

func (m Map) lists() []list { return []list{{"uid", m.UIDs}, {"gid", m.GIDs}} }

func checkSide(what, side string, ranges []specs.LinuxIDMapping, id func(specs.LinuxIDMapping) uint32) error {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b specs.LinuxIDMapping) int { return cmp.Compare(id(a), id(b)) })
	end := uint64(0)
	for i, r := range sorted {
		first := uint64(id(r))
		last := first + uint64(r.Size)
		switch {
		case r.Size == 0:
			return fmt.Errorf("%s mapping %d:%d:%d is empty", what, r.ContainerID, r.HostID, r.Size)
		// The highest id, (uid_t)-1, means "no change" to system calls.
		case last > 1<<32-1:
			return fmt.Errorf("%s mapping %d:%d:%d goes beyond the highest id", what, r.ContainerID, r.HostID, r.Size)
		case i > 0 && first < end:
			return fmt.Errorf("%s mappings overlap: %s id %d is mapped twice", what, side, first)
		}
		end = last
	}
	return nil
}

// HasRoot refuses a map without the root that a container is set up as.
func (m Map) HasRoot() error {
	for _, l := range m.lists() {
		if _, ok := ToHost(l.list, 0); !ok {
			return fmt.Errorf("the container's %s 0 is not in its user namespace's mappings", l.what)
		}
	}
	return nil
}

// Has refuses a map that lacks the container's root or a process's own ids.
func (m Map) Has(uid, gid uint32, groups []uint32) error {
	if err := errors.Join(m.Check(), m.HasRoot()); err != nil {
		return err
	}
	for _, id := range []struct {
		what string
		in   []specs.LinuxIDMapping
		list []uint32
	}{{"user", m.UIDs, []uint32{uid}}, {"group", m.GIDs, []uint32{gid}}, {"additional group", m.GIDs, groups}} {
		for _, n := range id.list {
			if _, ok := ToHost(id.in, n); !ok {
				return fmt.Errorf("%s %d is not in the user namespace's mappings (%s)", id.what, n, m)
			}
		}
	}
	return nil
}

// ToHost is the parent namespace's number of an id.
func ToHost(ranges []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.ContainerID && id-r.ContainerID < r.Size {
			return r.HostID + id - r.ContainerID, true
		}
	}
	return Nobody, false
}

// ToContainer is the namespace's number of one of its parent's ids.
func ToContainer(ranges []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.HostID && id-r.HostID < r.Size {
			return r.ContainerID + id - r.HostID, true
		}
	}
	return Nobody, false
}

// Same says whether two maps map alike, however they are written.
func (m Map) Same(o Map) bool { return alike(m.UIDs, o.UIDs) && alike(m.GIDs, o.GIDs) }

func alike(a, b []specs.LinuxIDMapping) bool { return slices.Equal(joined(a), joined(b)) }

// Differs says how a map that may leave ids out is other than the namespace's.
func (m Map) Differs(ns Map) error {
	there := ns.lists()
	for i, l := range m.lists() {
		if len(l.list) > 0 && !alike(l.list, there[i].list) {
			return fmt.Errorf("%s mappings than the namespace: %v, not %v", l.what, l.list, there[i].list)
		}
	}
	return nil
}

// joined sorts ranges and puts together those that continue each other.
func joined(ranges []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b specs.LinuxIDMapping) int { return cmp.Compare(a.ContainerID, b.ContainerID) })
	var out []specs.LinuxIDMapping
	for _, r := range sorted {
		if n := len(out); n > 0 && out[n-1].ContainerID+out[n-1].Size == r.ContainerID && out[n-1].HostID+out[n-1].Size == r.HostID {
			out[n-1].Size += r.Size
			continue
		}
		out = append(out, r)
	}
	return out
}

// String is the map as a key and for people.
func (m Map) String() string {
	return "uid " + strings.ReplaceAll(strings.TrimSpace(m.text(m.UIDs)), "\n", ", ") +
		"; gid " + strings.ReplaceAll(strings.TrimSpace(m.text(m.GIDs)), "\n", ", ")
}

func (Map) text(ranges []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.ContainerID, r.HostID, r.Size)
	}
	return b.String()
}

// Read reads the maps of a process's user namespace.
func Read(pid int) (Map, error) {
	var m Map
	var errs [2]error
	m.UIDs, errs[0] = readFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	m.GIDs, errs[1] = readFile(fmt.Sprintf("/proc/%d/gid_map", pid))
	return m, errors.Join(errs[:]...)
}

func readFile(file string) ([]specs.LinuxIDMapping, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(string(data))
}

// Parse reads ranges in the form of /proc/PID/uid_map.
func Parse(text string) ([]specs.LinuxIDMapping, error) {
	var ranges []specs.LinuxIDMapping
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var r specs.LinuxIDMapping
		if _, err := fmt.Sscan(line, &r.ContainerID, &r.HostID, &r.Size); err != nil {
			return nil, fmt.Errorf("id map %q: %w", line, err)
		}
		ranges = append(ranges, r)
	}
	return slices.Clip(ranges), nil
}
