package oci

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"

	"github.com/moby/sys/signal"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/box"
	"hoy/internal/oci/hook"
	"hoy/internal/oci/state"
)

func newKill(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var all bool
	both(f.BoolVar, &all, "all", "a", false, "signal all processes of the container")
	return func(args []string) (int, error) {
		name := "SIGTERM"
		if len(args) > 1 {
			name = args[1]
		}
		sig, err := signal.ParseSignal(name)
		if err != nil {
			return 1, fmt.Errorf("unknown signal %q", name)
		}
		c, err := a.store.Open(args[0])
		if err != nil {
			return 1, err
		}
		// Without a pid namespace processes may be left when the first has ended.
		if all || (sig == unix.SIGKILL && !slices.Contains(c.Namespaces, specs.PIDNamespace)) {
			return 0, box.SignalAll(c, sig, all)
		}
		err = box.Signal(c, sig)
		if errors.Is(err, os.ErrProcessDone) {
			err = errors.New("container not running")
		}
		return 0, err
	}
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
		switch s := box.Status(c); s {
		case box.Stopped, box.Created:
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
	if err := box.End(c); err != nil {
		return err
	}
	if err := box.Gone(c); err != nil {
		return err
	}
	if p, err := box.Place(c); err != nil {
		a.log.warn("control group: %v", err)
	} else if err := p.Remove(); err != nil {
		return err
	}
	if err := a.at("poststop"); err != nil {
		return err
	}
	if spec, err := box.Spec(c); err != nil {
		a.log.warn("poststop hooks: %v", err)
	} else {
		a.poststop(c, spec.Hooks)
	}
	return c.Remove()
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
		st := box.HookState(c, specs.StateStopped)
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
			if s != box.Running && s != box.Created {
				return errors.New("container not running or created: " + s)
			}
			return nil
		}, true)
	}
}

func newResume(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) {
		return 0, a.freeze(args[0], func(s string) error {
			if s != box.Paused {
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
	if err := check(box.Status(c)); err != nil {
		return err
	}
	p, err := box.Place(c)
	if err != nil {
		return err
	}
	if freeze {
		return p.Freeze()
	}
	return p.Thaw()
}
