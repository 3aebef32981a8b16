// Package box is what the kernel knows of a container that a record names: its
// state, its processes, its control group.
package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/state"
	"hoy/internal/runtime"
	"hoy/internal/runtime/cgroup"
)

// The states that people see.
const (
	Creating = "creating"
	Created  = "created"
	Running  = "running"
	Paused   = "paused"
	Stopped  = "stopped"
)

// Status is a container's state by its record and by what the kernel says.
func Status(c *state.Container) string {
	switch {
	case c.Phase == state.Creating && c.Held():
		return Creating
	case !c.Alive():
		return Stopped
	case frozen(c):
		return Paused
	case c.Phase == state.Created && Waits(c):
		return Created
	default:
		return Running
	}
}

// Place is the container's control group.
func Place(c *state.Container) (cgroup.Place, error) {
	return cgroup.ForPath(c.CgroupsPath, c.ID, c.Systemd)
}

func frozen(c *state.Container) bool {
	p, err := Place(c)
	if err != nil {
		return false
	}
	is, err := p.Frozen()
	return err == nil && is
}

// HookState is what hooks read.
func HookState(c *state.Container, status specs.ContainerState) specs.State {
	return specs.State{Version: specs.Version, ID: c.ID, Status: status, Pid: c.Pid, Bundle: c.Bundle, Annotations: c.Annotations}
}

// Spec decodes the specification that the container was made from.
func Spec(c *state.Container) (*specs.Spec, error) {
	data, err := c.Spec()
	if err != nil {
		return nil, err
	}
	s := new(specs.Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Dir(), err)
	}
	return s, nil
}

// Connect starts the waiting process and reads whether it has become its command.
func Connect(c *state.Container) error {
	return c.WithSocket(func(path string) error {
		conn, err := new(net.Dialer).DialContext(context.Background(), "unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		return runtime.Started(conn, c.Faults)
	})
}

// Waits says whether the process still listens for start. A socket of another
// kind is not let in, and is told whether somebody is there at all.
func Waits(c *state.Container) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()
	err = c.WithSocket(func(path string) error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	return errors.Is(err, unix.EPROTOTYPE)
}

// Signal sends sig to the first process. The error is os.ErrProcessDone where
// that has ended.
func Signal(c *state.Container, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Held by now, the number cannot change its meaning any more.
	if !c.Alive() {
		return os.ErrProcessDone
	}
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("signal", err)
}

// SignalAll sends sig to every process of the control group.
func SignalAll(c *state.Container, sig unix.Signal, evenStopped bool) error {
	p, err := Place(c)
	if err != nil || !p.Exists() {
		if err == nil && !evenStopped {
			err = errors.New("container not running")
		}
		return err
	}
	if sig == unix.SIGKILL {
		return p.Kill()
	}
	pids, err := p.Pids()
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("kill", err)
		}
	}
	return err
}

// End kills the container's processes.
func End(c *state.Container) error {
	if c.Alive() {
		if err := Signal(c, unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if p, err := Place(c); err == nil && p.Exists() {
		return p.Kill()
	}
	return nil
}

// Gone waits until the first process has ended after SIGKILL.
func Gone(c *state.Container) error {
	fd, err := unix.PidfdOpen(max(c.Pid, 1), 0)
	if err != nil || !c.Alive() {
		if err == nil {
			_ = unix.Close(fd)
		}
		return nil //nolint:nilerr // it has ended
	}
	defer func() { _ = unix.Close(fd) }()
	for end := time.Now().Add(10 * time.Second); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(end).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return errors.New("container init still running")
		default:
			return nil
		}
	}
}

// Subgroups are the process lists of the groups below the container's that
// wanted names ([CONTROLLER:]PATH), and of the container's own in hierarchies
// that it does not.
func Subgroups(c *state.Container, wanted []string) ([]string, error) {
	p, err := Place(c)
	if err != nil {
		return nil, err
	}
	below := map[string]string{}
	for _, w := range wanted {
		controllers, sub, ok := strings.Cut(w, ":")
		if !ok {
			controllers, sub = "", w
		}
		for _, one := range strings.Split(controllers, ",") {
			if _, known := p.Paths()[one]; one != "" && !known {
				return nil, fmt.Errorf("unknown controller %s in --cgroup %s", one, w)
			}
			below[one] = path.Clean("/" + sub)
		}
	}
	var files []string
	for controller, dir := range p.Paths() {
		sub, ok := below[controller]
		if !ok {
			sub = below[""]
		}
		file := dir + strings.TrimSuffix(sub, "/") + "/cgroup.procs"
		if _, err := os.Stat(file); err != nil {
			if ok || below[""] != "" {
				return nil, fmt.Errorf("--cgroup: %w", err)
			}
			continue
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files, nil
}
