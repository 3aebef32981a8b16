package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// report prints one result: a name and an errno's name, or "ok".
func report(name string, e error) {
	errno, _ := errors.AsType[unix.Errno](e)
	word := "ok"
	if e != nil {
		word = unix.ErrnoName(errno)
	}
	fmt.Println(name, word)
}

// call makes one system call. Each has arguments that could do no harm even
// where the kernel took it; pointers are to memory that lives as long as we do.
func call(name string, nr uintptr, args ...uintptr) {
	var a [6]uintptr
	copy(a[:], args)
	_, _, e := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if e != 0 {
		report(name, e)
		return
	}
	report(name, nil)
}

var page [4096]byte

func str(s string) uintptr { b, _ := unix.BytePtrFromString(s); return uintptr(unsafe.Pointer(b)) }

const bad = ^uintptr(99)

// calls tries what a default container may and may not do.
func calls() {
	for _, group := range []func(){namespaces, mounting, watching, memory, machine, people, sockets, devices, files} {
		group()
	}
}

func namespaces() {
	for name, flags := range map[string]uintptr{
		"unshare-user": unix.CLONE_NEWUSER, "unshare-mount": unix.CLONE_NEWNS, "unshare-net": unix.CLONE_NEWNET, "unshare-pid": unix.CLONE_NEWPID,
		"unshare-cgroup": unix.CLONE_NEWCGROUP, "unshare-uts": unix.CLONE_NEWUTS, "unshare-ipc": unix.CLONE_NEWIPC, "unshare-time": unix.CLONE_NEWTIME,
	} {
		call(name, unix.SYS_UNSHARE, flags)
	}
	// The kernel refuses these combinations with EINVAL: no child comes of them.
	call("clone-newuser", unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_FS)
	call("clone-newns", unix.SYS_CLONE, unix.CLONE_NEWNS|unix.CLONE_FS)
	call("clone3", unix.SYS_CLONE3, uintptr(unsafe.Pointer(&page)), 0)
	call("setns", unix.SYS_SETNS, bad, 0)
	call("sethostname", unix.SYS_SETHOSTNAME, str("none"), 4)
	call("setdomainname", unix.SYS_SETDOMAINNAME, str("none"), 4)
}

func mounting() {
	mem, tmp, null := uintptr(unsafe.Pointer(&page)), str("/tmp"), str("none")
	call("mount", unix.SYS_MOUNT, null, tmp, str("tmpfs"), 0, 0)
	call("umount2", unix.SYS_UMOUNT2, str("/proc/kcore"), unix.MNT_DETACH)
	call("pivot_root", unix.SYS_PIVOT_ROOT, tmp, tmp)
	call("fsopen", unix.SYS_FSOPEN, str("tmpfs"), 0)
	call("fspick", unix.SYS_FSPICK, bad, tmp, 0)
	call("open_tree", unix.SYS_OPEN_TREE, bad, tmp, 1)
	call("move_mount", unix.SYS_MOVE_MOUNT, bad, tmp, bad, tmp, 0)
	call("mount_setattr", unix.SYS_MOUNT_SETATTR, bad, tmp, 0, mem, 32)
	call("chroot", unix.SYS_CHROOT, str("/"))
	call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, bad, mem, 0)
	call("name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, bad, tmp, mem, mem, 0)
	call("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0)
	call("swapon", unix.SYS_SWAPON, tmp, 0)
	call("swapoff", unix.SYS_SWAPOFF, tmp)
	call("fanotify_init", unix.SYS_FANOTIFY_INIT, 0, 0)
}

func watching() {
	mem := uintptr(unsafe.Pointer(&page))
	call("ptrace-attach", unix.SYS_PTRACE, unix.PTRACE_ATTACH, 999999, 0, 0)
	call("process_vm_readv", unix.SYS_PROCESS_VM_READV, 999999, mem, 0, mem, 0, 0)
	call("process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, 999999, mem, 0, mem, 0, 0)
	call("pidfd_getfd", unix.SYS_PIDFD_GETFD, bad, 0, 0)
	call("kcmp", unix.SYS_KCMP, 999999, 999999, 0, 0, 0)
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, mem, 0, bad, bad, 0)
	call("bpf", unix.SYS_BPF, 0, mem, 64)
	call("signal-elsewhere", unix.SYS_KILL, 999999, 0)
	call("syslog", unix.SYS_SYSLOG, 3, mem, 16)
	call("lookup_dcookie", unix.SYS_LOOKUP_DCOOKIE, 0, mem, 16)
}

func memory() {
	mem := uintptr(unsafe.Pointer(&page))
	call("userfaultfd", unix.SYS_USERFAULTFD, 0)
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, mem)
	call("io_uring_enter", unix.SYS_IO_URING_ENTER, bad, 0, 0, 0, 0, 0)
	call("io_uring_register", unix.SYS_IO_URING_REGISTER, bad, 0, 0, 0)
	call("move_pages", unix.SYS_MOVE_PAGES, 0, 0, 0, 0, 0, 0)
	call("migrate_pages", unix.SYS_MIGRATE_PAGES, 0, 0, 0, 0)
	call("mbind", unix.SYS_MBIND, 0, 0, 0, 0, 0, 0)
	call("set_mempolicy", unix.SYS_SET_MEMPOLICY, 0, 0, 0)
	call("personality-get", unix.SYS_PERSONALITY, 0xffffffff)
	call("personality-no-randomize", unix.SYS_PERSONALITY, 0x0040000)
	call("personality-read-implies-exec", unix.SYS_PERSONALITY, 0x0400000)
	call("memfd_create", unix.SYS_MEMFD_CREATE, str("x"), 0)
}

