package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime"
)

// plainStarter runs the command on the host, as internal/runtime would run it
// in a container.
type plainStarter struct{}

func (plainStarter) Start(l *runtime.Launch) (*runtime.Process, error) {
	return spawnPlain(l.Spec.Process.Args, l.Spec.Process.Terminal, l.Stdio)
}

func (plainStarter) StartExec(e *runtime.Exec) (*runtime.Process, error) {
	return spawnPlain(e.Process.Args, e.Process.Terminal, e.Stdio)
}

func spawnPlain(args []string, terminal bool, stdio [3]*os.File) (*runtime.Process, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("stat %s: %w", args[0], syscall.ENOENT)
		}
		return nil, &runtime.StartError{Step: fmt.Sprintf("exec %q", args[0]), Err: err, Exec: true}
	}
	attr := &syscall.SysProcAttr{Setsid: true}
	var console, slave *os.File
	if terminal {
		if console, slave, err = pty.Open(); err != nil {
			return nil, err
		}
		defer slave.Close()
		stdio = [3]*os.File{slave, slave, slave}
		attr.Setctty = true
	}
	var fds []uintptr
	for _, f := range stdio {
		raw, _ := f.SyscallConn()
		_ = raw.Control(func(fd uintptr) {
			if terminal {
				_ = unix.SetNonblock(int(fd), false) // the program expects to wait for its input
			}
			fds = append(fds, fd)
		})
	}
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: os.Environ(), Files: fds, Sys: attr})
	if err != nil {
		return nil, &runtime.StartError{Step: fmt.Sprintf("exec %q", args[0]), Err: err, Exec: true}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	return &runtime.Process{Pid: pid, PidFD: os.NewFile(uintptr(fd), "pidfd"), Console: console}, nil
}
