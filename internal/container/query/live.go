package query

import (
	"context"
	"iter"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/log"
	"hoy/internal/request"
)

// Top of api/containers.
func (q *Query) Top(ctx context.Context, ref, psArgs string) (container.TopResponse, error) {
	var none container.TopResponse
	e, err := q.Index.Find(ref)
	if err != nil {
		return none, err
	}
	r, run := e.Record(), e.Run()
	if r.State.Phase == record.Restarting {
		return none, core.Conflict("Container %s is restarting, wait until the container is running", r.ID)
	}
	if !r.State.Phase.HasProcess() || run == nil {
		return none, core.Conflict("container %s is not running", r.ID)
	}
	pids, err := run.Group.Pids()
	if err != nil {
		return none, err
	}
	q.Event(r, events.ActionTop, nil)
	return q.Core.Top(ctx, pids, psArgs)
}

// samplePeriod is the pace of a stream of samples.
const samplePeriod = time.Second

// Stats of api/containers.
func (q *Query) Stats(ctx context.Context, ref string, opt request.Stats, emit func(*container.StatsResponse) error) error {
	e, err := q.Index.Find(ref)
	if err != nil {
		return err
	}
	prev, err := q.sample(e)
	if err != nil {
		return err
	}
	if !opt.Stream && (opt.OneShot || e.Run() == nil) {
		return emit(prev)
	}
	if opt.Stream && e.Run() == nil {
		if err := emit(prev); err != nil {
			return err
		}
	}
	t := time.NewTicker(samplePeriod)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if _, ok := q.Index.Get(e.ID); !ok {
			return nil
		}
		cur, err := q.sample(e)
		if err != nil {
			return err
		}
		cur.PreCPUStats, cur.PreRead = prev.CPUStats, prev.Read
		if err := emit(cur); err != nil || !opt.Stream {
			return err
		}
		prev = cur
	}
}

// sample reads the counters; a container that does not run has none.
func (q *Query) sample(e *index.Entry) (*container.StatsResponse, error) {
	r := e.Record()
	s := &container.StatsResponse{}
	if run := e.Run(); run != nil && r.State.Phase.HasProcess() {
		got, err := run.Group.Sample(r.State.Pid)
		switch {
		case err == nil:
			s = got
			if s.Read.IsZero() {
				s.Read = q.Now().UTC()
			}
		case e.Run() == run:
			return nil, err
		default: // it ended while it was read
		}
	}
	s.ID, s.Name = r.ID, r.Ref()
	return s, nil
}

// Logs of api/containers.
func (q *Query) Logs(ctx context.Context, ref string, opt request.Logs) (bool, iter.Seq2[log.Entry, error], error) {
	e, err := q.Index.Find(ref)
	if err != nil {
		return false, nil, err
	}
	r := e.Record()
	if !opt.Stdout && !opt.Stderr {
		return false, nil, core.Invalid("Bad parameters: you must choose at least one stream")
	}
	if r.Log.Driver == "none" {
		return false, nil, core.Invalid("configured logging driver does not support reading")
	}
	ended := closed
	if run := e.Run(); run != nil {
		ended = run.Ended
	}
	return r.Config.Tty, q.Core.Logs(ctx, r.Log, deps.LogOptions(opt), ended), nil
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
