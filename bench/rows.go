package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// work is one row of the table.
type work struct {
	name string
	// share is by how much the number of runs is divided.
	share int
	// floor says that the kernel's floor for one container's life applies.
	floor bool
	// api says that the row goes through the HTTP API, which podman is not asked for.
	api bool
	// goal is what hoy's median divided by Docker's must not exceed; 0 is none.
	goal float64
	// first and last stand before and after all runs, prepare before each; none is timed.
	first, last, prepare func(context.Context, *engine) error
	timed                func(context.Context, *engine) error
}

// name of the container that a row works on.
const name = "bench"

var rows = []work{
	{name: "`run --rm busybox true`, bridge", share: 1, floor: true, goal: 0.25, timed: command("run", "--rm", "busybox", "true")},
	{name: "`run --rm busybox true`, none", share: 1, floor: true, goal: 0.25, timed: command("run", "--rm", "--network", "none", "busybox", "true")},
	{
		name: "`exec true`", share: 1,
		first: command("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "100000"),
		timed: command("exec", name, "true"),
		last:  command("rm", "-f", name),
	},
	{
		name: "`rm -f` of one that runs, bridge", share: 2,
		prepare: command("run", "-d", "--name", name, "busybox", "sleep", "100000"),
		timed:   command("rm", "-f", name),
	},
	{name: "API: create, start, wait, remove, bridge", share: 1, floor: true, api: true, timed: life("bridge")},
	{name: "API: create, start, wait, remove, none", share: 1, floor: true, api: true, timed: life("none")},
	{name: "API: 32 such lives at once, bridge", share: 10, api: true, timed: crowd(32, "bridge")},
	{name: "API: 32 such lives at once, none", share: 10, api: true, timed: crowd(32, "none")},
}

// once runs a row once and says how long the timed part took.
func (w work) once(ctx context.Context, e *engine) (time.Duration, error) {
	if w.prepare != nil {
		if err := w.prepare(ctx, e); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err := w.timed(ctx, e)
	return time.Since(start), err
}

// check compares the row with its goal.
func (w work) check(engines []*engine, times [][]time.Duration) error {
	for k, e := range engines {
		hoy, other := float64(median(times[0])), float64(median(times[k]))
		if w.goal > 0 && e.name == docker && hoy > w.goal*other {
			return fmt.Errorf("goal missed: %s takes hoy %.2f of Docker's time, it should be at most %.2f", w.name, hoy/other, w.goal)
		}
	}
	return nil
}

// command is the engine's command line with the arguments.
func command(args ...string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error { return e.run(ctx, args...) }
}

// life is a container from create to remove, through the API.
func life(network container.NetworkMode) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		made, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Config:     &container.Config{Image: "busybox", Cmd: []string{"true"}},
			HostConfig: &container.HostConfig{NetworkMode: network},
		})
		if err != nil {
			return err
		}
		wait := e.api.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		if _, err := e.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
			return err
		}
		select {
		case end := <-wait.Result:
			if end.StatusCode != 0 {
				return fmt.Errorf("true ended with %d", end.StatusCode)
			}
		case err := <-wait.Error:
			return err
		}
		_, err = e.api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{})
		return err
	}
}

// crowd is n lives at the same time.
func crowd(n int, network container.NetworkMode) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		ended := make(chan error, n)
		for range n {
			go func() { ended <- life(network)(ctx, e) }()
		}
		var all error
		for range n {
			all = errors.Join(all, <-ended)
		}
		return all
	}
}
