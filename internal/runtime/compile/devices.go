package compile

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

// defaultDevices are what every container has, by the OCI runtime specification.
var defaultDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
	{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
	{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

var defaultLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"},
	{"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

var nodeTypes = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// allDevices are the default ones and the spec's, which win.
func allDevices(b *builder) []specs.LinuxDevice {
	list := make([]specs.LinuxDevice, 0, len(defaultDevices)+len(b.lin.Devices))
	own := map[string]bool{}
	for _, d := range b.lin.Devices {
		own[path.Clean(d.Path)] = true
	}
	for _, d := range defaultDevices {
		if !own[d.Path] {
			list = append(list, d)
		}
	}
	return append(list, b.lin.Devices...)
}

// devices fills the fresh tmpfs that becomes /dev. The caller makes the nodes:
// a tmpfs of the host's user namespace honours them inside any other, too.
func (b *builder) devices(dev program.Reg) {
	made := map[string]bool{}
	for _, d := range allDevices(b) {
		rel, ok := strings.CutPrefix(path.Clean(d.Path), "/dev/")
		if !ok || made[rel] {
			continue
		}
		made[rel] = true
		for i, c := range rel {
			if dir := rel[:i]; c == '/' && !made[dir] {
				made[dir] = true
				b.Node(dev, dir, unix.S_IFDIR|0o755, 0)
				b.own(dev, dir)
			}
		}
		deviceNode(b, dev, rel, d)
	}
	for _, l := range defaultLinks {
		b.Call(unix.SYS_SYMLINKAT, program.Str(l[0]), program.R(dev), program.Str(l[1])).Tolerate(unix.EEXIST)
	}
	if b.proc.Terminal {
		b.Node(dev, "console", unix.S_IFREG|0o600, 0)
	}
}

func deviceNode(b *builder, dev program.Reg, rel string, d specs.LinuxDevice) {
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(*d.FileMode) & 0o7777
	}
	b.Node(dev, rel, nodeTypes[d.Type]|mode, unix.Mkdev(uint32(d.Major), uint32(d.Minor)))
	var uid, gid uint32
	if d.UID != nil {
		uid = *d.UID
	}
	if d.GID != nil {
		gid = *d.GID
	}
	// An owner that the container does not have stays the host's root, nobody to it.
	owner, ok := b.hostID(false, uid)
	if !ok {
		owner = 0
	}
	group, ok := b.hostID(true, gid)
	if !ok {
		group = 0
	}
	if uid, gid = owner, group; uid != 0 || gid != 0 {
		b.Call(unix.SYS_FCHOWNAT, program.R(dev), program.Str(rel), program.Num(uid), program.Num(gid), program.Flag(unix.AT_SYMLINK_NOFOLLOW, "NOFOLLOW"))
	}
}

// devicesInRoot makes what is missing in a /dev that is part of the root file system.
func devicesInRoot(b *builder) {
	b.Step("make devices", "/dev")
	dev := b.FD("dev")
	b.Ensure(dev, "/dev", false)
	b.devices(dev)
}

// checkDevices refuses devices that devices cannot make.
func checkDevices(b *builder) error {
	for _, d := range b.lin.Devices {
		if _, ok := nodeTypes[d.Type]; !ok {
			return fmt.Errorf("device %s: unknown type %q", d.Path, d.Type)
		}
		if !strings.HasPrefix(path.Clean(d.Path), "/dev/") {
			return fmt.Errorf("device %s: only paths below /dev are supported", d.Path)
		}
	}
	return nil
}

// prepareTerminal opens a terminal in the container's own devpts, so that its
// name inside is /dev/pts/0 and the host has no entry for it.
func prepareTerminal(b *builder) error {
	if !b.proc.Terminal {
		return nil
	}
	pts := b.nearestTo("/dev/pts")
	if pts == nil || pts.typ != "devpts" {
		return fmt.Errorf("a terminal needs a devpts mount at /dev/pts")
	}
	b.Step("open terminal", "")
	b.res.Console, b.res.HasConsole = b.FD("console"), true
	b.Call(unix.SYS_OPENAT, program.R(pts.fd), program.Str("ptmx"), program.Flag(unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, "O_RDWR|O_NOCTTY|O_NONBLOCK")).Into(b.res.Console)
	terminal(b)
	return nil
}

// terminal unlocks the console, gives it its size and opens its other side.
func terminal(b *builder) {
	console := program.R(b.res.Console)
	b.Call(unix.SYS_IOCTL, console, program.Flag(unix.TIOCSPTLCK, "TIOCSPTLCK"), program.Mem(new(int32), "[0]"))
	if size := b.proc.ConsoleSize; size != nil && size.Height > 0 && size.Width > 0 {
		ws := &unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)}
		b.Call(unix.SYS_IOCTL, console, program.Flag(unix.TIOCSWINSZ, "TIOCSWINSZ"), program.Mem(ws, fmt.Sprintf("{%d rows, %d columns}", ws.Row, ws.Col)))
	}
	b.slave = b.FD("terminal")
	b.Call(unix.SYS_IOCTL, console, program.Flag(unix.TIOCGPTPEER, "TIOCGPTPEER"),
		program.Flag(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, "O_RDWR|O_NOCTTY")).Into(b.slave)
	if uid, _ := b.hostID(false, b.in.User.UID); uid != 0 {
		b.Call(unix.SYS_FCHOWN, program.R(b.slave), program.Num(uid), program.Num(-1)).Tolerate()
	}
}

