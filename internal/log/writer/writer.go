// Package writer keeps a container's output in files: it finds the lines,
// writes them in the driver's format, rotates, and compresses what was rotated.
package writer

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"hoy/internal/log"
)

// batches holds output buffers, so that an idle container has none. 160 KiB
// take what 64 KiB of ordinary lines become in JSON.
var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, 160<<10)} }}

const (
	// flushAt bounds a batch: a write may be of any size.
	flushAt = 512 << 10
	// keepBuffer is the largest buffer that goes back to the pool.
	keepBuffer = 1 << 20
)

// Writer appends to one container's log. It never makes the container wait for
// anything but the page cache, unless its Config says so, and never fails: what
// a full disk refuses is counted and dropped, and writing goes on when there is room.
type Writer struct {
	cfg    log.Config
	files  files
	format format
	now    func() time.Time
	// released ends all waiting.
	released chan struct{}
	once     sync.Once

	mu      sync.Mutex
	file    *os.File // nil after a rotation that could not make the new file
	size    int64
	next    uint64        // number of the next record, where the format counts
	partial [2][]byte     // begun lines, without their newline
	dropped atomic.Uint64 // read while a disk may hold up everything else
	lost    uint64        // of those dropped, how many the log does not show yet
	why     string
	closed  bool
	job     *job
	// replaced: another Writer has the files now.
	replaced bool
}

var _ log.Writer = (*Writer)(nil)

// Open opens, or makes, the log that cfg describes. What an earlier writer left
// half-written is ended, and rotated files beyond cfg.MaxFiles are removed.
func Open(cfg log.Config) (log.Writer, error) {
	w, err := open(cfg)
	if err != nil || cfg.Buffer <= 0 {
		return w, err
	}
	return newRing(w, cfg.Buffer), nil
}

func open(cfg log.Config) (*Writer, error) {
	w := &Writer{cfg: cfg, files: files(cfg.Path), now: time.Now, released: make(chan struct{})}
	var err error
	if w.format, err = newFormat(&cfg); err != nil {
		return nil, fmt.Errorf("log %s: %w", cfg.Path, err)
	}
	w.supersede()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if cfg.MaxSize > 0 {
		w.removeSurplus()
	}
	w.compress()
	return w, nil
}

// Write of log.Writer.
func (w *Writer) Write(s log.Stream, p []byte) { w.WriteAt(s, w.now(), p) }

// WriteAt of log.Writer.
func (w *Writer) WriteAt(s log.Stream, at time.Time, p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	b := w.begin(s, at)
	defer b.release()
	if held := w.partial[s]; len(held) > 0 {
		p = w.completeHeld(b, s, held, p)
	}
	for len(p) > 0 {
		end := bytes.IndexByte(p[:min(len(p), log.MaxLine)], '\n')
		switch {
		case end >= 0:
			b.add(p[:end], true)
			p = p[end+1:]
		case len(p) >= log.MaxLine:
			b.add(p[:log.MaxLine], false)
			p = p[log.MaxLine:]
		default:
			w.partial[s] = append(w.partial[s], p...)
			p = nil
		}
	}
	b.flush()
}

// completeHeld goes on with a begun line and returns what of p comes after it.
func (w *Writer) completeHeld(b *batch, s log.Stream, held, p []byte) []byte {
	room := log.MaxLine - len(held)
	end := bytes.IndexByte(p[:min(len(p), room)], '\n')
	switch {
	case end >= 0:
		held, p = append(held, p[:end]...), p[end+1:]
		w.partial[s] = nil
		b.add(held, true)
	case len(p) >= room:
		held, p = append(held, p[:room]...), p[room:]
		w.partial[s] = nil
		b.add(held, false)
	default:
		w.partial[s] = append(held, p...)
		return nil
	}
	// Kept for the next time only where small: a prompt, not a 16 KiB piece.
	if cap(held) <= 512 && w.partial[s] == nil {
		w.partial[s] = held[:0]
	}
	return p
}

// Flush of log.Writer.
func (w *Writer) Flush(s log.Stream) { w.FlushAt(s, w.now()) }

// FlushAt of log.Writer.
func (w *Writer) FlushAt(s log.Stream, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.partial[s]) == 0 {
		return
	}
	b := w.begin(s, at)
	defer b.release()
	line := w.partial[s]
	w.partial[s] = nil
	b.add(line, false)
	b.flush()
}

