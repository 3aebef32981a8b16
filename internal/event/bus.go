// Package event is the stream of what happens to containers, images, networks
// and volumes, as `GET /events` of the Docker Engine API has it.
//
// Nobody who publishes waits for a reader. A reader that keeps up misses
// nothing; one that does not finds in the stream, where messages are missing, a
// message of type "daemon" and action "gap" with their number in the attribute
// "lost". The last messages are kept in a file, so that they outlive the daemon.
package event

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"hoy/internal/event/ring"
	"hoy/internal/filter"
)

const (
	// kept is how many messages stay in memory for a subscriber that asks for
	// the past; older ones come from the file.
	kept = 1024
	// maxQueued bounds what waits for one subscriber, so that a stuck client
	// cannot fill the memory.
	maxQueued = 16 << 10
	// fileSize bounds the file: about ten thousand messages.
	fileSize = 4 << 20
	// readers is how many subscribers may read the file at once, each with fileSize in memory.
	readers = 2
)

// ActionGap says that messages are missing at this place of the stream.
const ActionGap events.Action = "gap"

// Options of a bus.
type Options struct {
	// Path of the file that keeps the last messages.
	Path string
	// ID and Name of the engine, for messages that are the bus's own.
	ID, Name string
	Log      *slog.Logger
}

// Bus passes messages from publishers to subscribers. The zero value is not
// ready; use New or Open.
type Bus struct {
	opt  Options
	now  func() time.Time
	file *ring.Ring // nil without one
	// reading bounds how many read the file.
	reading chan struct{}

	mu     sync.Mutex
	memory []entry // the last kept messages, oldest first from start
	start  int
	total  uint64 // how many were published since the bus was made
	// forgotten is when the newest message that is not in memory was published.
	forgotten   time.Time
	subscribers map[*subscriber]struct{}
	// failing is set while the file cannot be written, unwritten counts since when.
	failing   bool
	unwritten int
}

// entry is a message with its number in the file and the time of its publication,
// which is later than its own time where it tells of the past.
type entry struct {
	events.Message
	number    uint64
	published time.Time
}

// New returns an empty bus that lives in memory alone.
func New() *Bus {
	return &Bus{
		now: time.Now, subscribers: map[*subscriber]struct{}{}, reading: make(chan struct{}, readers),
		opt: Options{Log: slog.Default()},
	}
}

// Open returns a bus that goes on where the file at opt.Path ends. A file that
// cannot be used costs the past, not the present: that is logged.
func Open(opt Options) *Bus {
	b := New()
	b.opt = opt
	b.forgotten = b.now()
	file, rep, err := ring.Open(opt.Path, fileSize)
	if err != nil {
		opt.Log.Error("events are not kept: their file cannot be used", "file", opt.Path, "err", err)
		return b
	}
	b.file = file
	if rep.Torn || rep.Missing > 0 || rep.Foreign > 0 {
		opt.Log.Warn("the file of events is damaged, what is whole is used", "file", opt.Path,
			"whole", rep.Records, "missing", rep.Missing, "torn", rep.Torn, "foreign-bytes", rep.Foreign)
	}
	return b
}

// Close syncs and closes the file. Nobody may publish any more.
func (b *Bus) Close() error {
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}

// Publish hands m to every subscriber and to the file, and never waits for a
// subscriber. Scope becomes "local" and the times now where they are not set.
// The attributes must not be changed afterwards.
func (b *Bus) Publish(m events.Message) {
	now := b.now().UTC()
	if m.Scope == "" {
		m.Scope = "local"
	}
	if m.TimeNano == 0 {
		m.Time, m.TimeNano = now.Unix(), now.UnixNano()
	}
	var payload []byte
	if b.file != nil {
		payload = encode(m)
	}
	if slot, ok := b.hand(m, now, len(payload)); ok {
		b.written(b.file.Write(slot, time.Unix(0, m.TimeNano), payload))
	}
}

// encode is a message as the file has it. Of one that is too large, which only
// somebody with enormous labels can make, the attributes are left out.
func encode(m events.Message) []byte {
	payload, err := json.Marshal(m)
	if err != nil || len(payload) > ring.MaxPayload {
		m.Actor.Attributes = map[string]string{"attributes": "too large to be kept"}
		m.Action = m.Action[:min(len(m.Action), 1024)]
		payload, _ = json.Marshal(m)
	}
	return payload
}

