// Package forward carries logs from the files that the monitor writes to where
// their drivers send them. How far each one has come is beside its file, so
// that the daemon may be killed at any time: nothing is left out, and what the
// receiver had not acknowledged is sent again.
package forward

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"hoy/internal/durable"
	"hoy/internal/log"
	"hoy/internal/log/options"
	"hoy/internal/log/reader"
	"hoy/internal/log/writer"
)

// Target is one container's log and where it goes.
type Target struct {
	Log  log.Config   `json:"log"`
	Info options.Info `json:"info"`
}

const (
	// pace is how often the position is looked at and written down while entries flow.
	pace = 200 * time.Millisecond
	// syncPace is how often it is made to outlast a power cut.
	syncPace = 5 * time.Second
	// ahead is how many entries are read before they are sent.
	ahead = 64
	// flushAt is how many bytes go to the kernel at once, maxPending how many
	// entries are sent before it is noted which they were.
	flushAt    = 32 << 10
	maxPending = 256
	// maxOnTheWay bounds what is sent and not taken.
	maxOnTheWay = 1 << 20
	// tellPace is how often the same trouble is told.
	tellPace = time.Minute
)

// backoff between attempts to reach a server.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 10 * time.Second
)

// forwarder is one Target on its way.
type forwarder struct {
	Target
	log    *slog.Logger
	socket string
	cancel context.CancelFunc
	ended  <-chan struct{}
	// stopping is closed when the daemon is about to end.
	stopping <-chan struct{}
	// done is closed when it does nothing any more; drained says that nothing is left.
	done    chan struct{}
	drained bool

	next    uint64 // the number of the first record that was not acknowledged
	expect  uint64 // the number of the next record to be read
	pending int    // entries that no mark counts yet
	taken   int64
	saved   uint64
	synced  time.Time
	looked  time.Time
	told    time.Time
	marks   []mark
	dropped atomic.Uint64
	all     *atomic.Uint64 // of the manager
	sent    atomic.Uint64
	failing atomic.Bool
	// moved: the files are another forwarder's now.
	moved atomic.Bool
}

// errStopping: what was sent is seen to be taken, and no more is begun.
var errStopping = errors.New("the daemon ends")

// mark says that all records before next are in the first n bytes.
type mark struct {
	n    int64
	next uint64
}

func (f *forwarder) path() string { return f.Log.SentPath() }

