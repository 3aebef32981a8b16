package compile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
	"hoy/internal/runtime/source"
	"hoy/internal/runtime/userns"
)

// mount is one mount on its way into the container.
type mount struct {
	typ, source, dest string
	opt               mountop.Options
	fd                program.Reg
	file              bool // the mount point is a file
	made              bool // the mount point is known to be there
	inChild           bool // the file system belongs to a namespace that only the child is in
	filled            bool // a fresh tmpfs that we fill ourselves
	groups            []*mount
	ids               *userns.Map // its files' owners are mapped so
}

// MountPoint says what the mount point of m must be: a file for a bind of
// something that is no directory, a directory for all else.
func MountPoint(m specs.Mount) (file bool) {
	if o := mountop.Parse(m.Type, m.Options); !o.Bind {
		return false
	}
	dir, err := source.IsDir(m.Source)
	return err == nil && !dir
}

// ReaperPath is where the init binary appears in the container.
const ReaperPath = "/sbin/docker-init"

// Mounts are the mounts of the spec in order, with the init binary's.
func Mounts(spec *specs.Spec, reaper string) []specs.Mount {
	list := spec.Mounts
	if reaper != "" {
		list = append(list[:len(list):len(list)], specs.Mount{
			Type: "bind", Source: reaper, Destination: ReaperPath, Options: []string{"bind", "ro", "rprivate"},
		})
	}
	return list
}

// prepareMounts makes every mount that the caller can make, detached.
func (b *builder) prepareMounts() error {
	for _, s := range Mounts(b.spec, b.in.Reaper) {
		dest := path.Join("/", s.Destination)
		opt := mountop.Parse(s.Type, s.Options)
		switch {
		case dest == "/":
			return fmt.Errorf("mount destination %q must be a path below /", s.Destination)
		case strings.ContainsRune(s.Source+s.Destination+strings.Join(s.Options, ""), 0):
			return fmt.Errorf("mount destination %q: NUL byte in mount", s.Destination)
		case (s.Type == "" || s.Type == "none") && !opt.Bind && !opt.Remount:
			return fmt.Errorf("mount %s: it has neither a type nor the option bind", dest)
		case opt.Bind && !opt.Remount && !path.IsAbs(s.Source):
			return fmt.Errorf("mount %s: source %q is not absolute", dest, s.Source)
		}
		if opt.Bind && len(opt.Propagation) == 0 {
			opt.Propagation = inherited(b)
		}
		m := &mount{typ: s.Type, source: s.Source, dest: dest, file: MountPoint(s), opt: opt}
		if err := readMap(b, m, s); err != nil {
			return fmt.Errorf("mount %s: %w", dest, err)
		}
		b.mounts = append(b.mounts, m)
	}
	return on(b.mounts, b.prepare)
}

// inherited is the propagation of binds that name none: what the host mounts
// below their sources is seen, unless the root file system is private.
func inherited(b *builder) []uint64 {
	switch mountop.Propagations[b.lin.RootfsPropagation] &^ unix.MS_REC {
	case unix.MS_SHARED:
		return nil
	case unix.MS_PRIVATE, unix.MS_UNBINDABLE:
		return []uint64{unix.MS_PRIVATE | unix.MS_REC}
	default:
		return []uint64{unix.MS_SLAVE | unix.MS_REC}
	}
}

func (b *builder) prepare(m *mount) error {
	if m.opt.Remount {
		return nil
	}
	m.fd = b.FD("mnt:" + m.dest)
	if m.opt.Bind {
		b.Step("bind", m.source+" at "+m.dest)
		b.CloneTree(m.fd, m.source, m.opt)
		return mapMount(b, m)
	}
	b.Step("prepare mount", m.dest)
	switch m.typ {
	case "tmpfs":
		m.filled = true
		m.defaultMode(b.in.Modes)
		if err := b.newFS(m, "tmpfs"); err != nil {
			return err
		}
		if m.opt.CopyUp {
			copyUp(b, m)
		}
		b.fill(m)
		b.readOnly(m)
		return nil
	case "cgroup", "cgroup2":
		return b.prepareCgroup(m)
	case "proc", "sysfs", "mqueue":
		m.inChild = true
		if m.typ == "proc" && !b.hasProc {
			b.procFS, b.hasProc = m.fd, true
		}
		return nil
	case "devpts":
		return b.newFS(m, m.typ)
	default:
		// A device that can only be read wants a file system that knows it.
		if m.opt.All().Set&unix.MOUNT_ATTR_RDONLY != 0 {
			m.opt.Super = append(m.opt.Super, "ro")
		}
		return b.newFS(m, m.typ)
	}
}

// newFS makes a file system and a detached mount of it.
func (b *builder) newFS(m *mount, typ string) error {
	fs := mountop.FS{Into: m.fd, Type: typ, Source: m.source, Dest: m.dest, Options: m.opt, Writable: m.filled}
	if b.userns {
		fs.HostID = b.hostID
	}
	if label := b.lin.MountLabel; label != "" {
		fs.Options.Data = append(fs.Options.Data[:len(fs.Options.Data):len(fs.Options.Data)], "context="+label)
	}
	if err := b.Make(fs); err != nil {
		return err
	}
	for _, p := range m.opt.Propagation {
		b.Setattr(program.R(m.fd), "", 0, unix.MountAttr{Propagation: p &^ unix.MS_REC})
	}
	return nil
}

// defaultMode gives a tmpfs the mode of the directory that it covers.
func (m *mount) defaultMode(modes map[string]uint32) {
	if mode, ok := modes[m.dest]; ok && !m.names("mode") {
		m.opt.Data = append(m.opt.Data, fmt.Sprintf("mode=%o", mode))
	}
}