// hand gives m its place in memory, in the queues and, where ok, in the file:
// the order is the same everywhere.
func (b *Bus) hand(m events.Message, now time.Time, payload int) (slot ring.Slot, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file != nil {
		slot, ok = b.file.Reserve(payload), true
	}
	b.total++
	e := entry{Message: m, number: slot.Number, published: now}
	if len(b.memory) < kept {
		b.memory = append(b.memory, e)
	} else {
		b.forgotten = b.memory[b.start].published
		b.memory[b.start] = e
		b.start = (b.start + 1) % kept
	}
	for s := range b.subscribers {
		if s.matches(m) {
			s.put(m)
		}
	}
	return slot, ok
}

// written logs when the file begins to refuse and when it takes again.
func (b *Bus) written(err error) {
	b.mu.Lock()
	began, ended, lost := err != nil && !b.failing, err == nil && b.failing, b.unwritten
	b.failing = err != nil
	switch {
	case err != nil:
		b.unwritten++
	case ended:
		b.unwritten = 0
	}
	b.mu.Unlock()
	switch {
	case began:
		b.opt.Log.Error("an event was not written to its file; readers get it all the same", "err", err)
	case ended:
		b.opt.Log.Info("events are written to their file again", "unwritten", lost)
	}
}

// Subscribers is how many subscriptions are being read.
func (b *Bus) Subscribers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subscribers)
}

// Published is how many messages were published since the bus was made.
func (b *Bus) Published() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// Subscribe yields the messages that f asks for, oldest first: those from since
// on that are still kept (none where since is zero), then new ones as they
// come, and gaps whatever f is. It ends when ctx does, when until (where not
// zero) has come, or when the caller stops. The subscription exists from the
// call of Subscribe on, so nothing is missed before the first message is taken;
// a sequence that is never ranged over is given up when ctx ends. It can be
// ranged over once.
func (b *Bus) Subscribe(ctx context.Context, since, until time.Time, f filter.Args) iter.Seq[events.Message] {
	s := &subscriber{filter: f, until: until, wake: make(chan struct{}, 1)}
	old := past{since: since}
	b.mu.Lock()
	if !since.IsZero() {
		for i := range b.memory {
			m := b.memory[(b.start+i)%len(b.memory)].Message
			if m.TimeNano >= since.UnixNano() && s.matches(m) {
				s.queue = append(s.queue, m)
			}
		}
		old.wanted = b.file != nil && !since.After(b.forgotten)
		if len(b.memory) > 0 {
			old.before = b.memory[b.start].number
		}
	}
	if !until.IsZero() && !until.After(b.now()) {
		s.ended = true
	} else {
		b.subscribers[s] = struct{}{}
	}
	b.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { b.remove(s) })
	return func(yield func(events.Message) bool) {
		defer stop()
		defer b.remove(s)
		if !old.wanted || b.replay(ctx, s, old, yield) {
			b.deliver(ctx, s, yield)
		}
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
		batch, lost, ended := s.take()
		for _, m := range batch {
			if ctx.Err() != nil || !yield(m) {
				return
			}
		}
		if lost > 0 {
			b.opt.Log.Warn("a reader of the events does not keep up", "lost", lost, "queued", maxQueued)
			if ctx.Err() != nil || !yield(b.gap(lost, "slow reader")) {
				return
			}
		}
		switch {
		case ended && len(batch) == 0:
			return
		case ended:
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

// gap is the message that stands for lost ones.
func (b *Bus) gap(lost int, reason string) events.Message {
	now := b.now().UTC()
	return events.Message{
		Type: events.DaemonEventType, Action: ActionGap, Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
		Actor: events.Actor{ID: b.opt.ID, Attributes: map[string]string{
			"name": b.opt.Name, "lost": strconv.Itoa(lost), "reason": reason,
		}},
	}
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

	mu    sync.Mutex
	queue []events.Message
	// lost counts what came after a full queue.
	lost  int
	ended bool
}

func (s *subscriber) matches(m events.Message) bool {
	return (s.until.IsZero() || m.TimeNano <= s.until.UnixNano()) && Match(s.filter, m)
}

func (s *subscriber) put(m events.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if len(s.queue) >= maxQueued {
		s.lost++
		return // who has not taken what waits has been woken
	}
	s.queue = append(s.queue, m)
	s.signal()
}

// take empties the queue. lost messages belong behind the batch.
func (s *subscriber) take() (batch []events.Message, lost int, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, lost = s.queue, s.lost
	s.queue, s.lost = nil, 0
	return batch, lost, s.ended
}

func (s *subscriber) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.signal()
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
