package program

import (
	"strconv"

	"golang.org/x/sys/unix"
)

var names = map[uintptr]string{
	unix.SYS_ACCEPT4: "accept4",
	unix.SYS_CAPSET:  "capset", unix.SYS_CHDIR: "chdir", unix.SYS_CHROOT: "chroot", unix.SYS_CLOSE: "close",
	unix.SYS_CLOSE_RANGE: "close_range", unix.SYS_DUP3: "dup3", unix.SYS_EXECVE: "execve",
	unix.SYS_FACCESSAT: "faccessat", unix.SYS_FCHDIR: "fchdir", unix.SYS_FCHMODAT: "fchmodat",
	unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchownat", unix.SYS_FCNTL: "fcntl",
	unix.SYS_FSCONFIG: "fsconfig", unix.SYS_FSMOUNT: "fsmount", unix.SYS_FSOPEN: "fsopen",
	unix.SYS_FSTATFS: "fstatfs", unix.SYS_GETCWD: "getcwd", unix.SYS_IOCTL: "ioctl",
	unix.SYS_KEYCTL: "keyctl", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat",
	unix.SYS_MOUNT: "mount", unix.SYS_MOUNT_SETATTR: "mount_setattr", unix.SYS_MOVE_MOUNT: "move_mount",
	unix.SYS_LANDLOCK_CREATE_RULESET: "landlock_create_ruleset", unix.SYS_LANDLOCK_ADD_RULE: "landlock_add_rule",
	unix.SYS_LANDLOCK_RESTRICT_SELF: "landlock_restrict_self",
	unix.SYS_OPENAT:                 "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_OPEN_TREE: "open_tree",
	unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_PRCTL: "prctl", unix.SYS_PRLIMIT64: "prlimit64",
	unix.SYS_SCHED_SETATTR: "sched_setattr", unix.SYS_SCHED_SETAFFINITY: "sched_setaffinity", unix.SYS_IOPRIO_SET: "ioprio_set", unix.SYS_PERSONALITY: "personality",
	unix.SYS_READ: "read", unix.SYS_RT_SIGPROCMASK: "rt_sigprocmask", unix.SYS_SECCOMP: "seccomp",
	unix.SYS_SETDOMAINNAME: "setdomainname", unix.SYS_SETGROUPS: "setgroups",
	unix.SYS_SET_MEMPOLICY: "set_mempolicy", unix.SYS_FSPICK: "fspick",
	unix.SYS_SETHOSTNAME: "sethostname", unix.SYS_SETNS: "setns", unix.SYS_SETRESGID: "setresgid",
	unix.SYS_SETRESUID: "setresuid", unix.SYS_SETSID: "setsid", unix.SYS_STATX: "statx",
	unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_UMASK: "umask", unix.SYS_UMOUNT2: "umount2",
	unix.SYS_UNSHARE: "unshare", unix.SYS_WRITE: "write", unix.SYS_UNLINKAT: "unlinkat",
}

func name(nr uintptr) string {
	if n, ok := names[nr]; ok {
		return n
	}
	return "syscall_" + strconv.Itoa(int(nr))
}
