// Package event is the stream of what happens to containers, images, networks
// and volumes, as `GET /events` of the Docker Engine API has it.
package event

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"hoy/internal/filter"
)

const (
	// kept is how many messages stay for a subscriber that asks for the past.
	kept = 1024
	// maxQueued bounds what waits for one subscriber; one that is further
	// behind is ended, so that a stuck client cannot fill the memory.
	maxQueued = 64 << 10
)

// Bus passes messages from publishers to subscribers. The zero value is not
// ready; use New.
type Bus struct {
	log *slog.Logger
	now func() time.Time

	mu          sync.Mutex
	ring        []events.Message // the last kept messages, oldest first from start
	start       int
	subscribers map[*subscriber]struct{}
}

// New returns an empty bus. A subscriber that is ended because it does not
// keep up is logged to log, or to slog's default where that is nil.
func New(log ...*slog.Logger) *Bus {
	b := &Bus{now: time.Now, subscribers: map[*subscriber]struct{}{}}
	if len(log) > 0 {
		b.log = log[0]
	}
	return b
}

// Publish hands m to every subscriber and never waits for one. Scope becomes
// "local" and the times now where they are not set. The attributes must not be
// changed afterwards.
func (b *Bus) Publish(m events.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Scope == "" {
		m.Scope = "local"
	}
	if m.TimeNano == 0 {
		now := b.now().UTC()
		m.Time, m.TimeNano = now.Unix(), now.UnixNano()
	}
	if len(b.ring) < kept {
		b.ring = append(b.ring, m)
	} else {
		b.ring[b.start] = m
		b.start = (b.start + 1) % kept
	}
	for s := range b.subscribers {
		if s.matches(m) && !s.put(m) {
			delete(b.subscribers, s)
		}
	}
}

// Subscribers is how many subscriptions are being read.
func (b *Bus) Subscribers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subscribers)
}

// Subscribe yields the messages that f asks for, oldest first: those from since
// on that are still kept (none where since is zero), then new ones as they
// come. It ends when ctx does, when until (where not zero) has come, or when
// the caller stops. The subscription exists from the call of Subscribe on, so
// nothing is missed before the first message is taken; a sequence that is never
// ranged over is given up when ctx ends. It can be ranged over once.
func (b *Bus) Subscribe(ctx context.Context, since, until time.Time, f filter.Args) iter.Seq[events.Message] {
	s := &subscriber{filter: f, until: until, wake: make(chan struct{}, 1)}
	b.mu.Lock()
	if !since.IsZero() {
		for i := range b.ring {
			m := b.ring[(b.start+i)%len(b.ring)]
			if m.TimeNano >= since.UnixNano() && s.matches(m) {
				s.queue = append(s.queue, m)
			}
		}
	}
	past := !until.IsZero() && !until.After(b.now())
	if past {
		s.ended = true
	} else {
		b.subscribers[s] = struct{}{}
	}
	b.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { b.remove(s) })
	return func(yield func(events.Message) bool) {
		defer stop()
		defer b.remove(s)
		b.deliver(ctx, s, yield)
	}
}

func (b *Bus) deliver(ctx context.Context, s *subscriber, yield func(events.Message) bool) {
	var timeout <-chan time.Time
	if !s.until.IsZero() {
		t := time.NewTimer(s.until.Sub(b.now()))
		defer t.Stop()
		timeout = t.C
	}
	for {
		batch, ended, overrun := s.take()
		for _, m := range batch {
			if ctx.Err() != nil || !yield(m) {
				return
			}
		}
		if overrun {
			b.logger().Warn("a reader of the events does not keep up and was ended; it misses what follows", "queued", maxQueued)
			return
		}
		if ended && len(batch) == 0 {
			return
		}
		if ended {
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		case <-timeout:
			s.end() // what came until now is still handed over
		}
	}
}

func (b *Bus) logger() *slog.Logger {
	if b.log != nil {
		return b.log
	}
	return slog.Default()
}

func (b *Bus) remove(s *subscriber) {
	b.mu.Lock()
	delete(b.subscribers, s)
	b.mu.Unlock()
	s.end()
}

// subscriber is one reader's queue.
type subscriber struct {
	filter filter.Args
	until  time.Time
	wake   chan struct{}

	mu      sync.Mutex
	queue   []events.Message
	ended   bool
	overrun bool
}

func (s *subscriber) matches(m events.Message) bool {
	return (s.until.IsZero() || m.TimeNano <= s.until.UnixNano()) && Match(s.filter, m)
}

// put says whether the subscriber is still to be served.
func (s *subscriber) put(m events.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if len(s.queue) >= maxQueued {
		s.overrun = true
	} else {
		s.queue = append(s.queue, m)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return !s.overrun
}

func (s *subscriber) take() (batch []events.Message, ended, overrun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, s.queue = s.queue, nil
	return batch, s.ended, s.overrun
}

func (s *subscriber) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
