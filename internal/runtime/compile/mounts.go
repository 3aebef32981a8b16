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

	"hoy/internal/runtime/program"
)

// mount is one mount on its way into the container.
type mount struct {
	typ, source, dest string
	opt               options
	fd                program.Reg
	file              bool // the mount point is a file
	made              bool // the mount point is known to be there
	inChild           bool // the file system belongs to a namespace that only the child is in
	filled            bool // a fresh tmpfs that we fill ourselves
	groups            []*mount
}

// MountPoint says what the mount point of m must be: a file for a bind of
// something that is no directory, a directory for all else.
func MountPoint(m specs.Mount) (file bool) {
	if o := parseOptions(m.Type, m.Options); !o.bind {
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
		if s.UIDMappings != nil || s.GIDMappings != nil {
			return fmt.Errorf("mount %s: id-mapped mounts are not supported", dest)
		}
		b.mounts = append(b.mounts, &mount{
			typ: s.Type, source: s.Source, dest: dest, file: MountPoint(s), opt: parseOptions(s.Type, s.Options),
		})
	}
	return on(b.mounts, b.prepare)
}

func (b *builder) prepare(m *mount) error {
	m.fd = b.FD("mnt:" + m.dest)
	if m.opt.bind {
		b.Step("bind", m.source+" at "+m.dest)
	} else {
		b.Step("prepare mount", m.dest)
	}
	switch {
	case m.opt.bind:
		b.cloneTree(m.fd, m.source, m.opt)
		return nil
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

// cloneTree takes a copy of the mounts at source, with attributes of its own.
func (b *builder) cloneTree(fd program.Reg, source string, opt options) {
	flags, text := uint64(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), "CLONE"
	if opt.recursive {
		flags, text = flags|unix.AT_RECURSIVE, text+"|AT_RECURSIVE"
	}
	b.Call(unix.SYS_OPEN_TREE, program.CWD(), program.Str(source), program.Flag(flags, text)).Into(fd)
	if opt.propagation == 0 {
		opt.propagation = unix.MS_PRIVATE | unix.MS_REC
	}
	whole := unix.MountAttr{Attr_set: opt.rattr.set, Attr_clr: opt.rattr.clear}
	top := unix.MountAttr{Attr_set: opt.attr.set, Attr_clr: opt.attr.clear}
	if opt.propagation&unix.MS_REC != 0 {
		whole.Propagation = opt.propagation &^ unix.MS_REC
	} else {
		top.Propagation = opt.propagation
	}
	if !opt.recursive {
		// One mount only: both parts are the same mount's.
		b.setattr(program.R(fd), "", 0, unix.MountAttr{
			Attr_set: top.Attr_set&^whole.Attr_clr | whole.Attr_set, Attr_clr: top.Attr_clr | whole.Attr_clr,
			Propagation: top.Propagation | whole.Propagation,
		})
		return
	}
	b.setattr(program.R(fd), "", 0, top)
	b.setattr(program.R(fd), "", unix.AT_RECURSIVE, whole)
}

var attrBits = []program.Bit{
	{Value: unix.MOUNT_ATTR_RDONLY, Name: "ro"}, {Value: unix.MOUNT_ATTR_NOSUID, Name: "nosuid"},
	{Value: unix.MOUNT_ATTR_NODEV, Name: "nodev"}, {Value: unix.MOUNT_ATTR_NOEXEC, Name: "noexec"},
	{Value: unix.MOUNT_ATTR_STRICTATIME, Name: "strictatime"}, {Value: unix.MOUNT_ATTR_NOATIME, Name: "noatime"},
}

var propBits = []program.Bit{
	{Value: unix.MS_PRIVATE, Name: "private"}, {Value: unix.MS_SLAVE, Name: "slave"},
	{Value: unix.MS_SHARED, Name: "shared"}, {Value: unix.MS_UNBINDABLE, Name: "unbindable"},
}

// setattr adds a mount_setattr of the mount at name below dir; an empty name is dir itself.
func (b *builder) setattr(dir program.Arg, name string, flags uint64, attr unix.MountAttr) {
	if attr == (unix.MountAttr{}) {
		return
	}
	var words []string
	if attr.Attr_set != 0 {
		words = append(words, "set "+program.Words(attr.Attr_set, attrBits))
	}
	if attr.Attr_clr != 0 {
		words = append(words, "clear "+program.Words(attr.Attr_clr, attrBits))
	}
	if attr.Propagation != 0 {
		words = append(words, program.Words(attr.Propagation, propBits))
	}
	text := "AT_EMPTY_PATH"
	if name != "" {
		text = "0"
	} else {
		flags |= unix.AT_EMPTY_PATH
	}
	if flags&unix.AT_RECURSIVE != 0 {
		text += "|AT_RECURSIVE"
	}
	b.Call(unix.SYS_MOUNT_SETATTR, dir, program.Str(name), program.Flag(flags, text),
		program.Mem(&attr, "{"+strings.Join(words, ", ")+"}"), program.Num(mountAttrSize))
}

// newFS makes a file system and a detached mount of it.
func (b *builder) newFS(m *mount, typ string) error {
	fs := b.FD("fs:" + m.dest)
	b.Call(unix.SYS_FSOPEN, program.Str(typ), program.Flag(unix.FSOPEN_CLOEXEC, "CLOEXEC")).Into(fs)
	b.config(fs, "source", cmp.Or(m.source, typ))
	for _, word := range m.opt.data {
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
			value = strconv.FormatUint(uint64(b.hostID(key == "gid", uint32(id))), 10)
		}
		b.config(fs, key, value)
	}
	if typ == "tmpfs" && b.userns {
		b.ownTmpfs(fs, m.opt.data)
	}
	b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_CMD_CREATE, "CREATE"), program.Num(0), program.Num(0), program.Num(0))
	attr := m.opt.attr.set | m.opt.rattr.set
	if m.filled {
		attr &^= unix.MOUNT_ATTR_RDONLY
	}
	b.Call(unix.SYS_FSMOUNT, program.R(fs), program.Flag(unix.FSMOUNT_CLOEXEC, "CLOEXEC"),
		program.Flag(attr, program.Words(attr, attrBits))).Into(m.fd)
	return nil
}

