package query

import (
	"context"
	"iter"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
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
