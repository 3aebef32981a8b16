package compile

import (
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
)

// hosts are what stands in for a file system whose namespace does not belong to
// the container's user namespace: the host's own.
var hosts = map[string]string{"sysfs": "/sys", "mqueue": "/dev/mqueue"}

// mountOwn makes the file systems that belong to the child's own namespaces,
// while the host's proc and sysfs still vouch for a user namespace's right to them.
func (b *builder) mountOwn() error {
	for _, m := range b.mounts {
		if !m.inChild {
			continue
		}
		b.Step("prepare mount", m.dest)
		fs := mountop.FS{Into: m.fd, Type: m.typ, Source: m.source, Dest: m.dest, Options: m.opt}
		host := hosts[m.typ]
		if !b.userns || host == "" {
			if err := b.Make(fs); err != nil {
				return err
			}
			continue
		}
		done := b.Label()
		fs.Refused = b.Label()
		if err := b.Make(fs); err != nil {
			return err
		}
		b.Set(b.Given("own", 0), program.Num(1)).OK(done)
		b.Here(fs.Refused)
		opt := m.opt
		opt.Recursive = true
		b.CloneTree(m.fd, host, opt)
		b.Here(done)
	}
	return nil
}

// placeMounts puts every mount at its destination, in the order of the spec.
func (b *builder) placeMounts() error {
	procSeen := false
	for _, m := range b.mounts {
		if m.opt.Remount {
			remount(b, m)
			continue
		}
		b.Step("mount", m.dest)
		b.place(m, procSeen)
		for _, sub := range m.groups {
			b.place(sub, false)
		}
		procSeen = procSeen || m.typ == "proc" || m.dest == "/proc"
	}
	b.dev.Place(devKind(b))
	return nil
}

// remount changes what is mounted at a place; of a file system's own options
// only those that are flags of every one.
func remount(b *builder, m *mount) {
	b.Step("remount", m.dest)
	at := b.FD("at:" + m.dest)
	b.Open(program.CWD(), m.dest, unix.O_PATH, 0, mountop.Within).Into(at)
	b.Change(at, m.opt)
	if m.opt.Bind || len(m.opt.Super)+len(m.opt.Data) == 0 {
		return
	}
	fs := b.FD("fs:" + m.dest)
	b.Call(unix.SYS_FSPICK, program.R(at), program.Str(""), program.Flag(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH, "CLOEXEC|EMPTY_PATH")).Into(fs)
	for _, word := range append(m.opt.Super, m.opt.Data...) {
		if key, value, has := strings.Cut(word, "="); has {
			b.Config(fs, key, value)
		} else {
			b.Flag(fs, word)
		}
	}
	b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_CMD_RECONFIGURE, "RECONFIGURE"), program.Num(0), program.Num(0), program.Num(0))
}

// nearestTo is the last mount at exactly dest; nil where there is none.
func nearestTo(b *builder, dest string) *mount {
	if m := covering(b, dest); m != nil && m.dest == dest {
		return m
	}
	return nil
}

// covering is the last mount at dest or above it.
func covering(b *builder, dest string) *mount {
	for _, m := range slices.Backward(b.mounts) {
		if strings.HasPrefix(dest+"/", m.dest+"/") && !m.opt.Remount {
			return m
		}
	}
	return nil
}

func (b *builder) place(m *mount, procSeen bool) {
	target := b.FD("at:" + m.dest)
	switch {
	case m.typ == "proc" || m.typ == "sysfs":
		// A link in the place of /proc could lead our own writes astray.
		b.Open(program.CWD(), m.dest, unix.O_PATH, 0, mountop.Within|unix.RESOLVE_NO_SYMLINKS).Into(target)
	case !m.made && (b.nearest(m) != nil || b.in.Indirect[m.dest]):
		b.Ensure(target, m.dest, m.file)
	default:
		b.Open(program.CWD(), m.dest, unix.O_PATH, 0, mountop.Within).Into(target)
	}
	switch {
	case m.dest == "/proc" && m.typ != "proc":
		b.Step("mount", m.dest+", which is no proc file system")
		onProc(b, m.fd)
	case procSeen && !procAllowed[m.dest]:
		b.Step("mount", m.dest+", which is inside /proc")
		b.notProc(target)
	}
	b.Step("mount", m.dest)
	b.Move(program.R(m.fd), program.R(target), "")
}

// notProc refuses a place on procfs: what is mounted there would deceive
// whoever reads /proc, ourselves included.
func (b *builder) notProc(fd program.Reg) {
	b.Call(unix.SYS_FSTATFS, program.R(fd), program.Mem(b.fsbuf, "statfs"))
	ok, bad := b.Label(), b.Label()
	b.Check("not on procfs", (*uint64)(unsafe.Pointer(&b.fsbuf.Type)), ^uint64(0), unix.PROC_SUPER_MAGIC, unix.EPERM).Err(ok).OK(bad)
	b.Here(bad)
	b.Fail(unix.EPERM)
	b.Here(ok)
}

// onProc refuses anything but a proc file system.
func onProc(b *builder, fd program.Reg) {
	b.Call(unix.SYS_FSTATFS, program.R(fd), program.Mem(b.fsbuf, "statfs"))
	b.Check("on procfs", (*uint64)(unsafe.Pointer(&b.fsbuf.Type)), ^uint64(0), unix.PROC_SUPER_MAGIC, unix.EPERM)
}

// procAllowed are the places below /proc that may be mounted over: they hold
// figures about the machine, which lxcfs and its like adapt to the container.
var procAllowed = map[string]bool{
	"/proc/cpuinfo": true, "/proc/diskstats": true, "/proc/meminfo": true, "/proc/stat": true,
	"/proc/swaps": true, "/proc/uptime": true, "/proc/loadavg": true, "/proc/slabinfo": true,
	"/proc/net/dev": true, "/proc/sys/kernel/ns_last_pid": true, "/proc/sys/crypto/fips_enabled": true,
}
