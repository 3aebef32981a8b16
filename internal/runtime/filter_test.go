package runtime

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/seccomp"
)

// The kernel's struct seccomp_notif and struct seccomp_notif_resp of
// linux/seccomp.h, and the ioctls that read and write them.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

const (
	notifyRecv  = 0xc0502100
	notifySend  = 0xc0182101
	goOn        = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	agentCaller = unix.SYS_GETPPID
)

// agent listens as a program for user notifications does: it answers getppid
// with 4242 and lets all else go on. Each state that came is sent to the channel.
func agent(t *testing.T) (string, <-chan specs.ContainerProcessState) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	states := make(chan specs.ContainerProcessState, 10)
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			buf, oob := make([]byte, 1<<16), make([]byte, 256)
			n, m, _, _, err := conn.ReadMsgUnix(buf, oob)
			_ = conn.Close()
			if err != nil {
				continue
			}
			var s specs.ContainerProcessState
			msgs, _ := unix.ParseSocketControlMessage(oob[:m])
			if json.Unmarshal(buf[:n], &s) != nil || len(msgs) != 1 {
				continue
			}
			fds, _ := unix.ParseUnixRights(&msgs[0])
			states <- s
			go serveCalls(fds[0])
		}
	}()
	return path, states
}

func serveCalls(fd int) {
	defer func() { _ = unix.Close(fd) }()
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, 15000); err != nil && err != unix.EINTR || poll[0].Revents&unix.POLLIN == 0 {
			return
		}
		var n notification
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifyRecv, uintptr(unsafe.Pointer(&n))); e != 0 {
			if e == unix.EINTR || e == unix.ENOENT {
				continue
			}
			return
		}
		a := answer{id: n.id, flags: goOn}
		if n.nr == agentCaller {
			a = answer{id: n.id, val: 4242}
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifySend, uintptr(unsafe.Pointer(&a)))
	}
}

// TestListenerIsAskedAboutCalls has an agent asked about calls that the start
// itself needs, too: writing, sending, executing and closing.
func TestListenerIsAskedAboutCalls(t *testing.T) {
	path, states := agent(t)
	for _, nnp := range []bool{false, true} {
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "of mine", Syscalls: []specs.LinuxSyscall{
			{Names: []string{"getppid", "write", "writev", "sendmsg", "execve", "close", "prctl", "capset", "futex", "nanosleep"}, Action: specs.ActNotify},
		}}
		program, err := seccomp.Compile(profile)
		must(t, err)
		flags, err := seccomp.Flags(profile)
		must(t, err)
		filter := &Filter{Flags: flags, Listener: path, Metadata: "of mine", State: specs.State{ID: "asked", Bundle: "/b"}}
		began := time.Now()
		out := shell(t, busybox(t), "echo $PPID", func(l *Launch) {
			l.Seccomp, l.Filter = program, filter
			l.Spec.Process.NoNewPrivileges = nnp
		})
		s := <-states
		if strings.TrimSpace(out) != "4242" || s.Metadata != "of mine" || s.State.ID != "asked" || s.State.Status != specs.StateCreating ||
			s.Pid == 0 || s.State.Pid != s.Pid || len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName {
			t.Errorf("the shell's parent is %q, the state %+v", out, s)
		}
		t.Logf("%v", time.Since(began))
		p := running(t, docker("sleep", "1000"), busybox(t))
		out, code := execOutput(t, &Exec{Target: p.Pid, Namespaces: allNamespaces, Seccomp: program, Filter: filter, Process: docker("sh", "-c", "echo $PPID").Process})
		if s = <-states; code != 0 || strings.TrimSpace(out) != "4242" || s.State.Status != specs.StateRunning || s.State.Pid != p.Pid || s.Pid == p.Pid {
			t.Errorf("exec: exit %d, %q, %+v", code, out, s)
		}
	}
	spec := docker("true")
	program, err := seccomp.Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"getppid"}, Action: specs.ActNotify}}})
	must(t, err)
	_, err = Start(&Launch{Spec: spec, Rootfs: overlayOn(t, busybox(t)), Seccomp: program, Filter: &Filter{Listener: "/no/such/socket"}})
	if err == nil || !strings.Contains(err.Error(), "seccomp listener /no/such/socket: connect: no such file") {
		t.Errorf("nobody listens: %v", err)
	}
}
