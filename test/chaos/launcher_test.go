package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launchVariable makes the test's own binary the launcher of what its arguments name.
const launchVariable = "HOY_CHAOS_LAUNCH"

func TestMain(m *testing.M) {
	if os.Getenv(launchVariable) != "" {
		fmt.Fprintln(os.Stderr, "launch:", launch(os.Args[1:]))
		os.Exit(127)
	}
	os.Exit(m.Run())
}

// watched are the system calls before which the kernel asks: those that change
// files, mounts, namespaces, links, firewall, processes.
var watched = map[uint32]string{
	unix.SYS_MKDIRAT: "mkdir", unix.SYS_RENAMEAT: "rename", unix.SYS_RENAMEAT2: "rename", unix.SYS_UNLINKAT: "unlink", unix.SYS_LINKAT: "link",
	unix.SYS_SYMLINKAT: "symlink", unix.SYS_MKNODAT: "mknod", unix.SYS_OPENAT: "open", unix.SYS_FTRUNCATE: "truncate", unix.SYS_FALLOCATE: "fallocate",
	unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite", unix.SYS_COPY_FILE_RANGE: "copy",
	unix.SYS_FCHMODAT: "chmod", unix.SYS_FCHMOD: "chmod", unix.SYS_FCHOWNAT: "chown", unix.SYS_FCHOWN: "chown", unix.SYS_UTIMENSAT: "utimes",
	unix.SYS_SETXATTR: "setxattr", unix.SYS_LSETXATTR: "setxattr", unix.SYS_FSETXATTR: "setxattr",
	unix.SYS_MOUNT: "mount", unix.SYS_UMOUNT2: "umount", unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_OPEN_TREE: "open_tree", unix.SYS_FSOPEN: "fsopen",
	unix.SYS_FSCONFIG: "fsconfig", unix.SYS_FSMOUNT: "fsmount", unix.SYS_MOUNT_SETATTR: "mount_setattr", unix.SYS_PIVOT_ROOT: "pivot_root",
	unix.SYS_UNSHARE: "unshare", unix.SYS_SETNS: "setns", unix.SYS_CLONE3: "clone", unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_PIDFD_SEND_SIGNAL: "signal",
	unix.SYS_SENDTO: "send", unix.SYS_SENDMSG: "send", unix.SYS_MEMFD_CREATE: "memfd", unix.SYS_BPF: "bpf",
}

// filter lets all calls but the watched ones pass; of opens, those that write are watched.
func filter() []unix.SockFilter {
	const notify, allow = 0x7fc00000, 0x7fff0000
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(what uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what}
	}
	equal := func(k uint32, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: no}
	}
	const flags = 16 + 2*8 // of struct seccomp_data: the third argument
	prog := []unix.SockFilter{
		load(0), equal(unix.SYS_OPENAT, 4), load(flags),
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT, Jf: 1}, ret(notify), ret(allow),
	}
	for nr := range watched {
		if nr != unix.SYS_OPENAT {
			prog = append(prog, equal(nr, 1), ret(notify))
		}
	}
	return append(prog, ret(allow))
}

// launch puts the filter on this thread, sends its listener through the socket
// that is descriptor 3, and becomes argv.
func launch(argv []string) error {
	unix.CloseOnExec(3)
	listener, taken := make(chan int), make(chan error)
	// The listener is sent by another thread: this one would wait for itself.
	go func() {
		fd := <-listener
		err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(fd), nil, 0)
		if err == nil {
			_, err = unix.Read(3, make([]byte, 1))
		}
		taken <- err
	}()
	runtime.LockOSThread()
	prog := filter()
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	listener <- int(fd)
	if err := <-taken; err != nil {
		return err
	}
	return unix.Exec(argv[0], argv, os.Environ())
}

// launched starts a command under the filter and returns the listener.
func launched(cmd *exec.Cmd) (listener int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "launcher"), os.NewFile(uintptr(pair[1]), "launcher")
	defer ours.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd.Args = append([]string{self}, cmd.Args...)
	cmd.Path = self
	cmd.Env = append(os.Environ(), launchVariable+"=1")
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return 0, err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("the launcher sent no listener: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	_, err = ours.Write([]byte{0})
	return fds[0], err
}