// ownTmpfs gives a tmpfs that names no owner to the user namespace's root.
func (b *builder) ownTmpfs(fs program.Reg, data []string) {
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
			b.config(fs, key, strconv.FormatUint(uint64(b.hostID(key == "gid", 0)), 10))
		}
	}
}

func (b *builder) config(fs program.Reg, key, value string) {
	b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_SET_STRING, "SET_STRING"), program.Str(key), program.Str(value), program.Num(0))
}

// readOnly makes a file system that we have filled read-only where it is asked for.
func (b *builder) readOnly(m *mount) {
	if m.filled && (m.opt.attr.set|m.opt.rattr.set)&unix.MOUNT_ATTR_RDONLY != 0 {
		b.setattr(program.R(m.fd), "", 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
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
			b.node(m.fd, dir, mode, 0)
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
// version 1, the group itself with version 2.
func (b *builder) prepareCgroup(m *mount) error {
	groups := map[string]string{}
	for _, tasks := range b.in.Cgroups.Tasks {
		groups[controller(tasks)] = path.Dir(tasks)
	}
	bind := m.opt
	bind.data, bind.recursive = nil, false
	if len(groups) == 0 && b.in.Cgroups.Unified != "" {
		b.cloneTree(m.fd, b.in.Cgroups.Unified, bind)
		return nil
	}
	if b.in.Cgroups.Unified != "" {
		groups["unified"] = b.in.Cgroups.Unified
	}
	m.filled = true
	m.source, m.opt.data = "", []string{"mode=755"}
	if err := b.newFS(m, "tmpfs"); err != nil {
		return err
	}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b.node(m.fd, name, unix.S_IFDIR|0o755, 0)
		sub := &mount{dest: m.dest + "/" + name, made: true, fd: b.FD("mnt:" + m.dest + "/" + name)}
		b.cloneTree(sub.fd, groups[name], bind)
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

// controller is the name of a hierarchy: the first element below the cgroup mount.
func controller(tasks string) string {
	rel := strings.TrimPrefix(tasks, "/sys/fs/cgroup/")
	name, _, _ := strings.Cut(rel, "/")
	return name
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// hostID is the host's number for an id of the container.
func (b *builder) hostID(group bool, id uint32) uint32 {
	if !b.userns {
		return id
	}
	maps := b.lin.UIDMappings
	if group {
		maps = b.lin.GIDMappings
	}
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID
		}
	}
	return id
}
