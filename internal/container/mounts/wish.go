// Package mounts reads what is asked to be mounted in a container, in all of
// the API's forms, and makes of it the resolved list that a record keeps.
package mounts

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"hoy/internal/container/record"
)

// Wish is one mount as asked for, checked for form only.
type Wish struct {
	record.Mount
	// MakeSource: a missing bind source is made, as -v does.
	MakeSource bool
	Labels     map[string]string
	Driver     string
	DriverOpts map[string]string
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// Parse reads binds, mounts, tmpfs and the volumes of the configuration. The
// list is sorted by destination; a volume of the image gives way to all else.
func Parse(c *container.Config, hc *container.HostConfig) ([]Wish, error) {
	var all []Wish
	seen := map[string]bool{}
	add := func(w Wish) error {
		if seen[w.Destination] {
			return invalid("Duplicate mount point: %s", w.Destination)
		}
		seen[w.Destination] = true
		all = append(all, w)
		return nil
	}
	for _, b := range hc.Binds {
		w, err := parseBind(b, hc.VolumeDriver)
		if err == nil {
			err = add(w)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, m := range hc.Mounts {
		w, err := parseMount(m)
		if err == nil {
			err = add(w)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, dst := range slices.Sorted(maps.Keys(hc.Tmpfs)) {
		w, err := parseTmpfs(dst, hc.Tmpfs[dst])
		if err == nil {
			err = add(w)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Wish) int { return strings.Compare(a.Destination, b.Destination) })
	return all, nil
}

// ImageVolumes are the anonymous volumes for what the configuration declares
// and nothing else covers.
func ImageVolumes(c *container.Config, covered func(dst string) bool) ([]Wish, error) {
	var all []Wish
	for _, dst := range slices.Sorted(maps.Keys(c.Volumes)) {
		clean, err := destination(dst, dst)
		if err != nil {
			return nil, err
		}
		if covered(clean) {
			continue
		}
		all = append(all, Wish{Mount: record.Mount{
			MountPoint: container.MountPoint{Type: mount.TypeVolume, Destination: clean, Driver: "local", RW: true},
			Anonymous:  true, CopyUp: true,
		}})
	}
	return all, nil
}

func destination(dst, spec string) (string, error) {
	if dst == "" {
		return "", invalid("invalid volume specification: '%s': destination path must not be empty", spec)
	}
	if !path.IsAbs(dst) {
		return "", invalid("invalid volume specification: '%s': invalid mount path: '%s' mount path must be absolute", spec, dst)
	}
	clean := path.Clean(dst)
	if clean == "/" {
		return "", invalid("invalid volume specification: '%s': invalid specification: destination can't be '/'", spec)
	}
	if strings.Contains(clean, "\x00") {
		return "", invalid("invalid volume specification: destination holds a zero byte")
	}
	return clean, nil
}

func parseBind(spec, driver string) (Wish, error) {
	parts := strings.Split(spec, ":")
	bad := func() (Wish, error) { return Wish{}, invalid("invalid volume specification: '%s'", spec) }
	var src, dst, mode string
	switch len(parts) {
	case 1:
		dst = parts[0]
	case 2:
		src, dst = parts[0], parts[1]
		// "/dst:ro" has the form of a source and a destination but is an anonymous volume with a mode.
		if isModes(parts[1]) {
			src, dst, mode = "", parts[0], parts[1]
		}
	case 3:
		src, dst, mode = parts[0], parts[1], parts[2]
	default:
		return bad()
	}
	if len(parts) > 1 && src == "" && mode == "" || len(parts) == 3 && src == "" {
		return bad()
	}
	clean, err := destination(dst, spec)
	if err != nil {
		return Wish{}, err
	}
	w := Wish{Mount: record.Mount{MountPoint: container.MountPoint{Destination: clean, RW: true, Mode: mode}}}
	if path.IsAbs(src) {
		w.Type, w.Source, w.MakeSource, w.Propagation = mount.TypeBind, path.Clean(src), true, mount.PropagationRPrivate
	} else {
		w.Type, w.Name, w.CopyUp, w.Driver = mount.TypeVolume, src, true, driver
		if src == "" {
			w.Anonymous = true
		} else if err := volumeName(src); err != nil {
			return Wish{}, err
		}
		if w.Driver == "" {
			w.Driver = "local"
		}
	}
	if err := w.modes(mode, spec); err != nil {
		return Wish{}, err
	}
	return w, nil
}

func volumeName(name string) error {
	ok := len(name) > 1
	for i, r := range name {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		ok = ok && (alnum || i > 0 && strings.ContainsRune("_.-", r))
	}
	if !ok {
		return invalid("%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name)
	}
	return nil
}

func isModes(s string) bool {
	var w Wish
	w.Type = mount.TypeBind
	return s != "" && !path.IsAbs(s) && w.modes(s, s) == nil
}

// modes applies the third part of a bind, a list of words.
func (w *Wish) modes(mode, spec string) error {
	if mode == "" {
		return nil
	}
	counts := map[string]int{}
	for word := range strings.SplitSeq(mode, ",") {
		var group string
		switch word {
		case "ro":
			group, w.RW = "access", false
		case "rw":
			group = "access"
		case "z", "Z":
			group = "label" // there is no SELinux to label for
		case "idmap":
			group, w.IDMap = "ids", true
		case "nocopy":
			group, w.CopyUp = "copy", false
			if w.Type == mount.TypeBind {
				return invalid("invalid volume specification: '%s': nocopy is for volumes only", spec)
			}
		case "cached", "delegated", "consistent", "default":
			group = "consistency"
		default:
			if !slices.Contains(mount.Propagations, mount.Propagation(word)) || w.Type != mount.TypeBind {
				return invalid("invalid mode: %s", mode)
			}
			group, w.Propagation = "propagation", mount.Propagation(word)
		}
		if counts[group]++; counts[group] > 1 {
			return invalid("invalid mode: %s", mode)
		}
	}
	return nil
}
