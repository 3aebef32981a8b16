package mounts

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"hoy/internal/container/record"
)

func parseMount(m mount.Mount) (Wish, error) {
	bad := func(format string, args ...any) (Wish, error) {
		return Wish{}, invalid("invalid mount config for type %q: %s", m.Type, fmt.Sprintf(format, args...))
	}
	if m.Target == "" {
		return bad("field Target must not be empty")
	}
	if !path.IsAbs(m.Target) {
		return bad("invalid mount path: '%s' mount path must be absolute", m.Target)
	}
	dst := path.Clean(m.Target)
	if dst == "/" {
		return bad("invalid specification: destination can't be '/'")
	}
	for _, o := range []struct {
		set  bool
		name string
		kind mount.Type
	}{
		{m.BindOptions != nil, "BindOptions", mount.TypeBind}, {m.VolumeOptions != nil, "VolumeOptions", mount.TypeVolume},
		{m.TmpfsOptions != nil, "TmpfsOptions", mount.TypeTmpfs}, {m.ImageOptions != nil, "ImageOptions", mount.TypeImage},
	} {
		if o.set && o.kind != m.Type {
			return bad("field %s must not be specified", o.name)
		}
	}
	w := Wish{Mount: record.Mount{
		MountPoint: container.MountPoint{Type: m.Type, Destination: dst, RW: !m.ReadOnly},
		Spec:       &m,
	}}
	var err error
	switch m.Type {
	case mount.TypeBind:
		err = w.bind(m)
	case mount.TypeVolume:
		err = w.volume(m)
	case mount.TypeTmpfs:
		if m.Source != "" {
			return bad("field Source must not be specified")
		}
		err = w.tmpfs(m.TmpfsOptions, m.ReadOnly)
	case mount.TypeImage:
		return bad("mounting an image is not supported by this engine")
	default:
		return Wish{}, invalid("mount type unknown: %q", m.Type)
	}
	if err != nil {
		return bad("%v", err)
	}
	return w, nil
}

// IDMap as a mount's consistency, which means nothing on Linux, maps the owners
// of its files into the container's user namespace.
const IDMap = "idmap"

func (w *Wish) bind(m mount.Mount) error {
	if m.Source == "" {
		return invalid("field Source must not be empty")
	}
	if !path.IsAbs(m.Source) {
		return invalid("invalid mount path: '%s' mount path must be absolute", m.Source)
	}
	w.Source, w.Propagation = path.Clean(m.Source), mount.PropagationRPrivate
	w.IDMap = m.Consistency == IDMap
	o := m.BindOptions
	if o == nil {
		return nil
	}
	if o.Propagation != "" {
		if !slices.Contains(mount.Propagations, o.Propagation) {
			return invalid("invalid propagation mode: %s", o.Propagation)
		}
		w.Propagation = o.Propagation
	}
	if o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive {
		return invalid("options conflict: ReadOnlyNonRecursive and ReadOnlyForceRecursive")
	}
	if (o.ReadOnlyNonRecursive || o.ReadOnlyForceRecursive) && !m.ReadOnly {
		return invalid("mount must be read-only for ReadOnlyNonRecursive or ReadOnlyForceRecursive")
	}
	w.MakeSource = o.CreateMountpoint
	w.NonRecursive = o.NonRecursive
	w.ReadOnlyNonRecursive, w.ReadOnlyForceRecursive = o.ReadOnlyNonRecursive, o.ReadOnlyForceRecursive
	return nil
}

func (w *Wish) volume(m mount.Mount) error {
	w.Name, w.Anonymous, w.CopyUp, w.Driver = m.Source, m.Source == "", true, "local"
	if m.Source != "" {
		if err := volumeName(m.Source); err != nil {
			return err
		}
	}
	o := m.VolumeOptions
	if o == nil {
		return nil
	}
	w.CopyUp, w.Labels = !o.NoCopy, o.Labels
	if o.Subpath != "" {
		if m.Source == "" {
			return invalid("must not set Subpath when using anonymous volumes")
		}
		if !filepath.IsLocal(o.Subpath) {
			return invalid("subpath must be a relative path within the volume")
		}
		w.Subpath, w.CopyUp = o.Subpath, false
	}
	if d := o.DriverConfig; d != nil {
		if d.Name != "" {
			w.Driver = d.Name
		}
		w.DriverOpts = d.Options
	}
	return nil
}

func (w *Wish) tmpfs(o *mount.TmpfsOptions, readOnly bool) error {
	opts := []string{}
	if o != nil {
		if o.SizeBytes < 0 {
			return invalid("invalid tmpfs size: %d", o.SizeBytes)
		}
		if o.SizeBytes > 0 {
			opts = append(opts, fmt.Sprintf("size=%d", o.SizeBytes))
		}
		if o.Mode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", o.Mode))
		}
		for _, kv := range o.Options {
			if len(kv) == 0 || len(kv) > 2 {
				return invalid("invalid option array: %v", kv)
			}
			opts = append(opts, strings.Join(kv, "="))
		}
	}
	if readOnly {
		opts = append(opts, "ro")
	}
	var err error
	w.TmpfsOptions, err = tmpfsOptions(opts)
	return err
}

func parseTmpfs(dst, options string) (Wish, error) {
	clean, err := destination(dst, dst)
	if err != nil {
		return Wish{}, err
	}
	var opts []string
	if options != "" {
		opts = strings.Split(options, ",")
	}
	opts, err = tmpfsOptions(opts)
	if err != nil {
		return Wish{}, err
	}
	return Wish{Mount: record.Mount{
		MountPoint:   container.MountPoint{Type: mount.TypeTmpfs, Destination: clean, RW: !slices.Contains(opts, "ro"), Mode: options},
		TmpfsOptions: opts,
	}}, nil
}

var tmpfsFlags = map[string]string{
	"ro": "rw", "rw": "ro", "exec": "noexec", "noexec": "exec", "suid": "nosuid", "nosuid": "suid",
	"dev": "nodev", "nodev": "dev", "atime": "noatime", "noatime": "atime", "relatime": "norelatime",
	"norelatime": "relatime", "strictatime": "nostrictatime", "nostrictatime": "strictatime",
	"diratime": "nodiratime", "nodiratime": "diratime", "sync": "async", "async": "sync",
	"defaults": "", "mand": "nomand", "nomand": "mand",
}

var tmpfsValues = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}

// tmpfsOptions lays the asked options over noexec, nosuid and nodev.
func tmpfsOptions(asked []string) ([]string, error) {
	out := []string{"noexec", "nosuid", "nodev"}
	for _, o := range asked {
		key, _, hasValue := strings.Cut(o, "=")
		if hasValue {
			if !slices.Contains(tmpfsValues, key) {
				return nil, invalid("invalid tmpfs option %q", o)
			}
			out = slices.DeleteFunc(out, func(have string) bool { return strings.HasPrefix(have, key+"=") })
			out = append(out, o)
			continue
		}
		opposite, ok := tmpfsFlags[o]
		if !ok {
			return nil, invalid("invalid tmpfs option %q", o)
		}
		if o == "defaults" {
			continue
		}
		out = slices.DeleteFunc(out, func(have string) bool { return have == opposite || have == o })
		out = append(out, o)
	}
	return out, nil
}
