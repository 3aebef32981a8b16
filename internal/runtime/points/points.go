// Package points makes a root file system ready for the mounts of a container:
// the places that they need, and what tmpfs take from the places they cover.
package points

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/copyup"
	"hoy/internal/runtime/device"
	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/rootfs"
)

// Absolute is spec with every path of the host that begins in the bundle absolute.
func Absolute(spec *specs.Spec, bundle string) *specs.Spec {
	if bundle == "" {
		return spec
	}
	out := *spec
	out.Mounts = append([]specs.Mount(nil), spec.Mounts...)
	for i := range out.Mounts {
		m := &out.Mounts[i]
		if o := mountop.Parse(m.Type, m.Options); o.Bind && m.Source != "" && !filepath.IsAbs(m.Source) {
			m.Source = filepath.Join(bundle, m.Source)
		}
	}
	if out.Root != nil && out.Root.Path != "" && !filepath.IsAbs(out.Root.Path) {
		root := *out.Root
		root.Path = filepath.Join(bundle, root.Path)
		out.Root = &root
	}
	return &out
}

// Points are the mount destinations as they are in the root file system.
type Points struct {
	Indirect map[string]bool   // a symbolic link leads there
	Modes    map[string]uint32 // of the directories that tmpfs cover
}

// Make makes what is missing in the root file system for the mounts that
// lie directly in it.
func Make(root *os.File, spec *specs.Spec, reaper string) (Points, error) {
	p := Points{map[string]bool{}, map[string]uint32{}}
	var above []specs.Mount
	for _, m := range compile.Mounts(spec, reaper) {
		m.Destination = path.Join("/", m.Destination)
		opt := mountop.Parse(m.Type, m.Options)
		if opt.Remount {
			continue
		}
		dest := m.Destination
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
		fd, err := unix.Openat2(int(root.Fd()), dest, &how)
		if err == nil {
			_ = unix.Close(fd)
		}
		p.Indirect[dest] = errors.Is(err, unix.ELOOP)
		if m.Type == "tmpfs" && !opt.Bind {
			p.mode(root, dest, above)
		}
		if err != nil && covering(dest, above) == nil {
			if err := mountPoint(root, dest, compile.MountPoint(m)); err != nil {
				return p, err
			}
		}
		above = append(above, m)
	}
	if len(spec.Linux.UIDMappings) > 0 {
		// There the child can make no nodes: they are binds, too.
		for _, name := range device.Paths(spec.Linux.Devices) {
			if covering(name, above) == nil {
				if err := mountPoint(root, name, true); err != nil {
					return p, err
				}
			}
		}
	}
	return p, workdir(root, path.Clean(spec.Process.Cwd), above)
}

// mode notes the mode of the directory at dest, where there is one and it can
// be seen from here: in the root file system or in a bind.
func (p *Points) mode(root *os.File, dest string, above []specs.Mount) {
	name := dest
	if m := covering(dest, above); m != nil {
		if o := mountop.Parse(m.Type, m.Options); !o.Bind {
			return
		}
		source, err := os.OpenFile(m.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer source.Close()
		root, name = source, strings.TrimPrefix(dest, m.Destination)
	}
	dir, err := rootfs.OpenInRoot(root, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err == nil {
		p.Modes[dest] = st.Mode & 0o7777
	}
}

// workdir makes the working directory where a link in the root file system
// leads to nothing. All else is for the child, which sees the mounts.
func workdir(root *os.File, dir string, mounts []specs.Mount) error {
	if covering(dir, mounts) != nil {
		return nil
	}
	link, err := rootfs.OpenInRoot(root, dir, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil //nolint:nilerr // not a link: the child makes it, or says why not
	}
	_ = link.Close()
	made, err := rootfs.MkdirAllInRoot(root, dir, 0o755, 0, 0)
	if err != nil {
		return nil //nolint:nilerr // the child meets the same, at the step that is about it
	}
	return made.Close()
}

func mountPoint(root *os.File, dest string, file bool) error {
	if file {
		return rootfs.CreateInRoot(root, dest, 0, 0)
	}
	dir, err := rootfs.MkdirAllInRoot(root, dest, 0o755, 0, 0)
	if err != nil {
		return err
	}
	return dir.Close()
}

// covering is the last of mounts that dest is below of.
func covering(dest string, mounts []specs.Mount) *specs.Mount {
	for i := len(mounts) - 1; i >= 0; i-- {
		if strings.HasPrefix(dest, mounts[i].Destination+"/") {
			return &mounts[i]
		}
	}
	return nil
}

// CopyUps fills the tmpfs that are to show what they cover.
func CopyUps(res *compile.Result) error {
	for _, c := range res.CopyUps {
		if err := copyUp(res, c); err != nil {
			return fmt.Errorf("%s: %w", c.Dest, err)
		}
	}
	return nil
}

func copyUp(res *compile.Result, c compile.CopyUp) error {
	dir := func(r int, name string) (*os.File, error) {
		fd, err := unix.FcntlInt(uintptr(r), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		base := os.NewFile(uintptr(fd), "root")
		if name == "" {
			return base, nil
		}
		defer base.Close()
		return rootfs.OpenInRoot(base, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	from, err := dir(res.Program.Value(c.From), c.Name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := dir(res.Program.Value(c.To), "")
	if err != nil {
		return err
	}
	defer to.Close()
	var own unix.Stat_t
	if err := unix.Fstat(int(to.Fd()), &own); err != nil {
		return err
	}
	if err := copyup.Dir(from, to); err != nil {
		return err
	}
	if c.KeepMode {
		if err := unix.Fchmodat(int(to.Fd()), ".", own.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	if !c.ReadOnly {
		return nil
	}
	return unix.MountSetattr(int(to.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}