// Dropped of log.Writer.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// miss counts records that never came this far; the log shows where.
func (w *Writer) miss(n uint64, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(n, why)
}

// drop counts; w.mu is held.
func (w *Writer) drop(n uint64, why string) {
	w.dropped.Add(n)
	w.lost += n
	w.why = why
}

// Release of log.Writer.
func (w *Writer) Release() { w.once.Do(func() { close(w.released) }) }

// Close of log.Writer.
func (w *Writer) Close() error {
	w.Release()
	w.Flush(log.Stdout)
	w.Flush(log.Stderr)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	if w.lost > 0 {
		_ = w.ready() // shows a gap at the end, if there is room
	}
	w.closed = true
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// Suspend of log.Writer.
func (w *Writer) Suspend() [2][]byte {
	w.Release()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.partial
	w.partial = [2][]byte{}
	if !w.closed && w.file != nil {
		_ = w.file.Close()
	}
	w.closed, w.replaced = true, true
	return lines
}

// Begun of log.Writer.
func (w *Writer) Begun(lines [2][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = lines
}

// batch gathers the records of one Write.
type batch struct {
	w   *Writer
	s   log.Stream
	at  time.Time
	buf []byte
	n   uint64 // records in buf
	// tail is what follows the text of a record, in JSON.
	tail []byte
}

// begin returns a batch; w.mu is held until its release.
func (w *Writer) begin(s log.Stream, at time.Time) *batch {
	b := batches.Get().(*batch)
	b.w, b.s, b.at, b.buf, b.n = w, s, at, b.buf[:0], 0
	w.format.begin(b)
	return b
}

func (b *batch) release() {
	b.w = nil
	if cap(b.buf) <= keepBuffer {
		batches.Put(b)
	}
}

// add takes one record, rotating before it where it would not fit any more.
func (b *batch) add(text []byte, newline bool) {
	w := b.w
	at := len(b.buf)
	w.format.add(b, text, newline)
	b.n++
	limit := w.cfg.MaxSize
	if limit > 0 && w.size+int64(len(b.buf)+w.format.slack()) > limit && (w.size > 0 || at > 0) {
		b.buf = b.buf[:at]
		b.n--
		b.flush()
		w.rotate()
		w.format.add(b, text, newline)
		b.n++
	}
	if len(b.buf) >= flushAt {
		b.flush()
	}
}

// flush writes what was gathered.
func (b *batch) flush() {
	if b.n == 0 {
		return
	}
	w, n := b.w, b.n
	if err := w.ready(); err != nil {
		w.drop(n, reason(err))
	} else {
		w.format.end(b, w.next)
		w.append(b.buf, n)
	}
	b.buf, b.n = b.buf[:0], 0
}

// ready opens the file where there is none, begins a new one, and shows what was dropped.
func (w *Writer) ready() error {
	if w.file == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	if w.size == 0 {
		if head := w.format.head(w.next, w.now()); len(head) > 0 {
			if err := w.write(head); err != nil {
				return err
			}
		}
	}
	if w.lost == 0 {
		return nil
	}
	if err := w.write(w.format.gap(gapText(w.lost, w.why), w.lost, w.next, w.now())); err != nil {
		return err
	}
	w.next++
	w.lost = 0
	return nil
}

// gapText is the line in a log that stands for those that were dropped.
func gapText(n uint64, why string) string {
	return fmt.Sprintf("hoy: %d log records were dropped here: %s\n", n, why)
}

// append writes n whole records. Of what a full disk takes only in part, the
// whole records stay.
func (w *Writer) append(p []byte, n uint64) {
	got, err := w.file.Write(p)
	if err == nil {
		w.size += int64(got)
		w.next += n
		return
	}
	whole, left := w.format.whole(p[:got], n)
	w.size += int64(whole)
	w.next += n - left
	w.drop(left, reason(err))
	// Takes no space, so a full disk does not refuse it.
	_ = w.file.Truncate(w.size)
}

// write writes p or nothing.
func (w *Writer) write(p []byte) error {
	if _, err := w.file.Write(p); err != nil {
		_ = w.file.Truncate(w.size)
		return err
	}
	w.size += int64(len(p))
	return nil
}
