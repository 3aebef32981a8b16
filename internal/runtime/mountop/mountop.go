// Package mountop adds the calls of the kernel's mount interface to a program:
// detached trees, attributes, and places that are resolved below a root.
package mountop

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// Ops adds calls to Program.
type Ops struct {
	*program.Program
	hows map[how]*unix.OpenHow
}

// New returns Ops of p.
func New(p *program.Program) *Ops { return &Ops{p, make(map[how]*unix.OpenHow)} }

type how struct{ flags, mode, resolve uint64 }

// Within keeps a path below the container's root.
const Within = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// Open adds an openat2 of path below dir.
func (b *Ops) Open(dir program.Arg, path string, flags, mode, resolve uint64) program.Call {
	key := how{flags | unix.O_CLOEXEC, mode, resolve}
	h, ok := b.hows[key]
	if !ok {
		h = &unix.OpenHow{Flags: key.flags, Mode: key.mode, Resolve: key.resolve}
		b.hows[key] = h
	}
	text := "{" + program.Words(flags, openBits)
	if mode != 0 {
		text += fmt.Sprintf(", %#o", mode)
	}
	text += ", " + program.Words(resolve, resolveBits) + "}"
	return b.Call(unix.SYS_OPENAT2, dir, program.Str(path), program.Mem(h, text), program.Num(unix.SizeofOpenHow))
}

var openBits = []program.Bit{
	{Value: unix.O_PATH, Name: "O_PATH"}, {Value: unix.O_DIRECTORY, Name: "O_DIRECTORY"},
	{Value: unix.O_CREAT, Name: "O_CREAT"}, {Value: unix.O_EXCL, Name: "O_EXCL"},
	{Value: unix.O_NOFOLLOW, Name: "O_NOFOLLOW"}, {Value: unix.O_WRONLY, Name: "O_WRONLY"},
	{Value: unix.O_RDWR, Name: "O_RDWR"}, {Value: unix.O_NOCTTY, Name: "O_NOCTTY"},
	{Value: unix.O_NONBLOCK, Name: "O_NONBLOCK"},
}

var resolveBits = []program.Bit{
	{Value: unix.RESOLVE_IN_ROOT, Name: "IN_ROOT"}, {Value: unix.RESOLVE_NO_MAGICLINKS, Name: "NO_MAGICLINKS"},
	{Value: unix.RESOLVE_BENEATH, Name: "BENEATH"}, {Value: unix.RESOLVE_NO_SYMLINKS, Name: "NO_SYMLINKS"},
	{Value: unix.RESOLVE_NO_XDEV, Name: "NO_XDEV"},
}

// CloneTree takes a copy of the mounts at source, with attributes of its own.
func (b *Ops) CloneTree(fd program.Reg, source string, opt Options) {
	flags, text := uint64(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), "CLONE"
	if opt.Recursive {
		flags, text = flags|unix.AT_RECURSIVE, text+"|AT_RECURSIVE"
	}
	b.Call(unix.SYS_OPEN_TREE, program.CWD(), program.Str(source), program.Flag(flags, text)).Into(fd)
	b.Change(fd, opt)
}

// Change gives a mount, or the tree of a recursive one, the options' attributes
// and propagation.
func (b *Ops) Change(fd program.Reg, opt Options) {
	top := unix.MountAttr{Attr_set: opt.Attr.Set, Attr_clr: opt.Attr.Clear}
	whole := unix.MountAttr{Attr_set: opt.RAttr.Set, Attr_clr: opt.RAttr.Clear}
	parts := []*unix.MountAttr{&top, &whole}
	if !opt.Recursive {
		// One mount only: both parts are the same mount's.
		all := opt.All()
		top, whole = unix.MountAttr{}, unix.MountAttr{Attr_set: all.Set, Attr_clr: all.Clear}
		parts[0] = &whole
	}
	rest := opt.Propagation
	if len(rest) > 0 {
		// The first goes with the attributes; a mount has a call for each further one.
		part := parts[0]
		if rest[0]&unix.MS_REC != 0 {
			part = &whole
		}
		part.Propagation = rest[0] &^ unix.MS_REC
		rest = rest[1:]
	}
	recurse := uint64(0)
	if opt.Recursive {
		recurse = unix.AT_RECURSIVE
	}
	b.Setattr(program.R(fd), "", 0, top)
	b.Setattr(program.R(fd), "", recurse, whole)
	for _, p := range rest {
		flags := uint64(0)
		if p&unix.MS_REC != 0 {
			flags = recurse
		}
		b.Setattr(program.R(fd), "", flags, unix.MountAttr{Propagation: p &^ unix.MS_REC})
	}
}

