package compile

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
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
	st, err := os.Stat(m.Source)
	return err == nil && !st.IsDir()
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
		dest := path.Clean(s.Destination)
		if !path.IsAbs(dest) || dest == "/" {
			return fmt.Errorf("mount destination %q must be an absolute path below /", s.Destination)
		}
		if strings.ContainsRune(s.Source+s.Destination+strings.Join(s.Options, ""), 0) {
			return fmt.Errorf("mount destination %q: NUL byte in mount", s.Destination)
		}
		m := &mount{typ: s.Type, source: s.Source, dest: dest, file: MountPoint(s), opt: mountop.Parse(s.Type, s.Options)}
		if err := b.readMap(m, s); err != nil {
			return fmt.Errorf("mount %s: %w", dest, err)
		}
		b.mounts = append(b.mounts, m)
	}
	return on(b.mounts, b.prepare)
}

func (b *builder) prepare(m *mount) error {
	m.fd = b.FD("mnt:" + m.dest)
	if m.opt.Bind {
		b.Step("bind", m.source+" at "+m.dest)
	} else {
		b.Step("prepare mount", m.dest)
	}
	switch {
	case m.opt.Bind:
		b.CloneTree(m.fd, m.source, m.opt)
		return b.mapMount(m)
	case m.typ == "tmpfs":
		m.filled = true
		if err := b.newFS(m, "tmpfs"); err != nil {
			return err
		}
		b.fill(m)
		b.readOnly(m)
		return nil
	case m.typ == "cgroup" || m.typ == "cgroup2":
		return b.prepareCgroup(m)
	case m.typ == "devpts":
		return b.newFS(m, m.typ)
	case m.typ == "proc" || m.typ == "sysfs" || m.typ == "mqueue":
		m.inChild = true
		if m.typ == "proc" && !b.hasProc {
			b.procFS, b.hasProc = m.fd, true
		}
		return nil
	default:
		return b.newFS(m, m.typ)
	}
}

// newFS makes a file system and a detached mount of it.
func (b *builder) newFS(m *mount, typ string) error {
	fs := b.FD("fs:" + m.dest)
	b.Call(unix.SYS_FSOPEN, program.Str(typ), program.Flag(unix.FSOPEN_CLOEXEC, "CLOEXEC")).Into(fs)
	b.Config(fs, "source", cmp.Or(m.source, typ))
	for _, word := range m.opt.Data {
		key, value, has := strings.Cut(word, "=")
		// The new instance of devpts has been the only kind since Linux 4.7.
		if typ == "devpts" && key == "newinstance" {
			continue
		}
		if !has {
			b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_SET_FLAG, "SET_FLAG"), program.Str(key), program.Num(0), program.Num(0))
			continue
		}
		if key == "uid" || key == "gid" {
			id, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return fmt.Errorf("mount %s: %s is not a number", m.dest, word)
			}
			host, ok := b.hostID(key == "gid", uint32(id))
			if !ok {
				return fmt.Errorf("mount %s: %s is not in the user namespace's mappings", m.dest, word)
			}
			value = strconv.FormatUint(uint64(host), 10)
		}
		b.Config(fs, key, value)
	}
	if typ == "tmpfs" && b.userns {
		ownTmpfs(b, fs, m.opt.Data)
	}
	b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_CMD_CREATE, "CREATE"), program.Num(0), program.Num(0), program.Num(0))
	attr := m.opt.Attr.Set | m.opt.RAttr.Set
	if m.filled {
		attr &^= unix.MOUNT_ATTR_RDONLY
	}
	b.Call(unix.SYS_FSMOUNT, program.R(fs), program.Flag(unix.FSMOUNT_CLOEXEC, "CLOEXEC"),
		program.Flag(attr, program.Words(attr, mountop.AttrBits))).Into(m.fd)
	return nil
}

// ownTmpfs gives a tmpfs that names no owner to the user namespace's root.
func ownTmpfs(b *builder, fs program.Reg, data []string) {
	has := func(key string) bool {
		for _, word := range data {
			if strings.HasPrefix(word, key+"=") {
				return true
			}
		}
		return false
	}
	for _, key := range []string{"uid", "gid"} {
		if !has(key) {
			root, _ := b.hostID(key == "gid", 0)
			b.Config(fs, key, strconv.FormatUint(uint64(root), 10))
		}
	}
}

// readOnly makes a file system that we have filled read-only where it is asked for.
func (b *builder) readOnly(m *mount) {
	if m.filled && (m.opt.Attr.Set|m.opt.RAttr.Set)&unix.MOUNT_ATTR_RDONLY != 0 {
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
	if m.dest == "/dev" {
		b.devices(m.fd)
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
	bind.Data, bind.Recursive = nil, false
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
	m.source, m.opt.Data = "", []string{"mode=755"}
	if err := b.newFS(m, "tmpfs"); err != nil {
		return err
	}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b.Node(m.fd, name, unix.S_IFDIR|0o755, 0)
		sub := &mount{dest: m.dest + "/" + name, made: true, fd: b.FD("mnt:" + m.dest + "/" + name)}
		b.CloneTree(sub.fd, groups[name], bind)
		m.groups = append(m.groups, sub)
	}
	for _, link := range sortedKeys(b.in.Cgroups.Links) {
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

// controller is the name of a hierarchy: the first element below the cgroup mount.
func controller(tasks string) string {
	rel := strings.TrimPrefix(tasks, "/sys/fs/cgroup/")
	name, _, _ := strings.Cut(rel, "/")
	return name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