// run forwards until the log has ended and all of it was taken, or ctx ends.
func (f *forwarder) run(ctx context.Context) {
	f.next = max(f.next, writer.Sent(f.path()))
	f.saved = f.next
	wait := firstWait
	for ctx.Err() == nil {
		before := f.next
		done, err := f.session(ctx)
		f.save(true)
		if done || ctx.Err() != nil || errors.Is(err, errStopping) {
			f.drained = done
			return
		}
		f.tell(err)
		if f.next > before {
			wait = firstWait
		}
		select {
		case <-f.stopping:
			return
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
	}
}

// tell logs a failure, seldom.
func (f *forwarder) tell(err error) {
	f.failing.Store(true)
	if err == nil || time.Since(f.told) < tellPace {
		return
	}
	f.told = time.Now()
	f.log.Warn("a container's log is not taken by its server; it is kept and sent later",
		"container", f.Info.ID(), "driver", f.Log.Driver, "error", err)
}

// session is one connection's life. It is made when there is something to send.
func (f *forwarder) session(ctx context.Context) (done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	entries, failed := f.read(ctx)
	f.marks, f.pending, f.expect = f.marks[:0], 0, f.next
	var out sink
	defer func() {
		if out != nil {
			_ = out.Close()
		}
	}()
	for {
		e, ok, err := f.receive(ctx, entries, out)
		if errors.Is(err, errStopping) && out != nil {
			_ = f.flush(out)
			_ = f.settle(ctx, out)
		}
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		if out == nil {
			if out, err = sinks[f.Log.Driver](ctx, &f.Target, f.socket); err != nil {
				return false, err
			}
			f.recovered()
		}
		if err := f.send(out, &e); err != nil {
			return false, err
		}
	}
	if err := errors.Join(*failed, ctx.Err()); err != nil {
		return false, err
	}
	if out == nil {
		return true, nil
	}
	if err := f.flush(out); err != nil {
		return false, err
	}
	err = f.settle(ctx, out)
	return err == nil, err
}

// send hands over one entry.
func (f *forwarder) send(out sink, e *log.Entry) error {
	if e.Seq > f.expect {
		f.missed(e.Seq - f.expect)
	}
	f.expect = e.Seq + 1
	if err := out.Send(e); err != nil {
		return err
	}
	f.sent.Add(1)
	if f.pending++; f.pending < maxPending && out.Buffered() < flushAt {
		return nil
	}
	return f.flush(out)
}

// read goes through the log from the first record that was not acknowledged.
// The error is valid when the channel is closed.
func (f *forwarder) read(ctx context.Context) (<-chan log.Entry, *error) {
	entries := make(chan log.Entry, ahead)
	failed := new(error)
	go func() {
		defer close(entries)
		for e, err := range reader.From(ctx, f.Log, f.next, f.ended) {
			if err != nil {
				*failed = err
				return
			}
			e.Line = bytes.Clone(e.Line)
			select {
			case entries <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return entries, failed
}

// receive gives the next entry; while there is none, what was sent is flushed
// and seen to be taken. ok is false at the end of the log.
func (f *forwarder) receive(ctx context.Context, entries <-chan log.Entry, out sink) (e log.Entry, ok bool, err error) {
	select {
	case <-f.stopping:
		return e, false, errStopping
	default:
	}
	select {
	case e, ok = <-entries:
		return e, ok, nil
	default:
	}
	if out != nil {
		if err := f.flush(out); err != nil {
			return e, false, err
		}
	}
	for {
		var again <-chan time.Time
		if len(f.marks) > 0 || f.saved != f.next {
			again = time.After(pace)
		}
		select {
		case e, ok = <-entries:
			return e, ok, nil
		case <-f.stopping:
			return e, false, errStopping
		case <-ctx.Done():
			return e, false, ctx.Err()
		case <-again:
		}
		if out != nil {
			if err := f.acknowledge(out); err != nil {
				return e, false, err
			}
		}
		f.save(false)
	}
}

// flush gives the kernel what waits, and sees now and then what was taken.
func (f *forwarder) flush(out sink) error {
	if f.pending == 0 {
		return nil
	}
	if err := out.Flush(); err != nil {
		return err
	}
	f.marks = append(f.marks, mark{n: out.Written(), next: f.expect})
	f.pending = 0
	if out.Written()-f.taken > maxOnTheWay {
		return f.settle(context.Background(), out) // a connection that ends says so
	}
	if time.Since(f.looked) < pace {
		return nil
	}
	if err := f.acknowledge(out); err != nil {
		return err
	}
	f.save(false)
	return nil
}

// acknowledge moves the position behind what was taken.
func (f *forwarder) acknowledge(out sink) error {
	f.looked = time.Now()
	n, err := out.Taken()
	if err != nil {
		return err
	}
	f.taken = max(f.taken, n)
	for len(f.marks) > 0 && f.marks[0].n <= n {
		f.next = f.marks[0].next
		f.marks = f.marks[1:]
	}
	return nil
}

// settle waits until all that was sent is taken.
func (f *forwarder) settle(ctx context.Context, out sink) error {
	for wait := time.Millisecond; ; wait = min(2*wait, pace) {
		if err := f.acknowledge(out); err != nil || len(f.marks) == 0 {
			return err
		}
		f.save(false)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// save writes the position down. The file may be lost in a power cut, which
// repeats entries; now and at the end it is made to last.
func (f *forwarder) save(last bool) {
	if f.saved == f.next || f.moved.Load() {
		return
	}
	text := writer.SentText(f.next)
	var err error
	if last || time.Since(f.synced) > syncPace {
		f.synced = time.Now()
		err = durable.WriteFile(f.path(), text, 0o600)
	} else {
		tmp := f.path() + ".new"
		if err = os.WriteFile(tmp, text, 0o600); err == nil { //nolint:forbidigo // an older position is right as well
			err = os.Rename(tmp, f.path())
		}
	}
	if err == nil || errors.Is(err, os.ErrNotExist) { // its container is removed
		f.saved = f.next
		return
	}
	f.tell(err)
}

// missed counts records that the files had no room for until they were sent.
func (f *forwarder) missed(n uint64) {
	f.dropped.Add(n)
	f.all.Add(n)
	f.log.Warn("log records were thrown away before their server took them; mode=blocking would keep them",
		"container", f.Info.ID(), "driver", f.Log.Driver, "records", n)
}

func (f *forwarder) recovered() {
	f.taken = 0
	if f.failing.Swap(false) {
		f.told = time.Time{}
		f.log.Info("a container's log is taken again", "container", f.Info.ID(), "driver", f.Log.Driver)
	}
}
