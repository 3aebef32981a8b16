package compile

import (
	"cmp"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
)

// mountOwn makes the file systems that belong to the child's own namespaces,
// while the host's proc and sysfs still vouch for a user namespace's right to them.
func (b *builder) mountOwn() {
	for _, m := range b.mounts {
		if !m.inChild {
			continue
		}
		b.Step("prepare mount", m.dest)
		fs := b.FD("fs:" + m.dest)
		b.Call(unix.SYS_FSOPEN, program.Str(m.typ), program.Flag(unix.FSOPEN_CLOEXEC, "CLOEXEC")).Into(fs)
		b.Config(fs, "source", cmp.Or(m.source, m.typ))
		for _, word := range m.opt.Data {
			key, value, _ := strings.Cut(word, "=")
			b.Config(fs, key, value)
		}
		done, fallback := b.Label(), b.Label()
		create := b.Call(unix.SYS_FSCONFIG, program.R(fs), program.Flag(unix.FSCONFIG_CMD_CREATE, "CREATE"), program.Num(0), program.Num(0), program.Num(0))
		attr := m.opt.Attr.Set | m.opt.RAttr.Set
		mount := b.Call(unix.SYS_FSMOUNT, program.R(fs), program.Flag(unix.FSMOUNT_CLOEXEC, "CLOEXEC"),
			program.Flag(attr, program.Words(attr, mountop.AttrBits))).Into(m.fd)
		if m.typ == "sysfs" && b.userns {
			// The network namespace is not this user namespace's own: show the host's sysfs.
			create.Err(fallback, unix.EPERM)
			mount.Err(fallback, unix.EPERM).OK(done)
			b.Here(fallback)
			opt := m.opt
			opt.Recursive = true
			b.CloneTree(m.fd, "/sys", opt)
		}
		b.Here(done)
		b.Here(fallback)
	}
}

// placeMounts puts every mount at its destination, in the order of the spec.
func (b *builder) placeMounts() error {
	procSeen := false
	for _, m := range b.mounts {
		b.Step("mount", m.dest)
		b.place(m, procSeen)
		for _, sub := range m.groups {
			b.place(sub, false)
		}
		procSeen = procSeen || m.typ == "proc"
	}
	if b.nearestTo("/dev") == nil {
		devicesInRoot(b)
	}
	return nil
}

// nearestTo is the mount at exactly dest; nil where there is none.
func (b *builder) nearestTo(dest string) *mount {
	for _, m := range b.mounts {
		if m.dest == dest {
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
	if procSeen && !procAllowed[m.dest] {
		b.notProc(target)
	}
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

// procAllowed are the places below /proc that may be mounted over: they hold
// figures about the machine, which lxcfs and its like adapt to the container.
var procAllowed = map[string]bool{
	"/proc/cpuinfo": true, "/proc/diskstats": true, "/proc/meminfo": true, "/proc/stat": true,
	"/proc/swaps": true, "/proc/uptime": true, "/proc/loadavg": true, "/proc/slabinfo": true,
	"/proc/net/dev": true, "/proc/sys/kernel/ns_last_pid": true, "/proc/sys/crypto/fips_enabled": true,
}
