// Package hook runs the hooks of an OCI specification: each gets the
// container's state on its standard input, and a time in which to end.
package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime"
)

// Runner starts a hook's process.
type Runner interface {
	// Start starts path with its streams; the process is a child of the caller.
	Start(h specs.Hook, stdio [3]*os.File) (*runtime.Process, error)
}

// Run runs hooks one after the other. The first that fails ends it.
func Run(kind string, list []specs.Hook, r Runner, state specs.State) error {
	for i, h := range list {
		if err := One(h, r, state); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", kind, i, err)
		}
	}
	return nil
}

// maxOutput is how much of a hook's output an error carries.
const maxOutput = 4 << 10

// One runs one hook.
func One(h specs.Hook, r Runner, state specs.State) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	// Files, not pipes: nobody has to read or write while the hook runs, and one
	// that hands its output to a daemon does not hold us.
	in, err := memory("state", text)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := memory("output", nil)
	if err != nil {
		return err
	}
	defer out.Close()
	p, err := r.Start(h, [3]*os.File{in, out, out})
	if err != nil {
		return err
	}
	defer p.PidFD.Close()
	code, err := wait(p, h.Timeout)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	if err != nil {
		if said := firstWords(out); said != "" {
			return fmt.Errorf("%w, stdout and stderr: %s", err, said)
		}
		return err
	}
	return nil
}

func memory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("hook-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func firstWords(out *os.File) string {
	buf := make([]byte, maxOutput)
	n, _ := out.ReadAt(buf, 0) //nolint:errcheck // the end of the file is no failure
	return string(bytes.TrimSpace(buf[:n]))
}

// wait waits until the process ends, or ends it when its time is over.
func wait(p *runtime.Process, seconds *int) (code int, err error) {
	fd := int(p.PidFD.Fd())
	if seconds != nil {
		end := time.Now().Add(time.Duration(*seconds) * time.Second)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(end).Milliseconds())))
			if err == unix.EINTR {
				continue
			}
			if n == 0 || err != nil {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				_, _ = Reap(p)
				return 0, errors.Join(fmt.Errorf("hook ran past specified timeout of %ds", *seconds), err)
			}
			break
		}
	}
	return Reap(p)
}

// Reap waits for a child and gives its exit code; 128 and the signal's number
// where a signal ended it.
func Reap(p *runtime.Process) (int, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.Pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("wait4", err)
		}
		if ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return ws.ExitStatus(), nil
	}
}

// Here starts hooks in the runtime's own namespaces, in the bundle where that
// still is.
type Here struct{ Bundle string }

// Start implements Runner.
func (here Here) Start(h specs.Hook, stdio [3]*os.File) (*runtime.Process, error) {
	fd := -1
	cmd := exec.Cmd{Path: h.Path, Args: h.Args, Env: h.Env, Stdin: stdio[0], Stdout: stdio[1], Stderr: stdio[2],
		SysProcAttr: &syscall.SysProcAttr{PidFD: &fd}}
	if st, err := os.Stat(here.Bundle); err == nil && st.IsDir() {
		cmd.Dir = here.Bundle
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // the runtime's own environment is not the hook's
	}
	if len(cmd.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &runtime.Process{Pid: cmd.Process.Pid, PidFD: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Beside starts hooks in the namespaces of a container whose first process is
// in Launch.BeforePivot; paths are the host's.
type Beside struct{ Pid int }

// Start implements Runner.
func (b Beside) Start(h specs.Hook, stdio [3]*os.File) (*runtime.Process, error) {
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	return runtime.StartHook(&runtime.Hook{Target: b.Pid, Path: h.Path, Args: args, Env: h.Env, Stdio: stdio})
}

// Inside starts hooks in a container that waits to be started, as its own
// process would be: the same user, capabilities and filter.
type Inside struct{ Exec runtime.Exec }

// Start implements Runner.
func (in Inside) Start(h specs.Hook, stdio [3]*os.File) (*runtime.Process, error) {
	e, process := in.Exec, *in.Exec.Process
	process.Args, process.Env, process.Terminal = append([]string{h.Path}, tail(h.Args)...), h.Env, false
	// What runs in the container may not fill our memory by way of its streams.
	if _, err := unix.FcntlInt(stdio[0].Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_WRITE); err != nil {
		return nil, os.NewSyscallError("seal", err)
	}
	e.Process, e.Stdio = &process, [3]*os.File{stdio[0]}
	return runtime.StartExec(&e)
}

func tail(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	return args[1:]
}
