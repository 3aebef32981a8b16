package life

import (
	"context"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/monitor"
)

// Pause of api/containers.
func (l *Life) Pause(ctx context.Context, ref string) error {
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	return freeze(ctx, l, e, false)
}

// freeze pauses for a person or, held, for the time of something that the engine does.
func freeze(ctx context.Context, l *Life, e *index.Entry, held bool) error {
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := e.Record()
	switch r.State.Phase {
	case record.Running:
	case record.Paused:
		return core.Conflict("container %s is already paused", r.ID)
	case record.Restarting:
		return core.Conflict("Container %s is restarting, wait until the container is running", r.ID)
	default:
		return core.Conflict("container %s is not running", r.ID)
	}
	if err := e.Run().Group.Freeze(); err != nil {
		return fmt.Errorf("cannot pause container %s: %w", r.ID, err)
	}
	next, err := r.Move(record.Paused, func(n *record.Record) { n.State.Held = held })
	if err != nil {
		return err
	}
	l.Publish(e, next)
	l.Event(next, events.ActionPause, nil)
	return nil
}

// Unpause of api/containers.
func (l *Life) Unpause(ctx context.Context, ref string) error {
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	return l.thaw(ctx, e)
}

func (l *Life) thaw(ctx context.Context, e *index.Entry) error {
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := e.Record()
	if r.State.Phase != record.Paused {
		return core.Conflict("Container %s is not paused", r.ID)
	}
	if err := e.Run().Group.Thaw(); err != nil {
		return fmt.Errorf("cannot unpause container %s: %w", r.ID, err)
	}
	next, err := r.Move(record.Running, nil)
	if err != nil {
		return err
	}
	l.Publish(e, next)
	l.Event(next, events.ActionUnPause, nil)
	return nil
}

// Resize of api/containers.
func (l *Life) Resize(ctx context.Context, ref string, height, width uint32) error {
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	r := e.Record()
	if !r.State.Phase.HasProcess() {
		return core.Conflict("container %s is not running", r.ID)
	}
	if err := l.Monitor.Resize(ctx, monitor.ProcessID{Container: r.ID}, height, width); err != nil {
		return err
	}
	l.Event(r, events.ActionResize, map[string]string{
		"height": strconv.FormatUint(uint64(height), 10), "width": strconv.FormatUint(uint64(width), 10),
	})
	return nil
}

// WhilePaused freezes a running container for the time of do.
func (l *Life) WhilePaused(ctx context.Context, e *index.Entry, do func() error) error {
	if e.Record().State.Phase != record.Running {
		return do()
	}
	if err := freeze(ctx, l, e, true); err != nil {
		return err
	}
	err := do()
	thawErr := l.thaw(context.WithoutCancel(ctx), e)
	if err != nil || errdefs.IsConflict(thawErr) {
		return err // it was ended or let go on meanwhile, which is no failure of what was done
	}
	return thawErr
}
