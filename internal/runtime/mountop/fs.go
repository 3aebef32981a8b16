package mountop

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// HostID gives the host's number for an id of a container; false where it has none.
type HostID func(group bool, id uint32) (uint32, bool)

// FS is a file system to be made, and mounted nowhere.
type FS struct {
	Into               program.Reg
	Type, Source, Dest string
	Options
	// Writable leaves the mount writable at first, to be filled.
	Writable bool
	// HostID gives the host's number for an id of the container; nil where they
	// are the same. A tmpfs that names no owner is given to the container's root.
	HostID HostID
	// Refused, where not 0, is where to go on when the kernel does not permit it.
	Refused program.Label
}

// maxValue is the longest string that fsconfig takes, without its NUL.
const maxValue = 255

// Make adds the calls that make fs and a detached mount of it.
func (b *Ops) Make(fs FS) error {
	fd := b.FD("fs:" + fs.Dest)
	b.Call(unix.SYS_FSOPEN, program.Str(fs.Type), program.Flag(unix.FSOPEN_CLOEXEC, "CLOEXEC")).Into(fd)
	b.Config(fd, "source", cmp.Or(fs.Source, fs.Type))
	for _, word := range fs.Super {
		b.Flag(fd, word)
	}
	for _, word := range fs.Data {
		if err := b.option(fs, fd, word); err != nil {
			return fmt.Errorf("mount %s: %w", fs.Dest, err)
		}
	}
	if fs.Type == "tmpfs" && fs.HostID != nil {
		b.ownTmpfs(fs, fd)
	}
	create := b.Call(unix.SYS_FSCONFIG, program.R(fd), program.Flag(unix.FSCONFIG_CMD_CREATE, "CREATE"), program.Num(0), program.Num(0), program.Num(0))
	attr := fs.All().Set
	if fs.Writable {
		attr &^= unix.MOUNT_ATTR_RDONLY
	}
	mount := b.Call(unix.SYS_FSMOUNT, program.R(fd), program.Flag(unix.FSMOUNT_CLOEXEC, "CLOEXEC"),
		program.Flag(attr, program.Words(attr, AttrBits))).Into(fs.Into)
	if fs.Refused != 0 {
		create.Err(fs.Refused, unix.EPERM)
		mount.Err(fs.Refused, unix.EPERM)
	}
	return nil
}

// Flag sets a parameter of a file system context that has no value.
func (b *Ops) Flag(fd program.Reg, word string) {
	b.Call(unix.SYS_FSCONFIG, program.R(fd), program.Flag(unix.FSCONFIG_SET_FLAG, "SET_FLAG"), program.Str(word), program.Num(0), program.Num(0))
}

func (b *Ops) option(fs FS, fd program.Reg, word string) error {
	key, value, has := strings.Cut(word, "=")
	switch {
	case fs.Type == "devpts" && key == "newinstance":
		// The only kind since Linux 4.7.
		return nil
	case !has:
		b.Flag(fd, word)
		return nil
	case key == "uid" || key == "gid":
		id, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("%s is not a number", word)
		}
		if fs.HostID != nil {
			host, ok := fs.HostID(key == "gid", uint32(id))
			if !ok {
				return fmt.Errorf("%s is not in the user namespace's mappings", word)
			}
			value = strconv.FormatUint(uint64(host), 10)
		}
	case fs.Type == "overlay" && key == "lowerdir" && len(value) > maxValue:
		for dir := range strings.SplitSeq(value, ":") {
			b.Config(fd, "lowerdir+", dir)
		}
		return nil
	case len(value) > maxValue:
		return fmt.Errorf("option %s is longer than the %d bytes that the kernel takes", key, maxValue)
	}
	b.Config(fd, key, value)
	return nil
}

// ownTmpfs gives a tmpfs that names no owner to the user namespace's root.
func (b *Ops) ownTmpfs(fs FS, fd program.Reg) {
	for _, key := range []string{"uid", "gid"} {
		named := false
		for _, word := range fs.Data {
			named = named || strings.HasPrefix(word, key+"=")
		}
		if !named {
			root, _ := fs.HostID(key == "gid", 0)
			b.Config(fd, key, strconv.FormatUint(uint64(root), 10))
		}
	}
}
