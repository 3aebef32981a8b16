package index

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/deps"
	"hoy/internal/container/record"
)

// Entry is one container: its published record, who may change it, and who waits for it.
type Entry struct {
	// ID never changes.
	ID string

	rec atomic.Pointer[record.Record]
	run atomic.Pointer[Run]
	// health is in memory alone: after the daemon's start it is found out anew.
	health atomic.Pointer[container.Health]
	// turn holds one token; who has it may change the container.
	turn chan struct{}

	// mu guards waiters and execs; it is held for memory operations only.
	mu      sync.Mutex
	waiters []*waiter
	execs   []string
	gone    bool

	// Backoff is the restart policy's last pause; who has the turn may use it.
	Backoff time.Duration

	// Restart is set while a restart by hand is under way: the exit is then
	// neither a reason to remove the container nor for the restart policy.
	Restart atomic.Bool
	// cancelBackoff ends the wait of a restart policy.
	cancelBackoff atomic.Pointer[context.CancelFunc]
}

// Run is what belongs to one run of a container, from its start to its exit.
type Run struct {
	Group deps.Group
	// Ended is closed when the exit has been recorded.
	Ended chan struct{}
}

type waiter struct {
	cond container.WaitCondition
	ch   chan container.WaitResponse
}

func newEntry(r *record.Record) *Entry {
	e := &Entry{ID: r.ID, turn: make(chan struct{}, 1)}
	e.rec.Store(r)
	return e
}

// Record is the present snapshot; it must not be changed.
func (e *Entry) Record() *record.Record { return e.rec.Load() }

// Publish replaces the snapshot. The caller has the turn.
func (e *Entry) Publish(r *record.Record) { e.rec.Store(r) }

// Health is what the health check last found; nil where there is none. It must not be changed.
func (e *Entry) Health() *container.Health { return e.health.Load() }

// SetHealth replaces it; the health check alone calls it.
func (e *Entry) SetHealth(h *container.Health) { e.health.Store(h) }

// Run is the present run; nil where the container does not run.
func (e *Entry) Run() *Run { return e.run.Load() }

// SetRun sets or, with nil, ends the present run. The caller has the turn.
func (e *Entry) SetRun(r *Run) {
	if old := e.run.Swap(r); old != nil && old != r {
		close(old.Ended)
	}
}

// Regroup gives the present run another cgroup. The caller has the turn.
func (e *Entry) Regroup(g deps.Group) {
	if old := e.run.Load(); old != nil {
		e.run.Store(&Run{Group: g, Ended: old.Ended})
	}
}

// Turn waits until no one else changes the container. The result must be called once.
func (e *Entry) Turn(ctx context.Context) (done func(), err error) {
	select {
	case e.turn <- struct{}{}:
		return func() { <-e.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Wait gives one answer when the condition is next met. Conditions that hold
// already answer at once; a cancelled context gives up the place.
func (e *Entry) Wait(ctx context.Context, cond container.WaitCondition) <-chan container.WaitResponse {
	w := &waiter{cond: cond, ch: make(chan container.WaitResponse, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.Record()
	if e.gone {
		w.ch <- Answer(r)
		return w.ch
	}
	if (cond == container.WaitConditionNotRunning || cond == "") && !r.State.Phase.Active() && r.State.Phase != record.Starting {
		w.ch <- Answer(r)
		return w.ch
	}
	e.waiters = append(e.waiters, w)
	context.AfterFunc(ctx, func() { e.forget(w) })
	return w.ch
}

// Answer is what a waiter is told of r. Why a start failed is told to whom
// asked for the start, not to those who wait for the end.
func Answer(r *record.Record) container.WaitResponse {
	return container.WaitResponse{StatusCode: int64(r.State.ExitCode)}
}

func (e *Entry) forget(w *waiter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, other := range e.waiters {
		if other == w {
			e.waiters = append(e.waiters[:i:i], e.waiters[i+1:]...)
			return
		}
	}
}

// Wake answers the waiters: those for the next exit always; those for not
// running where it will not be started again; those for removal where it is gone.
func (e *Entry) Wake(resp container.WaitResponse, again, removed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = e.gone || removed
	rest := e.waiters[:0:0]
	for _, w := range e.waiters {
		met := removed || w.cond == container.WaitConditionNextExit ||
			(w.cond != container.WaitConditionRemoved && !again)
		if met {
			w.ch <- resp
		} else {
			rest = append(rest, w)
		}
	}
	e.waiters = rest
}

// AddExec and DropExec keep the list of the container's execs; Execs reads it.
func (e *Entry) AddExec(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.execs = append(e.execs[:len(e.execs):len(e.execs)], id)
}

// DropExec removes an exec from the list.
func (e *Entry) DropExec(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	rest := make([]string, 0, len(e.execs))
	for _, x := range e.execs {
		if x != id {
			rest = append(rest, x)
		}
	}
	e.execs = rest
}

// Execs lists the ids of the container's execs; nil where there are none.
func (e *Entry) Execs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.execs) == 0 {
		return nil
	}
	return e.execs
}

// SetBackoff keeps how to end the wait of a restart policy.
func (e *Entry) SetBackoff(cancel context.CancelFunc) { e.cancelBackoff.Store(&cancel) }

// EndBackoff ends that wait, if there is one.
func (e *Entry) EndBackoff() {
	if cancel := e.cancelBackoff.Swap(nil); cancel != nil {
		(*cancel)()
	}
}
