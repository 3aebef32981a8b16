package compile

import (
	"fmt"
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/device"
	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
)

// devices reads which devices there are to be, and makes ready those that
// cannot be made in a fresh /dev.
func devices(b *builder) error {
	own := b.in.Own.Permitted&(1<<unix.CAP_MKNOD) != 0
	b.dev = &device.Maker{Ops: b.Ops, Caller: own, Child: own && !b.userns}
	if b.userns {
		b.dev.HostID = b.hostID
	}
	return b.dev.Read(b.lin.Devices)
}

// devKind says whether /dev is a fresh file system, which the caller fills, or a
// bind, which is to stay as it is.
func devKind(b *builder) (fresh, bind bool) {
	m := nearestTo(b, "/dev")
	return m != nil && m.typ == "tmpfs" && !m.opt.Bind, m != nil && m.opt.Bind
}

// prepareTerminal opens a terminal in the container's own devpts, so that its
// name inside is /dev/pts/0 and the host has no entry for it.
func prepareTerminal(b *builder) error {
	if !b.proc.Terminal {
		return nil
	}
	b.res.Console, b.res.HasConsole = b.FD("console"), true
	open := program.Flag(unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, "O_RDWR|O_NOCTTY|O_NONBLOCK")
	pts := covering(b, "/dev/pts")
	switch {
	case pts != nil && pts.typ == "devpts" && pts.dest == "/dev/pts":
		b.Step("open terminal", "")
		b.Call(unix.SYS_OPENAT, program.R(pts.fd), program.Str("ptmx"), open).Into(b.res.Console)
	case pts != nil && pts.opt.Bind && (pts.opt.Recursive || pts.dest == "/dev/pts"):
		// The host's, most likely. Opened by way of the bind it is seen inside, and can
		// be bound in turn.
		dir := path.Join(".", strings.TrimPrefix("/dev/pts", pts.dest))
		b.Step("open terminal", path.Join(pts.source, dir)+"/ptmx")
		onDevpts(b, program.R(pts.fd), dir, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	default:
		return fmt.Errorf("a terminal needs a devpts mount at /dev/pts")
	}
	terminal(b)
	return nil
}

// onDevpts opens the terminal multiplexer in a directory, after making sure that
// this is a devpts: its entries can then only be terminals.
func onDevpts(b *builder, from program.Arg, dir string, resolve uint64) {
	pts := b.FD("pts")
	b.Open(from, dir, unix.O_PATH|unix.O_DIRECTORY, 0, resolve).Into(pts)
	b.Call(unix.SYS_FSTATFS, program.R(pts), program.Mem(b.fsbuf, "statfs"))
	b.Check("on devpts", (*uint64)(unsafe.Pointer(&b.fsbuf.Type)), ^uint64(0), unix.DEVPTS_SUPER_MAGIC, unix.ENODEV)
	b.Open(program.R(pts), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0,
		unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV).Into(b.res.Console)
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
		if !b.birth { // the session is its leader's
			b.Call(unix.SYS_IOCTL, program.R(b.slave), program.Flag(unix.TIOCSCTTY, "TIOCSCTTY"), program.Num(0))
		}
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
			device.Same(b.Ops, null, unix.S_IFCHR, 1, 3, unix.ENODEV)
		}
		b.Call(unix.SYS_DUP3, program.R(null), program.Num(fd), program.Num(0))
	}
	return nil
}