// console binds the terminal at /dev/console.
func console(b *builder) error {
	if !b.proc.Terminal {
		return nil
	}
	b.Step("mount", "/dev/console")
	tree, at := b.FD("tree:console"), b.FD("at:console")
	b.Call(unix.SYS_OPEN_TREE, program.R(b.slave), program.Str(""),
		program.Flag(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH, "CLONE|AT_EMPTY_PATH")).Into(tree)
	b.Ensure(at, "/dev/console", true)
	b.notProc(at) // a /dev of somebody's own may have a link there
	b.Move(program.R(tree), program.R(at), "")
	return nil
}

// prepareStdio gives the streams to the user, so that the process can open them
// anew by way of /dev/stdout. Not every file can be given, and not all need it.
func prepareStdio(b *builder) error {
	uid, _ := b.hostID(false, b.in.User.UID)
	for fd, from := range b.in.Stdio {
		if b.proc.Terminal || from < 0 || uid == 0 {
			continue
		}
		b.Step("give standard streams to user", "")
		r := b.Given([]string{"stdin", "stdout", "stderr"}[fd], uintptr(from))
		b.Call(unix.SYS_FCHOWN, program.R(r), program.Num(uid), program.Num(-1)).Tolerate()
	}
	return nil
}

// stdio makes the streams the process's own.
func stdio(b *builder) error {
	b.Step("set up standard streams", "")
	if b.proc.Terminal {
		b.Call(unix.SYS_IOCTL, program.R(b.slave), program.Flag(unix.TIOCSCTTY, "TIOCSCTTY"), program.Num(0))
		for fd := range 3 {
			b.Call(unix.SYS_DUP3, program.R(b.slave), program.Num(fd), program.Num(0))
		}
		return nil
	}
	var null program.Reg
	opened := false
	for fd, from := range b.in.Stdio {
		if from >= 0 {
			r := b.Given([]string{"stdin", "stdout", "stderr"}[fd], uintptr(from))
			if from == fd {
				// The caller's own stream is in its place already.
				b.Call(unix.SYS_FCNTL, program.R(r), program.Flag(unix.F_SETFD, "F_SETFD"), program.Num(0))
				continue
			}
			b.Call(unix.SYS_DUP3, program.R(r), program.Num(fd), program.Num(0))
			continue
		}
		if !opened {
			null, opened = b.FD("null"), true
			b.Open(program.CWD(), "/dev/null", unix.O_RDWR, 0, mountop.Within).Into(null)
			isNull(b, null)
		}
		b.Call(unix.SYS_DUP3, program.R(null), program.Num(fd), program.Num(0))
	}
	return nil
}

// isNull makes sure that fd is the null device and not what an image put there.
func isNull(b *builder, fd program.Reg) {
	b.Call(unix.SYS_STATX, program.R(fd), program.Str(""), program.Flag(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"),
		program.Flag(unix.STATX_TYPE, "STATX_TYPE"), program.Mem(b.stbuf, "stat"))
	// stx_rdev_major and stx_rdev_minor are neighbours of 32 bits each.
	rdev := (*uint64)(unsafe.Pointer(&b.stbuf.Rdev_major))
	b.Check("stat.rdev == 1:3", rdev, ^uint64(0), 1|3<<32, unix.ENODEV)
	// stx_mode is the 16 bits behind stx_gid's 32.
	mode := (*uint64)(unsafe.Pointer(&b.stbuf.Gid))
	b.Check("stat.mode is S_IFCHR", mode, unix.S_IFMT<<32, unix.S_IFCHR<<32, unix.ENODEV)
}