func (m *mount) names(key string) bool {
	return slices.ContainsFunc(m.opt.Data, func(word string) bool { return strings.HasPrefix(word, key+"=") })
}

// CopyUp is a tmpfs to be filled with what it covers, before the child is born.
type CopyUp struct {
	// Name below From is copied into To.
	From, To   program.Reg
	Name, Dest string
	// ReadOnly: To becomes read-only then. KeepMode: the options name its own mode.
	ReadOnly, KeepMode bool
}

// copyUp asks for a tmpfs to be filled from the root file system, or from the
// bind or tmpfs above it. What is mounted later is not seen yet.
func copyUp(b *builder, m *mount) {
	c := CopyUp{From: b.root, To: m.fd, Name: m.dest, Dest: m.dest, ReadOnly: m.opt.All().Set&unix.MOUNT_ATTR_RDONLY != 0, KeepMode: m.names("mode")}
	if above := b.nearest(m); above != nil && (above.inChild || above.file || above.opt.Remount) {
		return
	} else if above != nil {
		c.From, c.Name = above.fd, strings.TrimPrefix(m.dest, above.dest)
	}
	m.opt.Attr.Set &^= unix.MOUNT_ATTR_RDONLY
	m.opt.RAttr.Set &^= unix.MOUNT_ATTR_RDONLY
	b.res.CopyUps = append(b.res.CopyUps, c)
}

// readOnly makes a file system that we have filled read-only where it is asked for.
func (b *builder) readOnly(m *mount) {
	if m.filled && m.opt.All().Set&unix.MOUNT_ATTR_RDONLY != 0 {
		b.Setattr(program.R(m.fd), "", 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
}

// fill makes the mount points of later mounts inside a fresh tmpfs, which
// nobody else has seen, and the devices where it is /dev.
func (b *builder) fill(m *mount) {
	made := map[string]bool{}
	for _, later := range b.mounts {
		rel, ok := strings.CutPrefix(later.dest, m.dest+"/")
		if !ok || later.made || b.nearest(later) != m {
			continue
		}
		parts := strings.Split(rel, "/")
		for i := range parts {
			dir := strings.Join(parts[:i+1], "/")
			if made[dir] {
				continue
			}
			made[dir] = true
			mode := uint32(unix.S_IFDIR | 0o755)
			if i == len(parts)-1 && later.file {
				mode = unix.S_IFREG | 0o644
			}
			b.Node(m.fd, dir, mode, 0)
			b.own(m.fd, dir)
		}
		later.made = true
	}
	if m.dest != "/dev" || nearestTo(b, "/dev") != m {
		return
	}
	b.dev.Fill(m.fd)
	if b.proc.Terminal {
		b.Node(m.fd, "console", unix.S_IFREG|0o600, 0)
	}
}

// nearest is the mount directly above m, by name, among those before it.
func (b *builder) nearest(m *mount) *mount {
	var best *mount
	for _, other := range b.mounts {
		if other == m {
			break
		}
		if strings.HasPrefix(m.dest+"/", other.dest+"/") && (best == nil || len(other.dest) >= len(best.dest)) {
			best = other
		}
	}
	return best
}

// prepareCgroup shows the container its own groups: a directory of binds with
// version 1; with version 2 the group itself, or all where it has no namespace.
func (b *builder) prepareCgroup(m *mount) error {
	groups := map[string]string{}
	for _, tasks := range b.in.Cgroups.Tasks {
		groups[controller(tasks)] = path.Dir(tasks)
	}
	bind := m.opt
	bind.Data, bind.Super, bind.Recursive = nil, nil, false
	bind.Propagation = append([]uint64{unix.MS_PRIVATE}, bind.Propagation...)
	if len(groups) == 0 && b.in.Cgroups.Unified != "" {
		// In the host's namespace /proc/self/cgroup has the whole path, so that is
		// what must be found here.
		if b.ns.Own&unix.CLONE_NEWCGROUP == 0 {
			b.CloneTree(m.fd, unifiedTop(b.in.Cgroups.Unified), bind)
		} else {
			b.CloneTree(m.fd, b.in.Cgroups.Unified, bind)
		}
		return nil
	}
	if b.in.Cgroups.Unified != "" {
		groups["unified"] = b.in.Cgroups.Unified
	}
	m.filled = true
	m.source, m.opt.Data, m.opt.Super = "", []string{"mode=755"}, nil
	if err := b.newFS(m, "tmpfs"); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		b.Node(m.fd, name, unix.S_IFDIR|0o755, 0)
		sub := &mount{dest: m.dest + "/" + name, made: true, fd: b.FD("mnt:" + m.dest + "/" + name)}
		b.CloneTree(sub.fd, groups[name], bind)
		m.groups = append(m.groups, sub)
	}
	for _, link := range slices.Sorted(maps.Keys(b.in.Cgroups.Links)) {
		if groups[b.in.Cgroups.Links[link]] != "" {
			b.Call(unix.SYS_SYMLINKAT, program.Str(b.in.Cgroups.Links[link]), program.R(m.fd), program.Str(link))
		}
	}
	b.readOnly(m)
	return nil
}

// unifiedTop is where version 2 is mounted, alone or beside version 1.
func unifiedTop(group string) string {
	const alone, beside = "/sys/fs/cgroup", "/sys/fs/cgroup/unified"
	if strings.HasPrefix(group, beside+"/") {
		return beside
	}
	return alone
}

// cgroupMount is where the host has its control groups.
const cgroupMount = "/sys/fs/cgroup"

// controller is the name of a hierarchy: the first element below the cgroup mount.
func controller(tasks string) string {
	rel := strings.TrimPrefix(tasks, cgroupMount+"/")
	name, _, _ := strings.Cut(rel, "/")
	return name
}
