package runtime

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
)

// Filter says how a compiled system call filter is loaded.
type Filter struct {
	// Flags are SECCOMP_FILTER_FLAG_… bits.
	Flags uint32 `json:"flags"`
	// Listener, where not empty, is the path of a unix socket: whoever listens
	// there gets the descriptor by which the calls with action SCMP_ACT_NOTIFY are
	// asked about, with a specs.ContainerProcessState.
	Listener string `json:"listener,omitempty"`
	// Metadata goes there with it, and State, to which the start adds what it knows.
	Metadata string      `json:"metadata,omitempty"`
	State    specs.State `json:"state"`
}

func (f *Filter) listens() bool { return f != nil && f.Listener != "" }

func (f *Filter) fill(in *compile.Input) {
	in.FilterFlags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	if f != nil {
		in.FilterFlags, in.Listener = f.Flags, f.Listener != ""
	}
}

// send gives what passes a listener on; first is the container's first process,
// 0 where the process is it.
func (f *Filter) send(status specs.ContainerState, first int) func(pid, fd int) error {
	if !f.listens() {
		return nil
	}
	return func(pid, fd int) error {
		defer func() { _ = unix.Close(fd) }()
		state := specs.ContainerProcessState{Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: f.Metadata, State: f.State}
		state.State.Version, state.State.Status, state.State.Pid = specs.Version, status, first
		if first == 0 {
			state.State.Pid = pid
		}
		if err := sendState(f.Listener, &state, fd); err != nil {
			return fmt.Errorf("seccomp listener %s: %w", f.Listener, err)
		}
		return nil
	}
}

func sendState(path string, state *specs.ContainerProcessState, fd int) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(conn) }()
	// Whoever listens must not hold up the start for good.
	limit := unix.Timeval{Sec: 10}
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if err := unix.Connect(conn, &unix.SockaddrUnix{Name: path}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	n, err := unix.SendmsgN(conn, text, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	if err == nil && n < len(text) {
		err = unix.EMSGSIZE
	}
	return os.NewSyscallError("sendmsg", err)
}
