package sampler

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/request"
)

// group counts how often it is read.
type group struct {
	deps.Group
	mu   sync.Mutex
	n    atomic.Uint64
	pids []int
	err  error
}

func (g *group) Sample(pid int) (*container.StatsResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.n.Add(1)
	g.pids = append(g.pids, pid)
	return &container.StatsResponse{Read: time.Now(), CPUStats: container.CPUStats{SystemUsage: n}}, g.err
}

func fixture(mode container.NetworkMode) (*Sampler, *index.Entry, *group) {
	s := New(&core.Core{Deps: deps.Deps{Now: time.Now}, Index: index.New()})
	r := &record.Record{ID: "abc", Name: "web", HostConfig: &container.HostConfig{NetworkMode: mode}, State: record.State{Phase: record.Running, Pid: 7}}
	_ = s.Index.Reserve("web", "abc")
	e := s.Index.Add(r)
	g := &group{}
	e.SetRun(&index.Run{Group: g, Ended: make(chan struct{})})
	return s, e, g
}

var stream = request.Stats{Stream: true}

func TestManyReadersCostOneReadEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, g := fixture("bridge")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				n := 0
				err := s.Stats(ctx, "web", stream, func(r *container.StatsResponse) error {
					if n++; r.Name != "/web" || r.ID != "abc" || r.CPUStats.SystemUsage != r.PreCPUStats.SystemUsage+1 || r.Read.Sub(r.PreRead) != period {
						t.Errorf("%+v", r)
					}
					return nil
				})
				if err != nil || n != 10 {
					t.Errorf("%d samples, %v", n, err)
				}
			})
		}
		time.Sleep(10*period + period/2)
		if g.n.Load() != 11 || s.Reads() != 11 {
			t.Errorf("%d reads in ten seconds", g.n.Load())
		}
		cancel()
		wg.Wait()
		time.Sleep(10 * period)
		if g.n.Load() != 11 || len(s.feeds) != 0 || len(s.once) != 0 {
			t.Errorf("%d reads, %d feeds after the last reader has gone", g.n.Load(), len(s.feeds))
		}
	})
}

func TestOneShots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e, g := fixture("host")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_ = s.Stats(t.Context(), "web", request.Stats{OneShot: true}, func(r *container.StatsResponse) error {
					if !r.PreRead.IsZero() {
						t.Errorf("%+v", r)
					}
					return nil
				})
			})
		}
		wg.Wait()
		if g.n.Load() != 1 || g.pids[0] != 0 {
			t.Errorf("%d reads of %v for twenty who ask at once", g.n.Load(), g.pids)
		}
		time.Sleep(2 * fresh)
		if got, err := s.Latest(e); err != nil || got.CPUStats.SystemUsage != 2 {
			t.Errorf("%+v %v", got, err)
		}
		// Two samples, a period apart.
		n := 0
		if err := s.Stats(t.Context(), "web", request.Stats{}, func(r *container.StatsResponse) error {
			n++
			if r.PreRead.IsZero() {
				t.Errorf("%+v", r)
			}
			return nil
		}); err != nil || n != 1 {
			t.Errorf("%d samples, %v", n, err)
		}
	})
}

func TestASlowReaderHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := fixture("bridge")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		counts := [2]int{}
		for i, pause := range []time.Duration{0, 7 * period} {
			wg.Go(func() {
				_ = s.Stats(ctx, "web", stream, func(r *container.StatsResponse) error {
					counts[i]++
					time.Sleep(pause)
					if age := time.Since(r.Read); age > pause+period {
						t.Errorf("a sample that is %v old", age)
					}
					return nil
				})
			})
		}
		time.Sleep(21*period + period/2)
		cancel()
		wg.Wait()
		if counts[0] != 21 || counts[1] > 4 {
			t.Errorf("%v samples", counts)
		}
	})
}

func TestTheStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e, _ := fixture("bridge")
		time.AfterFunc(3*period+period/2, func() { s.Index.Drop(e.ID) })
		if err := s.Stats(t.Context(), "web", stream, func(*container.StatsResponse) error { return nil }); err != nil {
			t.Error(err)
		}
		if err := s.Stats(t.Context(), "web", stream, nil); err == nil {
			t.Error("a container that is removed has statistics")
		}
		s, _, g := fixture("bridge")
		g.err = errors.New("broken")
		if err := s.Stats(t.Context(), "web", stream, nil); !errors.Is(err, g.err) {
			t.Error(err)
		}
		s, e, _ = fixture("bridge")
		e.SetRun(nil)
		n := 0
		ctx, cancel := context.WithTimeout(t.Context(), 3*period+period/2)
		defer cancel()
		if err := s.Stats(ctx, "web", stream, func(r *container.StatsResponse) error {
			n++
			if !r.Read.IsZero() {
				t.Errorf("%+v", r)
			}
			return nil
		}); err != nil || n != 4 {
			t.Errorf("%d samples of a container that does not run, %v", n, err)
		}
	})
}