// AttrBits name mount attributes in text.
var AttrBits = []program.Bit{
	{Value: unix.MOUNT_ATTR_RDONLY, Name: "ro"}, {Value: unix.MOUNT_ATTR_NOSUID, Name: "nosuid"},
	{Value: unix.MOUNT_ATTR_NODEV, Name: "nodev"}, {Value: unix.MOUNT_ATTR_NOEXEC, Name: "noexec"},
	{Value: unix.MOUNT_ATTR__ATIME, Name: "atime"},
	{Value: unix.MOUNT_ATTR_STRICTATIME, Name: "strictatime"}, {Value: unix.MOUNT_ATTR_NOATIME, Name: "noatime"},
	{Value: unix.MOUNT_ATTR_NODIRATIME, Name: "nodiratime"}, {Value: unix.MOUNT_ATTR_NOSYMFOLLOW, Name: "nosymfollow"},
	{Value: unix.MOUNT_ATTR_IDMAP, Name: "idmap"},
}

var propBits = []program.Bit{
	{Value: unix.MS_PRIVATE, Name: "private"}, {Value: unix.MS_SLAVE, Name: "slave"},
	{Value: unix.MS_SHARED, Name: "shared"}, {Value: unix.MS_UNBINDABLE, Name: "unbindable"},
}

// Setattr adds a mount_setattr of the mount at name below dir; an empty name is dir itself.
func (b *Ops) Setattr(dir program.Arg, name string, flags uint64, attr unix.MountAttr) {
	if attr == (unix.MountAttr{}) {
		return
	}
	var words []string
	if attr.Attr_set != 0 {
		words = append(words, "set "+program.Words(attr.Attr_set, AttrBits))
	}
	if attr.Attr_clr != 0 {
		words = append(words, "clear "+program.Words(attr.Attr_clr, AttrBits))
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

// Config sets a string parameter of a file system context.
func (b *Ops) Config(fs program.Reg, key, value string) {
	b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_SET_STRING, "SET_STRING"), program.Str(key), program.Str(value), program.Num(0))
}

// Move puts the detached mount in from at the path to below dir; an empty to is dir itself.
func (b *Ops) Move(from, dir program.Arg, to string) program.Call {
	flags, text := unix.MOVE_MOUNT_F_EMPTY_PATH, "F_EMPTY_PATH"
	if to == "" {
		flags, text = flags|unix.MOVE_MOUNT_T_EMPTY_PATH, text+"|T_EMPTY_PATH"
	}
	return b.Call(unix.SYS_MOVE_MOUNT, from, program.Str(""), dir, program.Str(to), program.Flag(flags, text))
}

// Node makes one entry below dir, with just this mode whatever the caller's umask.
func (b *Ops) Node(dir program.Reg, rel string, mode uint32, dev uint64) {
	perm := mode & 0o7777
	if mode&unix.S_IFMT == unix.S_IFDIR {
		b.Call(unix.SYS_MKDIRAT, program.R(dir), program.Str(rel), program.Flag(perm, fmt.Sprintf("%#o", perm))).Tolerate(unix.EEXIST)
		return
	}
	b.Call(unix.SYS_MKNODAT, program.R(dir), program.Str(rel), program.Flag(mode, fmt.Sprintf("%#o", mode)), program.Num(dev)).Tolerate(unix.EEXIST)
	b.Call(unix.SYS_FCHMODAT, program.R(dir), program.Str(rel), program.Flag(perm, fmt.Sprintf("%#o", perm)))
}

// Ensure opens dest below the root and makes what is missing on the way, step
// by step on descriptors; a name that is there already is never replaced.
func (b *Ops) Ensure(target program.Reg, dest string, file bool) {
	found := b.Label()
	b.Open(program.CWD(), dest, unix.O_PATH, 0, Within).Into(target).OK(found).Tolerate(unix.ENOENT)
	parts := strings.Split(strings.TrimPrefix(dest, "/"), "/")
	dir := program.CWD()
	for i := range parts[:len(parts)-1] {
		prefix := "/" + strings.Join(parts[:i+1], "/")
		next, there := b.FD("dir:"+prefix), b.Label()
		b.Open(program.CWD(), prefix, unix.O_PATH|unix.O_DIRECTORY, 0, Within).Into(next).OK(there).Tolerate(unix.ENOENT)
		b.Call(unix.SYS_MKDIRAT, dir, program.Str(parts[i]), program.Flag(0o755, "0755")).Tolerate(unix.EEXIST)
		b.Open(program.CWD(), prefix, unix.O_PATH|unix.O_DIRECTORY, 0, Within).Into(next)
		b.Here(there)
		dir = program.R(next)
	}
	base := path.Base(dest)
	if file {
		b.Call(unix.SYS_OPENAT, dir, program.Str(base), program.Flag(unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY|unix.O_CLOEXEC,
			"O_CREAT|O_EXCL|O_NOFOLLOW|O_WRONLY"), program.Flag(0o644, "0644")).Tolerate(unix.EEXIST)
	} else {
		b.Call(unix.SYS_MKDIRAT, dir, program.Str(base), program.Flag(0o755, "0755")).Tolerate(unix.EEXIST)
	}
	b.Open(program.CWD(), dest, unix.O_PATH, 0, Within).Into(target)
	b.Here(found)
}
