// Package life is what happens to a container between its creation and its
// removal: start, stop, signals, pause, exits and restarts.
package life

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
	"hoy/internal/request"
)

const (
	defaultStopTimeout = 10 * time.Second
	// killTimeout is how long a killed process may take to be gone: only one
	// that hangs in the kernel needs it.
	killTimeout = 10 * time.Second
	// removalTime is the same for one that is removed by force: what hangs longer
	// is removed behind the caller's back.
	removalTime = 5 * time.Second
)

// Life runs containers.
type Life struct {
	*core.Core
	Starter *start.Starter
	// AutoRemove removes a container of --rm that has ended.
	AutoRemove func(e *index.Entry)
	// ExecExited takes the exits of processes other than containers' first ones.
	ExecExited func(monitor.Exit)
	// ContainerEnded is called when a container's process has gone, before waiters are told.
	ContainerEnded func(e *index.Entry)
}

// Start of api/containers.
func (l *Life) Start(ctx context.Context, ref string) error {
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	err = l.startByHand(ctx, e)
	failed := e.Record()
	done()
	if err != nil && failed.HostConfig.AutoRemove && !failed.State.Phase.Active() && failed.State.Error != "" {
		l.AutoRemove(e)
	}
	return err
}

// startByHand is called with the turn.
func (l *Life) startByHand(ctx context.Context, e *index.Entry) error {
	r := e.Record()
	switch r.State.Phase {
	case record.Running:
		return errdefs.ErrNotModified.WithMessage("container " + r.ID + " is already running")
	case record.Paused:
		return core.Conflict("cannot start a paused container, try unpause instead")
	case record.Removing, record.Dead:
		return core.Conflict("container is marked for removal and cannot be started")
	}
	e.EndBackoff()
	e.Backoff = 0
	if r.RestartCount != 0 {
		e.Publish(r.With(func(n *record.Record) { n.RestartCount = 0 }))
	}
	return l.Starter.Start(ctx, e)
}

// Wait of api/containers.
func (l *Life) Wait(ctx context.Context, ref string, cond container.WaitCondition) (<-chan container.WaitResponse, error) {
	switch cond {
	case "", container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, core.Invalid("Invalid condition: %q", cond)
	}
	e, err := l.Index.Find(ref)
	if err != nil {
		return nil, err
	}
	return e.Wait(ctx, cond), nil
}

// Stop of api/containers.
func (l *Life) Stop(ctx context.Context, ref string, opt request.Stop) error {
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	if !e.Record().State.Phase.Active() {
		return errdefs.ErrNotModified.WithMessage("container " + e.ID + " is already stopped")
	}
	return l.stop(context.WithoutCancel(ctx), e, opt)
}