func machine() {
	mem := uintptr(unsafe.Pointer(&page))
	call("reboot", unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, 0, 0)
	call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, bad)
	call("kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, bad, bad, 0, 0, 0)
	call("init_module", unix.SYS_INIT_MODULE, mem, 0, mem)
	call("finit_module", unix.SYS_FINIT_MODULE, bad, mem, 0)
	call("delete_module", unix.SYS_DELETE_MODULE, str("none"), 0)
	call("settimeofday", unix.SYS_SETTIMEOFDAY, bad, 0)
	call("clock_settime", unix.SYS_CLOCK_SETTIME, 0, bad)
	call("clock_adjtime", unix.SYS_CLOCK_ADJTIME, 0, uintptr(unsafe.Pointer(&[512]byte{})))
	call("acct", unix.SYS_ACCT, 0)
	for name, nr := range portCalls {
		call(name, nr, 0x80, 1, 1)
	}
	call("vhangup", unix.SYS_VHANGUP)
}

func people() {
	mem := uintptr(unsafe.Pointer(&page))
	call("keyctl", unix.SYS_KEYCTL, 0, ^uintptr(2), 0)
	call("add_key", unix.SYS_ADD_KEY, str("user"), str("k"), mem, 1, ^uintptr(2))
	call("request_key", unix.SYS_REQUEST_KEY, str("user"), str("k"), 0, 0)
	call("setuid", unix.SYS_SETUID, 0)
	call("sched_setscheduler", unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&[4]int32{1})))
	call("setpriority", unix.SYS_SETPRIORITY, 0, 0, ^uintptr(4))
	call("mknod", unix.SYS_MKNODAT, bad, str("/tmp/probe-null"), unix.S_IFCHR|0o666, uintptr(unix.Mkdev(1, 3)))
}

func sockets() {
	for name, s := range map[string][3]uintptr{
		"socket-raw": {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, "socket-packet": {unix.AF_PACKET, unix.SOCK_RAW, 0},
		"socket-vsock": {unix.AF_VSOCK, unix.SOCK_STREAM, 0}, "socket-alg": {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		"socket-netlink": {unix.AF_NETLINK, unix.SOCK_RAW, 0}, "socket-audit": {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
		"socket-unix": {unix.AF_UNIX, unix.SOCK_STREAM, 0}, "socket-xdp": {unix.AF_XDP, unix.SOCK_RAW, 0},
	} {
		call(name, unix.SYS_SOCKET, s[0], s[1], s[2])
	}
	call("setsockopt-mark", unix.SYS_SETSOCKOPT, bad, unix.SOL_SOCKET, unix.SO_MARK, 0, 0)
}

// devices makes nodes of the host's devices; they must not open.
func devices() {
	for name, d := range map[string]struct {
		kind         uint32
		major, minor uint32
	}{
		"sda": {unix.S_IFBLK, 8, 0}, "vda": {unix.S_IFBLK, 254, 0}, "mem": {unix.S_IFCHR, 1, 1}, "port": {unix.S_IFCHR, 1, 4}, "kmsg": {unix.S_IFCHR, 1, 11},
		"tun": {unix.S_IFCHR, 10, 200}, "fuse": {unix.S_IFCHR, 10, 229}, "tty0": {unix.S_IFCHR, 4, 0}, "kvm": {unix.S_IFCHR, 10, 232}, "loop-control": {unix.S_IFCHR, 10, 237},
	} {
		p := "/tmp/" + name
		_ = unix.Mknod(p, d.kind|0o666, int(unix.Mkdev(d.major, d.minor)))
		open("device-"+name, p, os.O_RDWR)
	}
}

func open(name, p string, flags int) {
	f, err := os.OpenFile(p, flags, 0)
	report(name, err)
	if err == nil {
		_ = f.Close()
	}
}

// files opens for writing what commands the host, and reads what tells of it.
func files() {
	for _, p := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/panic", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
		"/proc/irq/default_smp_affinity", "/proc/bus/pci", "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/class/net/lo/mtu", "/sys/block",
	} {
		if st, err := os.Lstat(p); err == nil && !st.IsDir() {
			open("write:"+p, p, os.O_WRONLY)
		}
	}
	for _, p := range []string{"/proc/kcore", "/proc/timer_list", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/interrupts", "/sys/firmware", "/proc/acpi", "/proc/scsi", "/sys/devices/virtual/powercap"} {
		if st, err := os.Lstat(p); err == nil {
			read(p, st.IsDir())
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/release_agent", "/sys/fs/cgroup/*/notify_on_release", "/sys/fs/cgroup/*/cgroup.procs", "/sys/fs/cgroup/*/devices.allow"} {
		list, _ := filepath.Glob(pattern)
		for _, p := range list {
			open("write:"+filepath.Base(p), p, os.O_WRONLY)
		}
	}
}

// read reports ok where a file has a byte or a directory an entry.
func read(p string, dir bool) {
	n := 0
	if dir {
		list, _ := os.ReadDir(p)
		n = len(list)
	} else if f, err := os.Open(p); err == nil {
		n, _ = f.Read(page[:1])
		_ = f.Close()
	}
	if n > 0 {
		report("read:"+p, nil)
		return
	}
	fmt.Println("read:"+p, "empty")
}
