// Package remove takes containers away. The name is free and the container out
// of sight at once; its files go in the background, and a removal that was
// interrupted is finished at the next start.
package remove

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
	"hoy/internal/request"
)

const (
	// side by side, so that a burst of removals does not crowd out starts.
	workers = 2
	// attempts and pause of what does not go at once.
	attempts = 4
	pause    = 250 * time.Millisecond
	limit    = time.Minute
)

// Remover removes containers. Make it with New.
type Remover struct {
	*core.Core
	// kill ends a running container; one that does not end, for it hangs in the
	// kernel, is returned.
	kill func(ctx context.Context, e *index.Entry) (lingers *index.Run, err error)
	// Ended drops what is known of the container's execs.
	Ended func(e *index.Entry)

	slots chan struct{}
	work  sync.WaitGroup
	// closed ends the wait for what lingers.
	closed chan struct{}
	once   sync.Once
}

// New returns a Remover.
func New(c *core.Core, kill func(context.Context, *index.Entry) (*index.Run, error)) *Remover {
	return &Remover{Core: c, kill: kill, slots: make(chan struct{}, workers), closed: make(chan struct{})}
}

// Drain waits until the background work is done, but not for what lingers: that
// is found again at the next start.
func (x *Remover) Drain() {
	x.once.Do(func() { close(x.closed) })
	x.work.Wait()
}

// Remove of api/containers.
func (x *Remover) Remove(ctx context.Context, ref string, opt request.Remove) error {
	if opt.Link {
		return errdefs.ErrNotImplemented.WithMessage("links are not supported by this engine")
	}
	e, err := x.Index.Find(ref)
	if err != nil {
		return err
	}
	return x.remove(context.WithoutCancel(ctx), e, opt)
}

// Auto removes a container of --rm after its end; it does nothing where it was started again.
func (x *Remover) Auto(e *index.Entry) {
	err := x.remove(context.Background(), e, request.Remove{Volumes: true})
	if err != nil && !errdefs.IsConflict(err) {
		x.Log.Error("container not removed after its end", "container", e.ID, "error", err)
	}
}

func (x *Remover) remove(ctx context.Context, e *index.Entry, opt request.Remove) error {
	if opt.Force {
		lingers, err := x.kill(ctx, e)
		if err != nil {
			return fmt.Errorf("cannot remove container %q: could not kill container: %w", e.Record().Ref(), err)
		}
		if lingers != nil {
			return x.detach(ctx, e, lingers, opt)
		}
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := e.Record()
	if err := refusal(r); err != nil {
		return err
	}
	volumes := opt.Volumes || r.HostConfig.AutoRemove
	next, err := r.Move(record.Removing, func(n *record.Record) { n.RemoveVolumes = volumes })
	if err != nil {
		return err
	}
	e.EndBackoff()
	x.Publish(e, next)
	return x.complete(ctx, e, next)
}

// complete takes away what is being removed. The caller has the turn.
func (x *Remover) complete(ctx context.Context, e *index.Entry, r *record.Record) error {
	if err := x.release(ctx, r, r.RemoveVolumes); err != nil {
		if dead, moveErr := r.Move(record.Dead, func(n *record.Record) { n.State.Error = err.Error() }); moveErr == nil {
			x.Publish(e, dead)
		}
		return fmt.Errorf("cannot remove container %q: %w", r.Ref(), err)
	}
	x.Index.Drop(r.ID)
	if x.Ended != nil {
		x.Ended(e)
	}
	x.Event(r, events.ActionDestroy, nil)
	x.work.Go(func() { x.sweep(r) })
	e.Wake(index.Answer(r), false, true)
	return nil
}

// refusal says, in Docker's words, why a container cannot be removed now.
func refusal(r *record.Record) error {
	switch r.State.Phase {
	case record.Running:
		return core.Conflict("cannot remove container %q: container is running: stop the container before removing or force remove", r.Ref())
	case record.Paused:
		return core.Conflict("cannot remove container %q: container is paused and must be unpaused first", r.Ref())
	case record.Restarting:
		return core.Conflict("cannot remove container %q: container is restarting: stop the container before removing or force remove", r.Ref())
	case record.Removing:
		return core.Conflict("removal of container %s is already in progress", r.ID)
	}
	return nil
}

// release gives back what others may want at once: address, ports, volumes.
func (x *Remover) release(ctx context.Context, r *record.Record, volumes bool) error {
	if err := x.Networks.Detach(ctx, r.ID); err != nil {
		return err
	}
	start.ReleaseShm(x.Ledger.Dir(r.ID))
	x.Blocks.Release(r.ID)
	// Streams that were made for an attachment before a start that never came.
	if err := x.Monitor.Forget(ctx, monitor.ProcessID{Container: r.ID}); err != nil && !errdefs.IsNotFound(err) {
		x.Log.Warn("monitor keeps streams of a removed container", "container", r.ID, "error", err)
	}
	for _, m := range r.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		if err := x.Volumes.Release(ctx, m.Name, r.ID); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if !volumes || !m.Anonymous {
			continue
		}
		// One that another container took over by --volumes-from stays.
		err := x.Volumes.Remove(ctx, m.Name, false)
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			x.Log.Warn("anonymous volume not removed", "container", r.ID, "volume", m.Name, "error", err)
		}
	}
	return nil
}

// sweep deletes the container's files. The record goes last, so that an
// interrupted sweep is found again.
func (x *Remover) sweep(r *record.Record) {
	x.slots <- struct{}{}
	defer func() { <-x.slots }()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := x.erase(ctx, r.ID)
	for i := 1; i < attempts && err != nil && ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
		case <-time.After(pause << (i - 1)):
			err = x.erase(ctx, r.ID)
		}
	}
	if err == nil {
		return
	}
	x.Log.Error("files of a removed container are left; they are swept at the next start", "container", r.ID, "error", err)
}

func (x *Remover) erase(ctx context.Context, id string) error {
	if err := x.Images.RemoveSnapshot(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return x.Ledger.Delete(id)
}

// Finish completes a removal that a former daemon began. The container is not in the index.
func (x *Remover) Finish(ctx context.Context, r *record.Record) error {
	return errors.Join(x.release(ctx, r, r.RemoveVolumes || r.HostConfig.AutoRemove), x.erase(ctx, r.ID))
}
