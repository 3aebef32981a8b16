package oci

import (
	"errors"
	"flag"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/oci/box"
	"hoy/internal/oci/filter"
	"hoy/internal/oci/hook"
	"hoy/internal/oci/state"
	"hoy/internal/runtime"
	"hoy/internal/runtime/landlock"
)

func newStart(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) {
		c, err := a.store.Lock(args[0], false)
		if err != nil {
			return 1, err
		}
		defer c.Close()
		switch box.Status(c) {
		case box.Created:
		case box.Stopped:
			return 1, errors.New("cannot start a container that has stopped")
		default:
			return 1, errors.New("cannot start an already running container")
		}
		spec, err := box.Spec(c)
		if err != nil {
			return 1, err
		}
		return 0, a.start(c, spec)
	}
}

// start lets a created container become its command.
func (a *app) start(c *state.Container, spec *specs.Spec) error {
	if err := a.startHooks(c, spec); err != nil {
		return errors.Join(err, box.End(c))
	}
	if err := box.Connect(c); err != nil {
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
	return hook.Run("startContainer", spec.Hooks.StartContainer, hook.Inside{Exec: *e}, box.HookState(c, specs.StateCreated))
}

// inside is what every further process in the container begins with.
func (a *app) inside(c *state.Container, spec *specs.Spec) (*runtime.Exec, error) {
	e := &runtime.Exec{ID: c.ID, Target: c.Pid, Namespaces: c.Namespaces, Process: spec.Process, ExactUser: true, Landlock: landlock.Annotated(c.Annotations)}
	if p, err := box.Place(c); err == nil && p.Exists() {
		e.CgroupProcs = p.Procs()
	}
	var err error
	e.Seccomp, e.Filter, err = filter.Compile(spec, c.ID, c.Bundle)
	return e, err
}

// poststart runs hooks whose failure changes nothing.
func (a *app) poststart(c *state.Container, h *specs.Hooks) {
	if h == nil {
		return
	}
	for i, one := range h.Poststart {
		if err := hook.One(one, hook.Here{Bundle: c.Bundle}, box.HookState(c, specs.StateRunning)); err != nil {
			a.log.warn("error running poststart hook #%d: %v", i, err)
		}
	}
}