// Restart of api/containers.
func (l *Life) Restart(ctx context.Context, ref string, opt request.Stop) error {
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if e.Record().State.Phase.Active() {
		e.Restart.Store(true)
		defer e.Restart.Store(false)
		if err := l.stop(ctx, e, opt); err != nil {
			return err
		}
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := l.startByHand(ctx, e); err != nil {
		return fmt.Errorf("Cannot restart container %s: %w", ref, err) //nolint:staticcheck // Docker's words, shown to people
	}
	l.Event(e.Record(), events.ActionRestart, nil)
	return nil
}

// stop asks the process to end, waits, and then makes it.
func (l *Life) stop(ctx context.Context, e *index.Entry, opt request.Stop) error {
	r := e.Record()
	sig, err := parseSignal(first(opt.Signal, r.Config.StopSignal), syscall.SIGTERM)
	if err != nil {
		return err
	}
	run, err := l.markStopped(ctx, e)
	if err != nil {
		return err
	}
	if run != nil {
		if err := l.signal(ctx, e, sig); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot stop container: %s: %w", r.ID, err)
		}
		if !ended(run, l.patience(r, opt.Timeout)) {
			l.Log.Info("container did not stop in time, it is killed", "container", r.ID, "signal", sig)
			if err := l.killAndWait(ctx, e, run); err != nil {
				return fmt.Errorf("cannot stop container: %s: %w", r.ID, err)
			}
		}
	}
	l.Event(e.Record(), events.ActionStop, nil)
	return nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// patience is how long to wait after the first signal; negative is for ever.
func (l *Life) patience(r *record.Record, asked *int) time.Duration {
	for _, t := range []*int{asked, r.Config.StopTimeout} {
		if t != nil {
			return time.Duration(*t) * time.Second
		}
	}
	if l.StopTimeout > 0 {
		return time.Duration(l.StopTimeout) * time.Second
	}
	return defaultStopTimeout
}

// ended waits for the end of a run; a negative limit is none.
func ended(run *index.Run, limit time.Duration) bool {
	if limit < 0 {
		<-run.Ended
		return true
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-run.Ended:
		return true
	case <-t.C:
		return false
	}
}

// markStopped notes that a person wants it stopped, which keeps restart
// policies away. A container that only waits for its restart ends here; then,
// and where it does not run, the run is nil.
func (l *Life) markStopped(ctx context.Context, e *index.Entry) (*index.Run, error) {
	done, err := e.Turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	r := e.Record()
	if r.State.Phase == record.Restarting {
		e.EndBackoff()
		next, err := r.Move(record.Exited, func(n *record.Record) { n.State.Stopped = true })
		if err != nil {
			return nil, err
		}
		l.Publish(e, next)
		e.Wake(index.Answer(next), false, false)
		return nil, nil
	}
	if !r.State.Phase.HasProcess() {
		return nil, nil
	}
	if !r.State.Stopped {
		l.Publish(e, r.With(func(n *record.Record) { n.State.Stopped = true }))
	}
	return e.Run(), nil
}

// signal sends sig to the first process; a paused container is let go on, so
// that it can act on it.
func (l *Life) signal(ctx context.Context, e *index.Entry, sig syscall.Signal) error {
	at := l.Now() // before the end that it causes
	err := l.Monitor.Signal(ctx, monitor.ProcessID{Container: e.ID}, sig)
	if err != nil {
		return err
	}
	l.EventAt(e.Record(), events.ActionKill, at, map[string]string{"signal": strconv.Itoa(int(sig))})
	return letAct(ctx, l, e)
}

// letAct thaws what is to act on a signal: a paused container, and one that
// someone else has frozen, of which no record tells.
func letAct(ctx context.Context, l *Life, e *index.Entry) error {
	if e.Record().State.Phase == record.Paused {
		if err := l.thaw(ctx, e); err != nil && !errdefs.IsConflict(err) {
			return err
		}
		return nil
	}
	run := e.Run()
	if run == nil {
		return nil
	}
	if frozen, err := run.Group.Frozen(); err != nil || !frozen {
		return nil //nolint:nilerr // a group that is gone has nobody to thaw
	}
	l.Log.Warn("a container that was frozen by someone else is thawed, to act on a signal", "container", e.ID)
	return run.Group.Thaw()
}

// killAndWait sends SIGKILL and waits for the end; what resists is killed
// through its cgroup.
func (l *Life) killAndWait(ctx context.Context, e *index.Entry, run *index.Run) error {
	if err := l.signal(ctx, e, syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if ended(run, killTimeout) {
		return nil
	}
	if err := run.Group.Kill(); err != nil {
		l.Log.Warn("kill through the cgroup failed", "container", e.ID, "error", err)
	}
	if ended(run, killTimeout) {
		return nil
	}
	return fmt.Errorf("tried to kill container, but did not receive an exit event: %w", context.DeadlineExceeded)
}

// Kill of api/containers.
func (l *Life) Kill(ctx context.Context, ref, name string) error {
	sig, err := parseSignal(name, syscall.SIGKILL)
	if err != nil {
		return err
	}
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	r := e.Record()
	if !r.State.Phase.Active() {
		return core.Conflict("cannot kill container: %s: container %s is not running", ref, r.ID)
	}
	stop, err := parseSignal(r.Config.StopSignal, syscall.SIGTERM)
	if err != nil {
		return err
	}
	if sig != syscall.SIGKILL && sig != stop && r.State.Phase != record.Restarting {
		if err := l.signal(ctx, e, sig); err != nil {
			return gone(ref, r.ID, err)
		}
		return nil
	}
	run, err := l.markStopped(ctx, e)
	if err != nil || run == nil {
		return err
	}
	if sig == syscall.SIGKILL {
		err = l.killAndWait(ctx, e, run)
	} else {
		err = l.signal(ctx, e, sig)
	}
	if err != nil {
		return gone(ref, r.ID, err)
	}
	return nil
}

func gone(ref, id string, err error) error {
	if errdefs.IsNotFound(err) {
		return core.Conflict("cannot kill container: %s: container %s is not running", ref, id)
	}
	return fmt.Errorf("cannot kill container: %s: %w", ref, err)
}

// KillForRemoval ends a container that is about to be removed by force. Where
// it does not end in time, for it hangs in the kernel, the run is returned.
func (l *Life) KillForRemoval(ctx context.Context, e *index.Entry) (lingers *index.Run, err error) {
	run, err := l.markStopped(ctx, e)
	if err != nil || run == nil {
		return nil, err
	}
	if err := l.signal(ctx, e, syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	if ended(run, removalTime) {
		return nil, nil
	}
	if err := run.Group.Kill(); err != nil {
		l.Log.Warn("kill through the cgroup failed", "container", e.ID, "error", err)
	}
	if ended(run, time.Second) {
		return nil, nil
	}
	return run, nil
}

func parseSignal(name string, def syscall.Signal) (syscall.Signal, error) {
	if name == "" {
		return def, nil
	}
	sig, err := signal.ParseSignal(name)
	if err != nil {
		return 0, core.Invalid("Invalid signal: %s", name)
	}
	return sig, nil
}
