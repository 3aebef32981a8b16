package oci

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/hook"
	"hoy/internal/oci/state"
)

// signalNumber reads a signal by number or by name, with SIG or without.
func signalNumber(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	for base, at := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		rest, ok := strings.CutPrefix(name, base)
		if !ok {
			continue
		}
		off, err := strconv.Atoi(strings.TrimPrefix(rest, "+"))
		if rest == "" {
			off, err = 0, nil
		}
		if n := at + off; err == nil && n >= 34 && n <= 64 {
			return unix.Signal(n), nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

// signal sends sig to the first process. The error is os.ErrProcessDone where
// that has ended.
func signal(c *state.Container, sig unix.Signal) error {
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

func newKill(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var all bool
	both(f.BoolVar, &all, "all", "a", false, "signal all processes of the container")
	return func(args []string) (int, error) {
		name := "SIGTERM"
		if len(args) > 1 {
			name = args[1]
		}
		sig, err := signalNumber(name)
		if err != nil {
			return 1, err
		}
		c, err := a.store.Open(args[0])
		if err != nil {
			return 1, err
		}
		// Without a pid namespace processes may be left when the first has ended.
		if all || (sig == unix.SIGKILL && !slices.Contains(c.Namespaces, specs.PIDNamespace)) {
			return 0, signalAll(c, sig, all)
		}
		err = signal(c, sig)
		if errors.Is(err, os.ErrProcessDone) {
			err = errors.New("container not running")
		}
		return 0, err
	}
}

// signalAll sends sig to every process of the control group.
func signalAll(c *state.Container, sig unix.Signal, evenStopped bool) error {
	p, err := place(c)
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

func newDelete(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var force bool
	both(f.BoolVar, &force, "force", "f", false, "kill the container first where it still runs")
	return func(args []string) (int, error) {
		c, err := a.store.Lock(args[0], force)
		switch {
		case force && errors.Is(err, state.ErrNotExist):
			return 0, nil
		case c != nil && errors.Is(err, state.ErrTorn):
			// What the record named is not known any more but by its id.
			a.log.warn("%v: the directory is removed, and nothing else", err)
			defer c.Close()
			return 0, c.Remove()
		case err != nil:
			return 1, err
		}
		defer c.Close()
		switch s := status(c); s {
		case stopped, created:
		default:
			if !force {
				return 1, fmt.Errorf("cannot delete container %s that is not stopped: %s", c.ID, s)
			}
		}
		return 0, a.delete(c)
	}
}

// delete ends what is left of a container and forgets it. A second one, after
// one that was cut off, goes on where that was.
func (a *app) delete(c *state.Container) error {
	if err := end(c); err != nil {
		return err
	}
	if err := gone(c); err != nil {
		return err
	}
	if p, err := place(c); err != nil {
		a.log.warn("control group: %v", err)
	} else if err := p.Remove(); err != nil {
		return err
	}
	if err := a.at("poststop"); err != nil {
		return err
	}
	if spec, err := loadSpec(c); err != nil {
		a.log.warn("poststop hooks: %v", err)
	} else {
		a.poststop(c, spec.Hooks)
	}
	return c.Remove()
}

// gone waits until the first process has ended after SIGKILL.
func gone(c *state.Container) error {
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

// poststop runs the hooks of the end, each once however often delete is called.
// Their failure changes nothing.
func (a *app) poststop(c *state.Container, h *specs.Hooks) {
	if h == nil || len(h.Poststop) <= c.Poststop {
		return
	}
	for i, one := range h.Poststop {
		if i < c.Poststop {
			continue
		}
		st := hookState(c, specs.StateStopped)
		st.Pid = 0
		if err := hook.One(one, hook.Here{Bundle: c.Bundle}, st); err != nil {
			a.log.warn("error running poststop hook #%d: %v", i, err)
		}
		c.Poststop = i + 1
		if c.Dir() != "" {
			if err := c.Save(); err != nil {
				a.log.warn("%v", err)
			}
		}
	}
}

func newPause(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) {
		return 0, a.freeze(args[0], func(s string) error {
			if s != running && s != created {
				return errors.New("container not running or created: " + s)
			}
			return nil
		}, true)
	}
}

func newResume(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) {
		return 0, a.freeze(args[0], func(s string) error {
			if s != paused {
				return errors.New("container not paused")
			}
			return nil
		}, false)
	}
}

func (a *app) freeze(id string, check func(status string) error, freeze bool) error {
	c, err := a.store.Lock(id, false)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := check(status(c)); err != nil {
		return err
	}
	p, err := place(c)
	if err != nil {
		return err
	}
	if freeze {
		return p.Freeze()
	}
	return p.Thaw()
}
