package oci

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/hook"
	"hoy/internal/oci/state"
	"hoy/internal/runtime"
	"hoy/internal/runtime/seccomp"
)

func newStart(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) {
		c, err := a.store.Lock(args[0], false)
		if err != nil {
			return 1, err
		}
		defer c.Close()
		switch status(c) {
		case created:
		case stopped:
			return 1, errors.New("cannot start a container that has stopped")
		default:
			return 1, errors.New("cannot start an already running container")
		}
		spec, err := loadSpec(c)
		if err != nil {
			return 1, err
		}
		return 0, a.start(c, spec)
	}
}

// start lets a created container become its command.
func (a *app) start(c *state.Container, spec *specs.Spec) error {
	if err := a.startHooks(c, spec); err != nil {
		return errors.Join(err, end(c))
	}
	if err := connect(c); err != nil {
		return fmt.Errorf("unable to start container process: %w", err)
	}
	c.Phase = state.Started
	if err := c.Save(); err != nil {
		return err
	}
	a.poststart(c, spec.Hooks)
	return nil
}

// startHooks runs those that belong in the container, before its command.
func (a *app) startHooks(c *state.Container, spec *specs.Spec) error {
	if spec.Hooks == nil || len(spec.Hooks.StartContainer) == 0 {
		return nil
	}
	e, err := a.inside(c, spec)
	if err != nil {
		return err
	}
	return hook.Run("startContainer", spec.Hooks.StartContainer, hook.Inside{Exec: *e}, hookState(c, specs.StateCreated))
}

// inside is what every further process in the container begins with.
func (a *app) inside(c *state.Container, spec *specs.Spec) (*runtime.Exec, error) {
	e := &runtime.Exec{ID: c.ID, Target: c.Pid, Namespaces: c.Namespaces, Process: spec.Process, ExactUser: true}
	if p, err := place(c); err == nil && p.Exists() {
		e.CgroupProcs = p.Procs()
	}
	var err error
	if spec.Linux.Seccomp != nil {
		e.Seccomp, err = seccomp.Compile(spec.Linux.Seccomp)
	}
	return e, err
}

// poststart runs hooks whose failure changes nothing.
func (a *app) poststart(c *state.Container, h *specs.Hooks) {
	if h == nil {
		return
	}
	for i, one := range h.Poststart {
		if err := hook.One(one, hook.Here{Bundle: c.Bundle}, hookState(c, specs.StateRunning)); err != nil {
			a.log.warn("error running poststart hook #%d: %v", i, err)
		}
	}
}

// connect starts the waiting process and reads whether it has become its command.
func connect(c *state.Container) error {
	return c.WithSocket(func(path string) error {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		return runtime.Started(conn, c.Faults)
	})
}

// waits says whether the process still listens for start. A socket of another
// kind is not let in, and is told whether somebody is there at all.
func waits(c *state.Container) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()
	err = c.WithSocket(func(path string) error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	return errors.Is(err, unix.EPROTOTYPE)
}

// end kills the container's processes.
func end(c *state.Container) error {
	if c.Alive() {
		if err := signal(c, unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if p, err := place(c); err == nil && p.Exists() {
		return p.Kill()
	}
	return nil
}
