package chaos

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mode is what happens at a step.
type mode string

const (
	fails   mode = "fails"
	late    mode = "is late"
	crashes mode = "crashes"
)

// lateness is how long a late step takes.
const lateness = 400 * time.Millisecond

// scope says whose steps count.
type scope string

const (
	daemon scope = "daemon"
	// parent is the monitor and what it forks, up to the execution of the container's program.
	parent scope = "monitor"
)

// step is one call that changes something.
type step struct {
	call, target string
	err          unix.Errno
	pid          int
}

func (s step) String() string { return s.call + " " + s.target }

// supervisor is asked by the kernel before each watched call of the daemon, of
// the monitor that it started and of what that forks. It lets them go on but one.
type supervisor struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	daemons map[int]bool
	scope   scope // "" counts nothing
	at      int
	mode    mode
	steps   []step
	hit     chan struct{} // closed at the step
}

// start starts a daemon under supervision.
func (s *supervisor) start(cmd *exec.Cmd) error {
	fd, err := launched(cmd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.daemons[cmd.Process.Pid] = true
	s.mu.Unlock()
	go s.serve(fd)
	return nil
}

// arm counts the steps of a scope from now on, and does something at the one of
// a number, from 1; 0 only counts.
func (s *supervisor) arm(sc scope, at int, m mode) (hit <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scope, s.at, s.mode, s.steps, s.hit = sc, at, m, nil, make(chan struct{})
	return s.hit
}

// disarm ends it and returns the steps that were made.
func (s *supervisor) disarm() []step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scope = ""
	return s.steps
}

// notification is struct seccomp_notif of linux/seccomp.h, response seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         uint32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp).
const (
	ioctlReceive = 0xc0502100
	ioctlSend    = 0xc0182101
	goOn         = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

func (s *supervisor) serve(fd int) {
	defer unix.Close(fd)
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err == unix.EINTR { //nolint:errorlint // Poll returns the number itself
			continue
		}
		if p[0].Revents&unix.POLLIN == 0 {
			return // nobody is under this filter any more
		}
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlReceive, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // who asked has gone
		}
		answer := func(err unix.Errno) {
			r := response{id: n.id, flags: goOn}
			if err != 0 {
				r.err, r.flags = -int32(err), 0
			}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlSend, uintptr(unsafe.Pointer(&r)))
		}
		st, here := s.count(&n)
		switch {
		case !here:
			answer(0)
		case s.mode == fails:
			answer(st.err)
		case s.mode == late:
			go func() { <-time.After(lateness); answer(0) }()
		case s.mode == crashes:
			_ = unix.Kill(st.pid, unix.SIGKILL)
		}
	}
}

// count says whether the call is a step at all, and the one to do something at.
func (s *supervisor) count(n *notification) (step, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scope == "" {
		return step{}, false
	}
	tgid := threadGroup(int(n.pid))
	if s.daemons[tgid] != (s.scope == daemon) {
		return step{}, false
	}
	if s.scope == parent {
		// A container's own program is no part of this.
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", tgid))
		if err != nil || !strings.Contains(exe, "memfd:") && !strings.Contains(exe, "hoy-run") {
			return step{}, false
		}
	}
	st, ok := s.describe(n, tgid)
	if !ok {
		return step{}, false
	}
	s.steps = append(s.steps, st)
	if len(s.steps) != s.at {
		return step{}, false
	}
	close(s.hit)
	return st, true
}

func threadGroup(tid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Tgid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(rest))
			return pid
		}
	}
	return 0
}

// failures are what a call fails with; those not listed with ENOSPC.
var failures = map[string]unix.Errno{
	"fsync": unix.EIO, "fdatasync": unix.EIO, "unlink": unix.EIO, "umount": unix.EBUSY, "mount": unix.ENOMEM, "move_mount": unix.ENOMEM,
	"open_tree": unix.EMFILE, "fsopen": unix.EMFILE, "fsconfig": unix.EINVAL, "fsmount": unix.ENOMEM, "mount_setattr": unix.EINVAL, "pivot_root": unix.EINVAL,
	"setns": unix.EPERM, "clone": unix.EAGAIN, "pidfd_open": unix.EMFILE, "signal": unix.EPERM, "send": unix.ENOBUFS, "memfd": unix.EMFILE, "bpf": unix.ENOMEM,
	"chown": unix.EPERM, "chmod": unix.EPERM, "open": unix.EMFILE,
}

// describe leaves out what is no change: answers to clients, wake-ups, the log.
func (s *supervisor) describe(n *notification, pid int) (step, bool) {
	st := step{call: watched[n.nr], pid: pid, err: unix.ENOSPC}
	if e, ok := failures[st.call]; ok {
		st.err = e
	}
	arg := func(i int) uint64 { return n.args[i] }
	switch n.nr {
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FCHMOD,
		unix.SYS_FCHOWN, unix.SYS_FSETXATTR, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_SETNS:
		st.target = descriptor(pid, arg(0))
		if strings.HasSuffix(st.target, "/hoyd.log") || strings.HasSuffix(st.target, "/monitor.log") ||
			st.call == "write" && !strings.HasPrefix(st.target, "/") || strings.HasPrefix(st.target, "/dev/") {
			return st, false
		}
	case unix.SYS_SENDTO, unix.SYS_SENDMSG:
		domain := domain(pid, int(arg(0)))
		st.target = map[int]string{unix.AF_NETLINK: "netlink", unix.AF_UNIX: "the other side"}[domain]
		if domain == unix.AF_UNIX {
			st.err = 0 // the connection is what other tests break
		}
		return st, st.target != ""
	case unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_OPENAT, unix.SYS_MKNODAT, unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
		unix.SYS_OPEN_TREE, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_MOUNT_SETATTR:
		st.target = text(pid, arg(1))
		if !filepath.IsAbs(st.target) && int32(arg(0)) >= 0 {
			st.target = filepath.Join(descriptor(pid, arg(0)), st.target)
		}
	case unix.SYS_SYMLINKAT:
		st.target = text(pid, arg(2))
	case unix.SYS_MOUNT:
		st.target = text(pid, arg(1))
	case unix.SYS_UMOUNT2, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSOPEN, unix.SYS_MEMFD_CREATE:
		st.target = text(pid, arg(0))
	}
	st.target = strings.TrimPrefix(st.target, s.dir+"/")
	return st, !strings.HasPrefix(st.target, "/dev/null")
}

func descriptor(pid int, fd uint64) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(fd)))
	return target
}

// text reads a string of another process.
func text(pid int, address uint64) string {
	buf := make([]byte, 256)
	n, _ := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(buf)}}, 0)
	if n <= 0 {
		return "?"
	}
	before, _, _ := bytes.Cut(buf[:n], []byte{0})
	return string(before)
}

// domain is the family of another process's socket.
func domain(pid, fd int) int {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(p)
	copied, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(copied)
	family, _ := unix.GetsockoptInt(copied, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return family
}
