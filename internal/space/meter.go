package space

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"hoy/internal/durable"
)

// Budget is how long a request waits for trees to be counted anew; what takes
// longer is answered from the last count.
const Budget = 250 * time.Millisecond

// rest is how much longer than its last count a tree is left in peace: a tree
// of a minute is walked for a twentieth of the time at most, however often
// somebody asks. One that is counted within soon may always be.
const (
	rest = 20
	soon = 100 * time.Millisecond
)

// Tree is a directory to be counted.
type Tree struct {
	Dir string
	// Skip is the name of an entry of Dir that does not belong to it.
	Skip string
	// Fixed says that nothing below changes any more: it is counted once.
	Fixed bool
}

func (t Tree) key() string { return t.Dir + "\x00" + t.Skip }

// Sample is what a tree took at a time. At is zero where it was never counted.
type Sample struct {
	Bytes int64     `json:"bytes"`
	At    time.Time `json:"at"`
	// Current says that it was counted after it was asked for, or cannot have changed.
	Current bool `json:"-"`
	// Fixed is that of the tree at that time.
	Fixed bool `json:"fixed,omitempty"`
}

// Meter counts trees, beside the requests that want to know, one tree at a
// time, and remembers. Where a tree changes nobody tells it: what a container
// writes passes no one. So each request has its trees counted anew, waits for
// Budget, and gets the last count of what takes longer. Project quotas would
// know at once, but few file systems are made with them.
type Meter struct {
	file string

	mu      sync.Mutex
	known   map[string]*count
	queue   []*count
	running bool
	closed  bool
	ended   sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of the walks, which outlive requests
	cancel  context.CancelFunc
}

type count struct {
	tree   Tree
	sample Sample
	took   time.Duration
	queued bool
	// next is closed once a walk that has not begun yet has ended.
	next chan struct{}
}

// NewMeter makes a meter that remembers in file between runs of the engine;
// without one it forgets.
func NewMeter(file string) *Meter {
	m := &Meter{file: file, known: map[string]*count{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if data, err := os.ReadFile(file); file != "" && err == nil {
		kept := map[string]Sample{}
		if json.Unmarshal(data, &kept) == nil { // else it counts anew
			for key, s := range kept {
				m.known[key] = &count{sample: s}
			}
		}
	}
	return m
}

// Close ends a walk under way and writes down what is known.
func (m *Meter) Close() error {
	m.mu.Lock()
	m.closed, m.queue = true, nil
	m.mu.Unlock()
	m.cancel()
	m.ended.Wait()
	if m.file == "" {
		return nil
	}
	kept := map[string]Sample{}
	for key, c := range m.known {
		if _, err := os.Lstat(dirOf(key)); err == nil && !c.sample.At.IsZero() {
			kept[key] = c.sample
		}
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return durable.WriteFile(m.file, data, 0o600)
}

func dirOf(key string) string {
	for i := range len(key) {
		if key[i] == 0 {
			return key[:i]
		}
	}
	return key
}

// Count gives a sample of each tree, within about budget.
func (m *Meter) Count(ctx context.Context, budget time.Duration, trees ...Tree) []Sample {
	asked := time.Now()
	all, wait := m.enqueue(asked, trees)
	limit := time.NewTimer(budget)
	defer limit.Stop()
wait:
	for _, done := range wait {
		select {
		case <-done:
		case <-limit.C:
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	samples := make([]Sample, len(all))
	for i, c := range all {
		samples[i] = c.sample
		samples[i].Current = c.sample.Fixed || !c.sample.At.Before(asked)
	}
	return samples
}

// enqueue gives the counts of trees and what to wait for.
func (m *Meter) enqueue(now time.Time, trees []Tree) (all []*count, wait []chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range trees {
		c := m.known[t.key()]
		if c == nil {
			c = &count{}
			m.known[t.key()] = c
		}
		c.tree = t
		all = append(all, c)
		if m.closed || c.sample.Fixed && t.Fixed {
			continue
		}
		if !c.queued {
			// A walk under way began before this was asked, and another follows.
			if tired := c.took > soon && now.Sub(c.sample.At) < c.took*(rest+1); tired {
				continue
			}
			c.queued, c.next = true, make(chan struct{})
			m.queue = append(m.queue, c)
		}
		wait = append(wait, c.next)
	}
	if !m.running && len(m.queue) > 0 {
		m.running = true
		m.ended.Go(m.work)
	}
	return all, wait
}

// work counts what is queued and ends.
func (m *Meter) work() {
	for {
		m.mu.Lock()
		if len(m.queue) == 0 || m.closed {
			m.running = false
			m.mu.Unlock()
			return
		}
		c := m.queue[0]
		m.queue = m.queue[1:]
		c.queued = false
		done, t := c.next, c.tree
		m.mu.Unlock()

		began := time.Now()
		bytes, err := walk(m.ctx, t)
		m.mu.Lock()
		if err == nil {
			c.sample, c.took = Sample{Bytes: bytes, At: began, Fixed: t.Fixed}, time.Since(began)
		}
		m.mu.Unlock()
		close(done)
	}
}

// Forget drops what is known of trees that are gone.
func (m *Meter) Forget(keep func(dir string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, c := range m.known {
		if !c.queued && !keep(dirOf(key)) {
			delete(m.known, key)
		}
	}
}
