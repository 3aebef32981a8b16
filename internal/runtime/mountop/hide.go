package mountop

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// Masks hide paths. They are binds from one small read-only file system with an
// empty directory and a null device, which are ours alone, so that nothing that
// an image holds can take their place.
type Masks struct {
	*Ops
	FS program.Reg
}

// NewMasks makes the file system, for the caller's part of the program. hostID
// is as in FS.
func (b *Ops) NewMasks(hostID HostID) (Masks, error) {
	m := Masks{b, b.FD("mask")}
	err := b.Make(FS{Into: m.FS, Type: "tmpfs", Dest: "mask", Writable: true, HostID: hostID, Options: Options{
		Data: []string{"mode=755", "size=64k"}, Attr: Attribute{Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}}})
	if err != nil {
		return m, err
	}
	b.Node(m.FS, "dir", unix.S_IFDIR|0o555, 0)
	b.Node(m.FS, "null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	return m, nil
}

// Seal makes the file system read-only, when all is in it.
func (m Masks) Seal() {
	m.Setattr(program.R(m.FS), "", 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// Clone takes a copy of one file of the file system, which must be attached in
// the child's mount namespace: before Linux 6.15 no other mount can be cloned.
func (m Masks) Clone(name string, into program.Reg) program.Call {
	return m.Call(unix.SYS_OPEN_TREE, program.R(m.FS), program.Str(name),
		program.Flag(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, "CLONE")).Into(into)
}

// Hide masks p. What is not there needs no hiding.
func (m Masks) Hide(p string) error {
	if p = path.Clean(p); !path.IsAbs(p) {
		return fmt.Errorf("masked path %q is not absolute", p)
	}
	m.Step("mask", p)
	file, put, done := m.Label(), m.Label(), m.Label()
	at, tree := m.FD("at:"+p), m.FD("tree:"+p)
	absent := m.Open(program.CWD(), p, unix.O_PATH, 0, Within).Into(at)
	absent.Err(done, unix.ENOENT, unix.ENOTDIR)
	m.Open(program.R(at), ".", unix.O_PATH|unix.O_DIRECTORY, 0, unix.RESOLVE_BENEATH).Into(tree).Err(file, unix.ENOTDIR)
	m.Clone("dir", tree).OK(put)
	m.Here(file)
	m.Clone("null", tree)
	m.Here(put)
	m.Move(program.R(tree), program.R(at), "")
	m.Here(done)
	return nil
}

// ReadOnly makes p and what is mounted below it read-only, where it is there.
func (b *Ops) ReadOnly(p string) error {
	if p = path.Clean(p); !path.IsAbs(p) {
		return fmt.Errorf("read-only path %q is not absolute", p)
	}
	b.Step("make read-only", p)
	done := b.Label()
	at, tree := b.FD("at:"+p), b.FD("tree:"+p)
	b.Open(program.CWD(), p, unix.O_PATH, 0, Within).Into(at).Err(done, unix.ENOENT, unix.ENOTDIR)
	b.Call(unix.SYS_OPEN_TREE, program.R(at), program.Str(""),
		program.Flag(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, "CLONE|AT_EMPTY_PATH|AT_RECURSIVE")).Into(tree)
	b.Setattr(program.R(tree), "", unix.AT_RECURSIVE, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	b.Move(program.R(tree), program.R(at), "")
	b.Here(done)
	return nil
}
