// Package health runs health checks: a goroutine for each running container
// that has one, which probes, keeps the last results and tells of changes.
package health

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
)

// What a check has where its configuration does not say, as in Docker.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
	// maxLog is how many results are kept, maxOutput how many bytes of each.
	maxLog    = 5
	maxOutput = 4096
)

// Checks runs the health checks of all containers. Make it with New.
type Checks struct {
	*core.Core
	probers map[string]newProber

	mu      sync.Mutex
	running map[string]*runner
	closed  bool
	// made and failed count probes.
	made, failed atomic.Uint64
	wait         sync.WaitGroup
	// publish orders the changes of what is published.
	publish sync.Mutex
}

// runner is the check of one run of a container.
type runner struct {
	started time.Time
	cancel  context.CancelFunc
}

// Prober probes once. Code 0 is healthy; an error means that the probe itself
// could not be made.
type Prober interface {
	Probe(ctx context.Context) (code int, output string, err error)
	Close()
}

type newProber func(e *index.Entry, h *container.HealthConfig) (Prober, error)

// New returns the checks; exec runs a command in a container.
func New(c *core.Core, exec Execs) *Checks {
	inside := func(e *index.Entry, h *container.HealthConfig) (Prober, error) { return command(c, exec, e, h), nil }
	return &Checks{Core: c, running: map[string]*runner{}, probers: map[string]newProber{
		"CMD": inside, "CMD-SHELL": inside, "HTTP": native(httpProbe), "TCP": native(tcpProbe), "GRPC": native(grpcProbe),
	}}
}

// Changed is told of every published record: a check runs while its container does.
func (c *Checks) Changed(e *index.Entry, r *record.Record) {
	prober := c.prober(r)
	if prober == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.running[r.ID]
	switch {
	case c.closed:
	case r.State.Phase == record.Running && (now == nil || !now.started.Equal(r.State.StartedAt)):
		if now != nil {
			now.cancel()
		}
		c.begin(e, r, prober)
	case r.State.Phase == record.Running:
	case now != nil:
		now.cancel()
		delete(c.running, r.ID)
		if r.State.Phase != record.Paused {
			// Nobody knows any more; Docker says so in this word.
			c.set(context.Background(), e, func(h *container.Health) { h.Status = container.Unhealthy })
		}
	}
}

// Counts is how many probes were made, and how many of those failed.
func (c *Checks) Counts() (made, failed uint64) { return c.made.Load(), c.failed.Load() }

// begin is called with mu held.
func (c *Checks) begin(e *index.Entry, r *record.Record, prober newProber) {
	ctx, cancel := context.WithCancel(context.Background())
	c.running[r.ID] = &runner{started: r.State.StartedAt, cancel: cancel}
	if old := e.Health(); old == nil || !r.State.StartedAt.Before(lastCheck(old)) {
		c.set(ctx, e, func(h *container.Health) { h.Status, h.FailingStreak = container.Starting, 0 })
	}
	c.wait.Add(1)
	go func() {
		defer c.wait.Done()
		c.run(ctx, e, r, prober)
	}()
}

// lastCheck is when the last result came; a check that goes on after a pause
// keeps what it knew.
func lastCheck(h *container.Health) time.Time {
	if len(h.Log) == 0 {
		return time.Time{}
	}
	return h.Log[len(h.Log)-1].End
}

// prober is the container's kind of check; nil where it has none.
func (c *Checks) prober(r *record.Record) newProber {
	h := r.Config.Healthcheck
	if h == nil || len(h.Test) == 0 {
		return nil
	}
	return c.probers[h.Test[0]]
}

// Close ends all checks; containers keep their last state.
func (c *Checks) Close() {
	c.mu.Lock()
	c.closed = true
	for _, r := range c.running {
		r.cancel()
	}
	c.mu.Unlock()
	c.wait.Wait()
}

// run probes until ctx ends.
func (c *Checks) run(ctx context.Context, e *index.Entry, r *record.Record, prober newProber) {
	cfg := r.Config.Healthcheck
	p, err := prober(e, cfg)
	if err != nil {
		c.Log.Warn("health check cannot run", "container", r.ID, "error", err)
		c.result(ctx, e, r, container.HealthcheckResult{Start: c.Now(), End: c.Now(), ExitCode: -1, Output: err.Error()})
		return
	}
	defer p.Close()
	timer := time.NewTimer(pause(e.Health(), r, c.Now()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		res := c.probe(ctx, p, or(cfg.Timeout, defaultTimeout))
		if ctx.Err() != nil {
			return
		}
		c.result(ctx, e, r, res)
		timer.Reset(pause(e.Health(), r, c.Now()))
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// pause is the time to the next probe: shorter while the container starts.
func pause(h *container.Health, r *record.Record, now time.Time) time.Duration {
	cfg := r.Config.Healthcheck
	interval := or(cfg.Interval, defaultInterval)
	if h != nil && h.Status == container.Starting && now.Sub(r.State.StartedAt) < cfg.StartPeriod {
		return min(interval, or(cfg.StartInterval, defaultStartInterval))
	}
	return interval
}

func (c *Checks) probe(ctx context.Context, p Prober, timeout time.Duration) container.HealthcheckResult {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.made.Add(1)
	res := container.HealthcheckResult{Start: c.Now()}
	code, out, err := p.Probe(limited)
	res.End, res.ExitCode, res.Output = c.Now(), code, out
	switch {
	case limited.Err() != nil:
		res.ExitCode, res.Output = -1, "Health check exceeded timeout ("+timeout.String()+")"
		if out != "" {
			res.Output += ": " + out
		}
	case err != nil:
		res.ExitCode, res.Output = -1, err.Error()
	}
	if res.ExitCode != 0 {
		c.failed.Add(1)
	}
	if len(res.Output) > maxOutput {
		res.Output = res.Output[:maxOutput] + "..."
	}
	return res
}

// result keeps a result and works out what it means.
func (c *Checks) result(ctx context.Context, e *index.Entry, r *record.Record, res container.HealthcheckResult) {
	cfg := r.Config.Healthcheck
	retries := cfg.Retries
	if retries <= 0 {
		retries = defaultRetries
	}
	var before container.HealthStatus // stays empty where the check has been ended
	after := c.set(ctx, e, func(h *container.Health) {
		before = h.Status
		h.Log = append(slices.Clone(h.Log), &res)
		h.Log = h.Log[max(0, len(h.Log)-maxLog):]
		switch {
		case res.ExitCode == 0:
			h.Status, h.FailingStreak = container.Healthy, 0
		case h.Status == container.Starting && res.Start.Sub(r.State.StartedAt) < cfg.StartPeriod:
			// Allowed while it starts.
		default:
			h.FailingStreak++
			if h.FailingStreak >= retries {
				h.Status = container.Unhealthy
			}
		}
	})
	if before != "" && after.Status != before {
		c.Event(e.Record(), events.Action(string(events.ActionHealthStatus)+": "+string(after.Status)), nil)
	}
}

// set replaces the published health by a changed copy, unless the check has
// been ended meanwhile.
func (c *Checks) set(ctx context.Context, e *index.Entry, change func(*container.Health)) *container.Health {
	c.publish.Lock()
	defer c.publish.Unlock()
	next := &container.Health{}
	if old := e.Health(); old != nil {
		*next = *old
	}
	if ctx.Err() == nil {
		change(next)
		e.SetHealth(next)
	}
	return next
}
