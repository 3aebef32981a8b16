// Package sampler reads what containers use, once for all who want to know: a
// container with any number of readers costs one read a second.
package sampler

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/request"
)

const (
	// period is the pace of a stream.
	period = time.Second
	// fresh is how old a sample may be that answers who wants one now.
	fresh = 100 * time.Millisecond
)

// Sampler samples containers. Make it with New.
type Sampler struct {
	*core.Core
	reads atomic.Uint64

	// mu guards the two maps and the feeds' readers, in memory only.
	mu    sync.Mutex
	feeds map[string]*feed
	once  map[string]*single
}

// New returns a sampler that reads nothing yet.
func New(c *core.Core) *Sampler {
	return &Sampler{Core: c, feeds: map[string]*feed{}, once: map[string]*single{}}
}

// Reads is how many times the counters of a container were read.
func (s *Sampler) Reads() uint64 { return s.reads.Load() }

// Stats of api/containers. What emit gets must not be changed.
func (s *Sampler) Stats(ctx context.Context, ref string, opt request.Stats, emit func(*container.StatsResponse) error) error {
	e, err := s.Index.Find(ref)
	if err != nil {
		return err
	}
	if e.Run() == nil || !opt.Stream && opt.OneShot {
		now, err := s.Latest(e)
		if err != nil {
			return err
		}
		if err := emit(now); err != nil || !opt.Stream {
			return err
		}
	}
	samples, leave := s.join(e)
	defer leave()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case got, ok := <-samples:
			switch {
			case !ok:
				return nil // the container was removed
			case got.err != nil:
				return got.err
			}
			if err := emit(got.sample); err != nil || !opt.Stream {
				return err
			}
		}
	}
	return nil
}

// single is a read that several callers wait for, and its result.
type single struct {
	done chan struct{}
	at   time.Time
	result
}

type result struct {
	sample *container.StatsResponse
	err    error
}

// Latest reads the counters; callers at nearly the same time share a read.
func (s *Sampler) Latest(e *index.Entry) (*container.StatsResponse, error) {
	s.mu.Lock()
	one, now := s.once[e.ID], time.Now()
	if one != nil && now.Sub(one.at) < fresh {
		s.mu.Unlock()
		<-one.done
		return one.sample, one.err
	}
	one = &single{done: make(chan struct{}), at: now}
	s.once[e.ID] = one
	s.mu.Unlock()
	one.sample, one.err = s.read(e)
	close(one.done)
	time.AfterFunc(fresh, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.once[e.ID] == one {
			delete(s.once, e.ID)
		}
	})
	return one.sample, one.err
}

// read reads the counters; a container that does not run has none.
func (s *Sampler) read(e *index.Entry) (*container.StatsResponse, error) {
	r := e.Record()
	out := &container.StatsResponse{}
	if run := e.Run(); run != nil && r.State.Phase.HasProcess() {
		pid := r.State.Pid
		if r.HostConfig.NetworkMode.IsHost() {
			pid = 0 // the host's devices are not the container's
		}
		s.reads.Add(1)
		got, err := run.Group.Sample(pid)
		switch {
		case err == nil:
			out = got
			if out.Read.IsZero() {
				out.Read = s.Core.Now().UTC()
			}
		case e.Run() == run:
			return nil, err
		default: // it ended while it was read
		}
	}
	out.ID, out.Name = r.ID, r.Ref()
	return out, nil
}

// feed samples one container for as long as somebody reads; guarded by Sampler.mu.
type feed struct {
	readers map[chan result]struct{}
	stop    context.CancelFunc
}

// join adds a reader. Its channel has the newest sample: one who is late misses
// those between. It is closed when the container is removed.
func (s *Sampler) join(e *index.Entry) (samples <-chan result, leave func()) {
	ch := make(chan result, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[e.ID]
	if f == nil {
		ctx, cancel := context.WithCancel(context.Background())
		f = &feed{readers: map[chan result]struct{}{}, stop: cancel}
		s.feeds[e.ID] = f
		go s.run(ctx, e, f)
	}
	f.readers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(f.readers, ch)
		if len(f.readers) == 0 {
			s.end(e.ID, f)
		}
	}
}

// end is called with mu held.
func (s *Sampler) end(id string, f *feed) {
	f.stop()
	if s.feeds[id] == f {
		delete(s.feeds, id)
	}
}

func (s *Sampler) run(ctx context.Context, e *index.Entry, f *feed) {
	prev, err := s.Latest(e)
	t := time.NewTicker(period)
	defer t.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if _, ok := s.Index.Get(e.ID); !ok {
			break
		}
		var cur *container.StatsResponse
		if cur, err = s.read(e); err != nil {
			break
		}
		cur.PreCPUStats, cur.PreRead = prev.CPUStats, prev.Read
		s.give(f, result{sample: cur})
		prev = cur
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range f.readers {
		if err != nil {
			offer(ch, result{err: err})
		} else {
			close(ch)
		}
	}
	clear(f.readers)
	s.end(e.ID, f)
}

func (s *Sampler) give(f *feed, r result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range f.readers {
		offer(ch, r)
	}
}

// offer replaces what was not taken. Only one sends at a time.
func offer(ch chan result, r result) {
	select {
	case <-ch:
	default:
	}
	ch <- r
}

// Usage is what one container has used.
type Usage struct {
	*record.Record
	*container.StatsResponse
	// OOMKills counts processes of this run that were killed for want of memory.
	OOMKills uint64
	// LogDropped counts records of this run that the log could not take.
	LogDropped uint64
	Health     *container.Health
}

// Each samples every container that runs, once.
func (s *Sampler) Each(yield func(Usage)) {
	dropped := s.dropped()
	for _, e := range s.Index.All() {
		r, run := e.Record(), e.Run()
		if run == nil || !r.State.Phase.HasProcess() {
			continue
		}
		got, err := s.Latest(e)
		if err != nil || got.Read.IsZero() {
			continue // it has ended, or its group cannot be read: then it has no numbers
		}
		u := Usage{Record: r, StatsResponse: got, Health: e.Health(), LogDropped: dropped[e.ID]}
		if n, err := run.Group.OOMKills(); err == nil {
			u.OOMKills = n
		}
		yield(u)
	}
}

// askTime bounds the wait for the monitor.
const askTime = 2 * time.Second

// dropped asks the monitor, which writes the logs. Without its answer nothing is known to be lost.
func (s *Sampler) dropped() map[string]uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	states, err := s.Monitor.List(ctx)
	if err != nil {
		s.Log.Warn("the monitor does not tell of dropped log records", "error", err)
	}
	all := map[string]uint64{}
	for _, p := range states {
		if p.ID.Exec == "" {
			all[p.ID.Container] = p.Dropped
		}
	}
	return all
}
