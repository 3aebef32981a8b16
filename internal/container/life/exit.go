package life

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
)

// The pauses of restart policies: the first, the longest, and how long a
// container must have run for the next to be the first again.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = time.Minute
	settled      = 10 * time.Second
)

// startTries is how often a restart is tried again that ended with its monitor.
const startTries = 3

// detachLimit bounds the release of what an ended container held.
const detachLimit = 30 * time.Second

// Watch records exits as the monitor reports them, until its channel is closed or ctx ends.
func (l *Life) Watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case x, ok := <-l.Monitor.Exits():
			if !ok {
				return
			}
			if x.ID.Exec != "" {
				go l.ExecExited(x)
			} else {
				go l.Exited(ctx, x)
			}
		}
	}
}

// Exited records the end of a container's first process and does what follows
// from it. An exit that is known already is only forgotten.
func (l *Life) Exited(ctx context.Context, x monitor.Exit) {
	e, ok := l.Index.Get(x.ID.Container)
	if !ok {
		l.forget(ctx, x.ID)
		return
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return // the daemon ends; the next one finds the exit with the monitor
	}
	again := l.end(ctx, e, x)
	l.forget(ctx, x.ID)
	r := e.Record()
	remove := r.State.Phase == record.Exited && r.HostConfig.AutoRemove && !e.Restart.Load()
	done()
	switch {
	case again:
		l.restartLater(ctx, e)
	case remove:
		l.AutoRemove(e)
	}
}

func (l *Life) forget(ctx context.Context, id monitor.ProcessID) {
	if err := l.Monitor.Forget(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		l.Log.Warn("monitor keeps an exit that is recorded", "container", id.Container, "error", err)
	}
}

// end is called with the turn. It says whether the restart policy wants the container again.
func (l *Life) end(ctx context.Context, e *index.Entry, x monitor.Exit) (again bool) {
	r := e.Record()
	if r.State.Phase == record.Removing {
		endRemoved(l, e, x)
	}
	if !r.State.Phase.HasProcess() {
		return false
	}
	run := e.Run()
	oom := false
	if run != nil {
		n, err := run.Group.OOMKills()
		oom = err == nil && n > 0
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachLimit)
	defer cancel()
	if err := l.Networks.Detach(ctx, r.ID); err != nil {
		l.Log.Error("network of an ended container not freed", "container", r.ID, "error", err)
	}
	start.ReleaseShm(l.Ledger.Dir(r.ID))
	again = !e.Restart.Load() && wantsRestart(r, x.Code)
	to := record.Exited
	if again {
		to = record.Restarting
	}
	lasted := x.At.Sub(r.State.StartedAt)
	next, err := r.Move(to, func(n *record.Record) {
		n.State.ExitCode, n.State.FinishedAt, n.State.OOMKilled = x.Code, x.At.UTC(), oom
		n.State.Error = x.Unknown
		n.Net = record.Net{}
		if again {
			n.RestartCount++
		}
	})
	if err != nil {
		l.Log.Error("exit not recorded", "container", r.ID, "error", err)
		return false
	}
	e.Backoff = nextBackoff(e.Backoff, lasted)
	if x.Dropped > 0 {
		l.Log.Warn("a container's log could not keep all of its output", "container", r.ID, "records dropped", x.Dropped)
		l.LogDropped.Add(x.Dropped)
	}
	if l.ContainerEnded != nil {
		l.ContainerEnded(e)
	}
	l.Publish(e, next)
	if oom {
		l.EventAt(next, events.ActionOOM, x.At, nil)
	}
	l.VolumesUnmounted(next)
	l.Died(next)
	e.SetRun(nil)
	e.Wake(index.Answer(next), again, false)
	if run != nil {
		l.removeGroup(e.ID, run)
	}
	return again
}

// endRemoved is the late end of a process whose container was removed before;
// the remover waits for it.
func endRemoved(l *Life, e *index.Entry, x monitor.Exit) {
	run := e.Run()
	if run == nil {
		return
	}
	start.ReleaseShm(l.Ledger.Dir(e.ID))
	if l.ContainerEnded != nil {
		l.ContainerEnded(e)
	}
	next := e.Record().With(func(n *record.Record) { n.State.ExitCode, n.State.FinishedAt = x.Code, x.At.UTC() })
	l.Publish(e, next)
	l.Died(next)
	l.removeGroup(e.ID, run)
	e.SetRun(nil)
}

// removeGroup ends what is left in the cgroup: processes that came from an
// exec, or all of them where the container shares another's process ids.
func (l *Life) removeGroup(id string, run *index.Run) {
	if pids, err := run.Group.Pids(); err == nil && len(pids) > 0 {
		if err := run.Group.Kill(); err != nil {
			l.Log.Warn("processes left in a cgroup not killed", "container", id, "error", err)
		}
	}
	if err := run.Group.Remove(); err != nil {
		l.Log.Warn("cgroup of an ended container not removed", "container", id, "error", err)
	}
}

// wantsRestart is the restart policy.
func wantsRestart(r *record.Record, code int) bool {
	if r.State.Stopped {
		return false
	}
	p := r.HostConfig.RestartPolicy
	switch p.Name {
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		return true
	case container.RestartPolicyOnFailure:
		return code != 0 && (p.MaximumRetryCount == 0 || r.RestartCount < p.MaximumRetryCount)
	}
	return false
}

// nextBackoff doubles the pause, from the first up to the longest; a container
// that had settled begins anew.
func nextBackoff(last, lasted time.Duration) time.Duration {
	if last == 0 || lasted >= settled {
		return firstBackoff
	}
	return min(2*last, maxBackoff)
}

// restartLater starts the container after its pause unless someone decides otherwise.
func (l *Life) restartLater(ctx context.Context, e *index.Entry) {
	wait, cancel := context.WithCancel(ctx)
	e.SetBackoff(cancel)
	r := e.Record()
	if r.State.Phase != record.Restarting {
		cancel()
		return
	}
	pause := e.Backoff
	go func() {
		defer cancel()
		t := time.NewTimer(pause)
		defer t.Stop()
		select {
		case <-t.C:
		case <-wait.Done():
			return
		}
		done, err := e.Turn(wait)
		if err != nil {
			return
		}
		defer done()
		if e.Record() != r || wait.Err() != nil {
			return
		}
		err = l.Starter.Start(wait, e)
		// A monitor that went away has left nothing of the start.
		for n := 0; n < startTries && errdefs.IsUnavailable(err) && wait.Err() == nil; n++ {
			err = l.Starter.Start(wait, e)
		}
		if err != nil {
			l.Log.Error("restart policy could not start a container", "container", e.ID, "error", err)
		}
	}()
}

// Resume lets the restart policy of a container that waits for it go on; used after the daemon's start.
func (l *Life) Resume(ctx context.Context, e *index.Entry) { l.restartLater(ctx, e) }

// End records an exit found after the daemon's start. The caller has no turn.
func (l *Life) End(ctx context.Context, x monitor.Exit) { l.Exited(ctx, x) }
