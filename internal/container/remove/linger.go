package remove

import (
	"context"
	"time"

	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/request"
)

// The pauses between two attempts to end what lingers. The signal that it was
// sent stays with it; the attempts are for what it left behind meanwhile.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
)

// detach removes a container whose process does not end, for it hangs in the
// kernel: what others may want, its name, address and ports, comes free now, and
// all else goes when the process has ended. Until then it is shown as removing.
func (x *Remover) detach(ctx context.Context, e *index.Entry, run *index.Run, opt request.Remove) error {
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	r := e.Record()
	if e.Run() != run || !r.State.Phase.HasProcess() {
		done() // it has ended since
		opt.Force = false
		return x.remove(ctx, e, opt)
	}
	defer done()
	next, err := r.Move(record.Removing, func(n *record.Record) {
		n.RemoveVolumes = opt.Volumes || r.HostConfig.AutoRemove
		n.Net = record.Net{}
	})
	if err != nil {
		return err
	}
	x.Log.Warn("a container is removed whose process does not end; what it holds goes when it does",
		"container", r.ID, "process", r.State.Pid)
	x.Publish(e, next)
	if len(r.Net.Networks) > 0 {
		req := start.NetRequest(x.Settings, r, x.Ledger.Dir(r.ID), 0)
		req.Dir = ""
		if err := x.Networks.Unplug(ctx, req); err != nil {
			x.Log.Error("network of a container that lingers not freed", "container", r.ID, "error", err)
		}
	}
	x.Index.Free(r.Name, r.ID)
	x.Await(e, run)
	return nil
}

// Await completes, in the background, the removal of a container that is
// recorded as removing and whose process has not ended yet.
func (x *Remover) Await(e *index.Entry, run *index.Run) {
	go func() {
		retry := firstRetry
		timer := time.NewTimer(retry)
		defer timer.Stop()
		for ended := false; !ended; {
			select {
			case <-run.Ended:
				ended = true
			case <-x.closed:
				return
			case <-timer.C:
				_ = run.Group.Kill() // that it still hangs is known
				retry = min(2*retry, maxRetry)
				timer.Reset(retry)
			}
		}
		ctx := context.Background()
		done, err := e.Turn(ctx)
		if err != nil {
			return
		}
		defer done()
		if err := x.complete(ctx, e, e.Record()); err != nil {
			x.Log.Error("a container that lingered is not removed", "container", e.ID, "error", err)
		}
	}()
}
