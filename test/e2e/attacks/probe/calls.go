package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes one system call. Each has arguments that could do no harm even
// where the kernel took it; pointers are to memory that lives as long as we do.
func call(name string, nr uintptr, args ...uintptr) {
	var a [6]uintptr
	copy(a[:], args)
	_, _, e := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	word := "ok"
	if e != 0 {
		word = unix.ErrnoName(e)
	}
	fmt.Println(name, word)
}

var page [4096]byte

// calls tries what a default container may and may not do.
func calls() {
	str := func(s string) uintptr { b, _ := unix.BytePtrFromString(s); return uintptr(unsafe.Pointer(b)) }
	mem := uintptr(unsafe.Pointer(&page))
	tmp, null := str("/tmp"), str("none")
	for name, flags := range map[string]uintptr{"unshare-user": unix.CLONE_NEWUSER, "unshare-mount": unix.CLONE_NEWNS, "unshare-net": unix.CLONE_NEWNET, "unshare-fs": unix.CLONE_FS} {
		call(name, unix.SYS_UNSHARE, flags)
	}
	call("mount", unix.SYS_MOUNT, null, tmp, str("tmpfs"), 0, 0)
	call("umount", unix.SYS_UMOUNT2, str("/proc/kcore"), unix.MNT_DETACH)
	call("pivot_root", unix.SYS_PIVOT_ROOT, tmp, tmp)
	call("fsopen", unix.SYS_FSOPEN, str("tmpfs"), 0)
	call("open_tree", unix.SYS_OPEN_TREE, ^uintptr(99), tmp, 1)
	call("move_mount", unix.SYS_MOVE_MOUNT, ^uintptr(99), tmp, ^uintptr(99), tmp, 0)
	call("mount_setattr", unix.SYS_MOUNT_SETATTR, ^uintptr(99), tmp, 0, mem, 32)
	call("bpf", unix.SYS_BPF, 0, mem, 64)
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, mem)
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, mem, 0, ^uintptr(0), ^uintptr(0), 0)
	call("userfaultfd", unix.SYS_USERFAULTFD, 0)
	call("keyctl", unix.SYS_KEYCTL, 0, ^uintptr(2), 0)
	call("add_key", unix.SYS_ADD_KEY, str("user"), str("k"), mem, 1, ^uintptr(2))
	call("request_key", unix.SYS_REQUEST_KEY, str("user"), str("k"), 0, 0)
	call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)
	call("init_module", unix.SYS_INIT_MODULE, mem, 0, mem)
	call("delete_module", unix.SYS_DELETE_MODULE, null, 0)
	call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), mem, 0)
	call("setns", unix.SYS_SETNS, 0, 0)
	call("reboot", unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, 0, 0)
	call("swapon", unix.SYS_SWAPON, tmp, 0)
	call("acct", unix.SYS_ACCT, 0)
	call("syslog", unix.SYS_SYSLOG, 3, mem, 16)
	call("sethostname", unix.SYS_SETHOSTNAME, null, 4)
	call("settimeofday", unix.SYS_SETTIMEOFDAY, mem, 0)
	call("iopl", unix.SYS_IOPL, 3)
	call("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0)
	call("clone3", unix.SYS_CLONE3, mem, 0)
	call("chroot", unix.SYS_CHROOT, str("/"))
	call("ptrace-self", unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0)
	call("raw-socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	call("packet-socket", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0)
	call("vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	call("signal-monitor", unix.SYS_KILL, 999999, 0)
	devices()
	files()
}

// devices makes nodes of the host's devices; they must not open.
func devices() {
	for name, d := range map[string]struct {
		kind         uint32
		major, minor uint32
	}{"sda": {unix.S_IFBLK, 8, 0}, "vda": {unix.S_IFBLK, 254, 0}, "mem": {unix.S_IFCHR, 1, 1}, "kmsg": {unix.S_IFCHR, 1, 11}, "tun": {unix.S_IFCHR, 10, 200}, "fuse": {unix.S_IFCHR, 10, 229}} {
		p := "/tmp/" + name
		_ = unix.Mknod(p, d.kind|0o666, int(unix.Mkdev(d.major, d.minor)))
		open("dev-"+name, p, os.O_RDWR)
	}
}

func open(name, p string, flags int) {
	f, err := os.OpenFile(p, flags, 0)
	if err != nil {
		errno, _ := errors.AsType[unix.Errno](err)
		fmt.Println(name, unix.ErrnoName(errno))
		return
	}
	_ = f.Close()
	fmt.Println(name, "ok")
}

// files opens for writing what commands the host.
func files() {
	for _, p := range []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper", "/sys/power/state"} {
		if _, err := os.Lstat(p); err == nil {
			open("write-"+filepath.Base(p), p, os.O_WRONLY)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/release_agent", "/sys/fs/cgroup/*/notify_on_release", "/sys/fs/cgroup/*/cgroup.procs", "/sys/fs/cgroup/*/devices.allow"} {
		list, _ := filepath.Glob(pattern)
		for _, p := range list {
			open("write-"+p, p, os.O_WRONLY)
		}
	}
}
