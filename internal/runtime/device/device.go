// Package device adds the making of a container's device nodes to a program.
package device

import (
	"fmt"
	"path"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
)

// defaults are what every container has, by the OCI runtime specification.
var defaults = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
	{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
	{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

var links = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
}

var types = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// Maker makes nodes: in a fresh /dev, which the caller fills, and below the
// root, where the child does.
type Maker struct {
	*mountop.Ops
	// HostID gives the host's number for an id of the container; nil where they
	// are the same.
	HostID mountop.HostID
	// Caller and Child say who may make nodes. The nodes that a child may not make
	// are binds of the caller's, and of the host's where it may not either.
	Caller, Child bool
	// Masks hold the caller's nodes for the child.
	Masks mountop.Masks

	list  []node
	below map[string]bool // the paths that Fill has made
}

// node is a device on its way.
type node struct {
	specs.LinuxDevice
	// tree is the mount to bind at the path, where it is a bind.
	tree program.Reg
	bind bool
	name string // in Masks; empty where tree is the host's
}

// Read takes the default devices and list, which wins. Two at one path are one:
// the last.
func (m *Maker) Read(list []specs.LinuxDevice) error {
	own := map[string]bool{}
	all := make([]node, 0, len(defaults)+len(list))
	for i := len(list) - 1; i >= 0; i-- {
		d := list[i]
		d.Path = path.Join("/", d.Path)
		_, known := types[d.Type]
		switch {
		case !known:
			return fmt.Errorf("device %s: unknown type %q", d.Path, d.Type)
		case d.Path == "/" || strings.ContainsRune(d.Path, 0):
			return fmt.Errorf("device %q: it cannot be there", d.Path)
		case d.Type != "p" && (d.Major < 0 || d.Minor < 0 || d.Major > 1<<12-1 || d.Minor > 1<<20-1):
			return fmt.Errorf("device %s: there is no device %d:%d", d.Path, d.Major, d.Minor)
		case d.Type == "p":
			d.Major, d.Minor = 0, 0
		}
		if !own[d.Path] {
			own[d.Path] = true
			all = append([]node{{LinuxDevice: d}}, all...)
		}
	}
	for i := len(defaults) - 1; i >= 0; i-- {
		if !own[defaults[i].Path] {
			all = append([]node{{LinuxDevice: defaults[i]}}, all...)
		}
	}
	m.list, m.below = all, map[string]bool{}
	return nil
}

// Paths are where the default devices and those of list belong, but for pipes.
func Paths(list []specs.LinuxDevice) []string {
	var paths []string
	for _, d := range append(defaults[:len(defaults):len(defaults)], list...) {
		if d.Type != "p" {
			paths = append(paths, path.Join("/", d.Path))
		}
	}
	return paths
}

func (n *node) mode() uint32 {
	if n.FileMode != nil {
		return types[n.Type] | uint32(*n.FileMode)&0o7777
	}
	return types[n.Type] | 0o666
}

func (n *node) number() uint64 { return unix.Mkdev(uint32(n.Major), uint32(n.Minor)) }

// Fill makes what is below /dev in dev, a fresh file system that becomes it.
// Made by the caller, in a file system of the host's user namespace, nodes work
// inside any other, too.
func (m *Maker) Fill(dev program.Reg) {
	made := map[string]bool{}
	for i := range m.list {
		n := &m.list[i]
		rel, ok := strings.CutPrefix(n.Path, "/dev/")
		if !ok {
			continue
		}
		m.below[n.Path] = true
		for i, c := range rel {
			if dir := rel[:i]; c == '/' && !made[dir] {
				made[dir] = true
				m.Node(dev, dir, unix.S_IFDIR|0o755, 0)
				m.own(&node{}, dev, dir, m.HostID)
			}
		}
		m.make(n, dev, rel)
	}
	for _, l := range links {
		m.Call(unix.SYS_SYMLINKAT, program.Str(l[0]), program.R(dev), program.Str(l[1])).Tolerate(unix.EEXIST)
	}
}

// make makes n as the entry name of a directory that is the caller's alone.
func (m *Maker) make(n *node, dir program.Reg, name string) {
	if !m.Caller && n.Type != "p" {
		m.Node(dir, name, unix.S_IFREG|0o644, 0)
		m.host(n)
		return
	}
	m.Node(dir, name, n.mode(), n.number())
	m.own(n, dir, name, m.HostID)
}

// own gives a node to its owner.
func (m *Maker) own(n *node, dir program.Reg, name string, hostID mountop.HostID) {
	var uid, gid uint32
	if n.UID != nil {
		uid = *n.UID
	}
	if n.GID != nil {
		gid = *n.GID
	}
	if hostID != nil {
		// An owner that the container does not have stays the host's root, nobody to it.
		var has bool
		if uid, has = hostID(false, uid); !has {
			uid = 0
		}
		if gid, has = hostID(true, gid); !has {
			gid = 0
		}
	}
	if uid != 0 || gid != 0 {
		m.Call(unix.SYS_FCHOWNAT, program.R(dir), program.Str(name), program.Num(uid), program.Num(gid), program.Flag(unix.AT_SYMLINK_NOFOLLOW, "NOFOLLOW"))
	}
}

// host takes the host's node of the same path.
func (m *Maker) host(n *node) {
	m.Step("bind device", n.Path)
	n.bind, n.tree = true, m.FD("device:"+n.Path)
	m.CloneTree(n.tree, n.Path, mountop.Options{Propagation: []uint64{unix.MS_PRIVATE}})
}

// NeedsMasks says whether Prepare puts nodes into Masks; fresh as there.
func (m *Maker) NeedsMasks(fresh, skip bool) bool {
	for i := range m.list {
		if m.left(&m.list[i], fresh, skip) && !m.Child && m.Caller && m.list[i].Type != "p" {
			return true
		}
	}
	return false
}

// left says whether n is for the child: not what Fill makes in a fresh /dev, and
// not, with skip, what a /dev of somebody's own is to have.
func (m *Maker) left(n *node, fresh, skip bool) bool {
	return !(fresh || skip) || !strings.HasPrefix(n.Path, "/dev/")
}

// Prepare makes ready what Place will put in place.
func (m *Maker) Prepare(fresh, skip bool) {
	for i := range m.list {
		n := &m.list[i]
		if !m.left(n, fresh, skip) || m.Child || n.Type == "p" {
			continue
		}
		if !m.Caller {
			m.host(n)
			continue
		}
		n.bind, n.tree, n.name = true, m.FD("device:"+n.Path), fmt.Sprintf("device%d", i)
		m.make(n, m.Masks.FS, n.name)
	}
}

// Place puts below the root, in the child, what is not made yet.
func (m *Maker) Place(fresh, skip bool) {
	for i := range m.list {
		n := &m.list[i]
		if n.bind {
			m.Step("bind device", n.Path)
			at := m.FD("at:" + n.Path)
			if n.name != "" {
				m.Masks.Clone(n.name, n.tree)
			}
			m.Ensure(at, n.Path, true)
			m.Move(program.R(n.tree), program.R(at), "")
		} else if m.left(n, fresh, skip) {
			m.mknod(n)
		}
	}
	if !fresh && !skip {
		m.links()
	}
}

// mknod makes a node in a directory that others know. What is there already
// must be the same device.
func (m *Maker) mknod(n *node) {
	m.Step("make device", n.Path)
	name := path.Base(n.Path)
	at := m.FD("dir:" + path.Dir(n.Path))
	if parent := path.Dir(n.Path); parent != "/" {
		m.Ensure(at, parent, false)
	} else {
		m.Open(program.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY, 0, mountop.Within).Into(at)
	}
	dir := program.R(at)
	exists, done := m.Label(), m.Label()
	// The umask is 0 here: there is no need to change the mode by name.
	m.Call(unix.SYS_MKNODAT, dir, program.Str(name), program.Flag(n.mode(), fmt.Sprintf("%#o", n.mode())), program.Num(n.number())).Err(exists, unix.EEXIST)
	m.own(n, at, name, nil) // the child's numbers are the container's
	m.Set(m.Given("made", 0), program.Num(1)).OK(done)
	m.Here(exists)
	fd := m.FD("device")
	m.Open(dir, name, unix.O_PATH, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS).Into(fd)
	Same(m.Ops, fd, n.mode()&unix.S_IFMT, uint32(n.Major), uint32(n.Minor), unix.EEXIST)
	m.Here(done)
}

// links makes the usual links in a /dev that others know.
func (m *Maker) links() {
	m.Step("make links", "/dev")
	dev := m.FD("dev")
	m.Ensure(dev, "/dev", false)
	// A ptmx of the image's would be that of the first devpts of the machine.
	m.Call(unix.SYS_UNLINKAT, program.R(dev), program.Str("ptmx"), program.Num(0)).Tolerate()
	for _, l := range links {
		m.Call(unix.SYS_SYMLINKAT, program.Str(l[0]), program.R(dev), program.Str(l[1])).Tolerate(unix.EEXIST)
	}
}

// Same makes sure that fd is the device of a kind and number, else the program
// ends with e.
func Same(b *mountop.Ops, fd program.Reg, kind, major, minor uint32, e unix.Errno) {
	st := new(unix.Statx_t)
	b.Call(unix.SYS_STATX, program.R(fd), program.Str(""), program.Flag(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"),
		program.Flag(unix.STATX_TYPE, "STATX_TYPE"), program.Mem(st, "stat"))
	// stx_rdev_major and stx_rdev_minor are neighbours of 32 bits each.
	rdev := (*uint64)(unsafe.Pointer(&st.Rdev_major))
	b.Check(fmt.Sprintf("stat.rdev == %d:%d", major, minor), rdev, ^uint64(0), uint64(major)|uint64(minor)<<32, e)
	// stx_mode is the 16 bits behind stx_gid's 32.
	mode := (*uint64)(unsafe.Pointer(&st.Gid))
	b.Check("stat.mode is "+kinds[kind], mode, unix.S_IFMT<<32, uint64(kind)<<32, e)
}

var kinds = map[uint32]string{unix.S_IFCHR: "S_IFCHR", unix.S_IFBLK: "S_IFBLK", unix.S_IFIFO: "S_IFIFO"}
