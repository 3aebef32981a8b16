package forward

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hoy/internal/durable"
	"hoy/internal/log/options"
)

// closeTime is how long servers have to take what was sent to them before the daemon ends.
const closeTime = 500 * time.Millisecond

// keepUnsent is how long the log of a removed container waits for its server.
const keepUnsent = 24 * time.Hour

// Manager forwards the logs of all containers whose driver wants it.
type Manager struct {
	dir, socket string
	log         *slog.Logger
	ctx         context.Context //nolint:containedctx // the life of the goroutines, which no caller's context bounds
	stop        context.CancelFunc
	work        sync.WaitGroup
	stopping    chan struct{}
	once        sync.Once

	dropped atomic.Uint64

	mu     sync.Mutex
	active map[string]*forwarder
	// past is what forwarders that have ended had counted, by container.
	past map[string]Count
}

// Options of a Manager.
type Options struct {
	// Dir holds the logs of removed containers that were not taken yet.
	Dir string
	// JournalSocket is where journald listens; empty is where it always does.
	JournalSocket string
	Log           *slog.Logger
}

// New returns a Manager that goes on with what removed containers have left.
func New(opt Options) *Manager {
	ctx, stop := context.WithCancel(context.Background())
	m := &Manager{dir: opt.Dir, socket: opt.JournalSocket, log: opt.Log, ctx: ctx, stop: stop, stopping: make(chan struct{}), active: map[string]*forwarder{}, past: map[string]Count{}}
	left, err := os.ReadDir(opt.Dir)
	if err != nil && !os.IsNotExist(err) {
		m.log.Error("logs of removed containers not found", "error", err)
	}
	for _, d := range left {
		m.resume(d.Name())
	}
	return m
}

// Close stops forwarding; the next Manager goes on.
func (m *Manager) Close() {
	m.once.Do(func() { close(m.stopping) })
	defer time.AfterFunc(closeTime, m.stop).Stop()
	m.work.Wait()
	m.stop()
}

// Follow forwards a log until ended is closed and all was taken. Who is
// forwarded already goes on being so, with what the new target says.
func (m *Manager) Follow(t Target, ended <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.active[t.Info.ContainerID]
	if old != nil && old.ended == ended {
		return
	}
	m.start(t, ended, old, nil)
}

// Drain forwards what an earlier daemon has left of the log of a container that does not run.
func (m *Manager) Drain(t Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active[t.Info.ContainerID] == nil {
		m.start(t, closed, nil, nil)
	}
}

// start begins a forwarder after old has ended; m.mu is held.
func (m *Manager) start(t Target, ended <-chan struct{}, old *forwarder, after func(drained bool)) {
	id := t.Info.ContainerID
	ctx, cancel := context.WithCancel(m.ctx)
	f := &forwarder{Target: t, log: m.log, socket: m.socket, cancel: cancel, ended: ended, stopping: m.stopping, all: &m.dropped, done: make(chan struct{})}
	m.active[id] = f
	m.work.Go(func() {
		defer cancel()
		if old != nil {
			<-old.done
			f.next = old.next
		}
		f.run(ctx)
		m.leave(id, f)
		close(f.done)
		if after != nil {
			after(f.drained)
		}
	})
}

// leave takes a forwarder that has ended off the list.
func (m *Manager) leave(id string, f *forwarder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active[id] == f {
		delete(m.active, id)
	}
	c := f.count()
	p := m.past[id]
	m.past[id] = Count{Container: id, Driver: c.Driver, Sent: p.Sent + c.Sent, Dropped: p.Dropped + c.Dropped}
}

// Forget is told that a container is about to be removed. What of its log was
// not taken yet is set aside and goes on being sent.
func (m *Manager) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.past, id)
	old := m.active[id]
	if old == nil {
		return
	}
	old.moved.Store(true)
	old.cancel()
	delete(m.active, id)
	t := old.Target
	dir := filepath.Join(m.dir, id)
	if err := m.setAside(&t, dir); err != nil {
		m.log.Error("the rest of a removed container's log is not sent", "container", id, "error", err)
		return
	}
	m.start(t, closed, old, func(drained bool) { m.clear(dir, drained) })
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

const targetFile = "target.json"

// setAside moves a log's files to dir.
func (m *Manager) setAside(t *Target, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	from, base := filepath.Dir(t.Log.Path), filepath.Base(t.Log.Path)
	names, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	t.Log.Path = filepath.Join(dir, base)
	t.Log.Sent = ""
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, targetFile), text, 0o600); err != nil {
		return err
	}
	for _, d := range names {
		if strings.HasPrefix(d.Name(), base) {
			if err := os.Rename(filepath.Join(from, d.Name()), filepath.Join(dir, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume goes on with what was set aside.
func (m *Manager) resume(id string) {
	dir := filepath.Join(m.dir, id)
	var t Target
	text, err := os.ReadFile(filepath.Join(dir, targetFile))
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	fi, statErr := os.Stat(dir)
	switch {
	case err != nil || statErr != nil || filepath.Dir(t.Log.Path) != dir || sinks[t.Log.Driver] == nil:
		m.log.Error("what is left of a removed container's log is damaged and is not sent", "container", id, "error", err)
		_ = os.RemoveAll(dir)
	case time.Since(fi.ModTime()) > keepUnsent:
		m.log.Warn("the log of a removed container was not taken by its server in time and is deleted", "container", id, "waited", keepUnsent)
		_ = os.RemoveAll(dir)
	default:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.start(t, closed, nil, func(drained bool) { m.clear(dir, drained) })
	}
}

// clear removes what was set aside, once it is sent.
func (m *Manager) clear(dir string, drained bool) {
	if !drained {
		return // the daemon ends
	}
	if err := os.RemoveAll(dir); err != nil {
		m.log.Error("the log of a removed container is left", "directory", dir, "error", err)
	}
}

// Count is what became of a container's log.
type Count struct {
	Container, Driver string
	// Sent is how many records were handed to the server, repeated ones included;
	// Dropped how many were thrown away before.
	Sent, Dropped uint64
	// Failing: its server does not take it now.
	Failing bool
}

func (f *forwarder) count() Count {
	return Count{Container: f.Info.ContainerID, Driver: f.Log.Driver, Sent: f.sent.Load(), Dropped: f.dropped.Load(), Failing: f.failing.Load()}
}

// Dropped is how many records were thrown away before their server took them, since the daemon's start.
func (m *Manager) Dropped() uint64 { return m.dropped.Load() }

// Counts are those of all containers that were forwarded since the daemon's
// start and are not removed, by id.
func (m *Manager) Counts() []Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Count, 0, len(m.past)+len(m.active))
	for id, p := range m.past {
		if m.active[id] == nil {
			all = append(all, p)
		}
	}
	for id, f := range m.active {
		c, p := f.count(), m.past[id]
		c.Sent, c.Dropped = c.Sent+p.Sent, c.Dropped+p.Dropped
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Compare(a.Container, b.Container) })
	return all
}

// Forwards says whether a target's driver sends logs elsewhere.
func (t *Target) Forwards() bool { return options.Forwarded(t.Log.Driver) }
