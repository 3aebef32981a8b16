package compile

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
)

// prepareMask makes one small read-only file system with an empty directory and
// a null device; everything that is masked is a bind of one of the two. Both
// are ours alone, so nothing that an image holds can take their place.
func prepareMask(b *builder) error {
	if len(b.lin.MaskedPaths) == 0 {
		return nil
	}
	b.Step("prepare masks", "")
	m := &mount{dest: "mask", filled: true, opt: mountop.Options{Data: []string{"mode=755", "size=4k"},
		Attr: mountop.Attribute{Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}}}
	b.mask = b.FD("mask")
	m.fd = b.mask
	if err := b.newFS(m, "tmpfs"); err != nil {
		return err
	}
	b.Node(b.mask, "dir", unix.S_IFDIR|0o555, 0)
	b.Node(b.mask, "null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	b.Setattr(program.R(b.mask), "", 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return nil
}

// attachMask puts the masks over a directory of the child's copy of the host's
// tree: only a mount of the own namespace can be cloned before Linux 6.15.
func attachMask(b *builder) {
	if len(b.lin.MaskedPaths) == 0 {
		return
	}
	b.Step("prepare masks", "")
	// Where the host's tree is still to be seen by hooks, the masks lie under the
	// root file system.
	b.Move(program.R(b.mask), program.CWD(), cmp.Or(b.in.RootAt, "/dev"))
}

// hidePaths masks the masked paths and makes the read-only ones read-only.
// What is not there needs no hiding.
func hidePaths(b *builder) error {
	for _, p := range b.lin.ReadonlyPaths {
		if err := readonlyPath(b, path.Clean(p)); err != nil {
			return err
		}
	}
	for _, p := range b.lin.MaskedPaths {
		if err := maskPath(b, path.Clean(p)); err != nil {
			return err
		}
	}
	return nil
}

func readonlyPath(b *builder, p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("read-only path %q is not absolute", p)
	}
	b.Step("make read-only", p)
	done := b.Label()
	at, tree := b.FD("at:"+p), b.FD("tree:"+p)
	b.Open(program.CWD(), p, unix.O_PATH, 0, mountop.Within).Into(at).Err(done, unix.ENOENT, unix.ENOTDIR)
	b.Call(unix.SYS_OPEN_TREE, program.R(at), program.Str(""),
		program.Flag(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, "CLONE|AT_EMPTY_PATH|AT_RECURSIVE")).Into(tree)
	b.Setattr(program.R(tree), "", unix.AT_RECURSIVE, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	b.Move(program.R(tree), program.R(at), "")
	b.Here(done)
	return nil
}

func maskPath(b *builder, p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("masked path %q is not absolute", p)
	}
	b.Step("mask", p)
	file, put, done := b.Label(), b.Label(), b.Label()
	at, tree := b.FD("at:"+p), b.FD("tree:"+p)
	clone := program.Flag(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, "CLONE")
	absent := b.Open(program.CWD(), p, unix.O_PATH, 0, mountop.Within).Into(at)
	absent.Err(done, unix.ENOENT, unix.ENOTDIR)
	b.Open(program.R(at), ".", unix.O_PATH|unix.O_DIRECTORY, 0, unix.RESOLVE_BENEATH).Into(tree).Err(file, unix.ENOTDIR)
	b.Call(unix.SYS_OPEN_TREE, program.R(b.mask), program.Str("dir"), clone).Into(tree).OK(put)
	b.Here(file)
	b.Call(unix.SYS_OPEN_TREE, program.R(b.mask), program.Str("null"), clone).Into(tree)
	b.Here(put)
	b.Move(program.R(tree), program.R(at), "")
	b.Here(done)
	return nil
}

// sysctls writes kernel parameters through a procfs that is ours by
// construction: the detached mount of before, not a path in the container.
func sysctls(b *builder) error {
	for _, key := range sortedKeys(b.lin.Sysctl) {
		value := b.lin.Sysctl[key]
		name := strings.ReplaceAll(key, "/", ".")
		if err := b.ns.Sysctl(name); err != nil {
			return err
		}
		if !b.hasProc {
			return fmt.Errorf("sysctl %s needs a proc mount", key)
		}
		b.Step("set sysctl", key+"="+value)
		// In the form with slashes a dot is part of a name, such as a link's.
		file := "sys/" + key
		if !strings.Contains(key, "/") {
			file = "sys/" + strings.ReplaceAll(key, ".", "/")
		}
		if path.Clean(file) != file {
			return fmt.Errorf("sysctl %q is not a name", key)
		}
		fd := b.FD("sysctl")
		b.Open(program.R(b.procFS), file, unix.O_WRONLY, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV).Into(fd)
		b.Call(unix.SYS_WRITE, program.R(fd), program.Str(value), program.Num(len(value)))
	}
	return nil
}

// hostname names the container in its UTS namespace, be it new or joined.
func hostname(b *builder) error {
	if name := b.spec.Hostname; name != "" {
		b.Step("set hostname", name)
		b.Call(unix.SYS_SETHOSTNAME, program.Str(name), program.Num(len(name)))
	}
	if name := b.spec.Domainname; name != "" {
		b.Step("set domain name", name)
		b.Call(unix.SYS_SETDOMAINNAME, program.Str(name), program.Num(len(name)))
	}
	return nil
}
