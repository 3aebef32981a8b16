// Package jsonfile writes a container's output in the format of Docker's
// json-file log driver: one JSON object a line, files rotated by renaming.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"hoy/internal/log"
)

// MaxLine is the longest piece of a line that one record holds; a longer line
// is kept as several records, of which only the last ends in a newline. The
// number is Docker's.
const MaxLine = 16 << 10

// fileMode is Docker's too.
const fileMode = 0o640

// batches holds output buffers, so that an idle container has none. 160 KiB
// take what 64 KiB of ordinary lines become.
var batches = sync.Pool{New: func() any {
	b := make([]byte, 0, 160<<10)
	return &b
}}

// Stream is which of a process's outputs a piece came from.
type Stream uint8

// The two outputs; what a terminal shows is Stdout.
const (
	Stdout Stream = iota
	Stderr
)

// String is the name in the file.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Writer appends to one container's log. Its methods may be called from several
// goroutines. It never makes the container wait for anything but the page
// cache, and never fails: what a full disk refuses is counted and dropped, and
// writing goes on when there is room.
type Writer struct {
	cfg   log.Config
	attrs []byte // `"attrs":{…},` or nothing
	now   func() time.Time

	mu      sync.Mutex
	file    *os.File // nil after a rotation that could not make the new file
	size    int64
	partial [2][]byte // begun lines, without their newline
	dropped uint64
	closed  bool
}

// NewWriter opens, or makes, the file at cfg.Path. What an earlier writer left
// half-written is ended, and rotated files beyond cfg.MaxFiles are removed.
func NewWriter(cfg log.Config) (*Writer, error) {
	w := &Writer{cfg: cfg, now: time.Now}
	if len(cfg.Attrs) > 0 {
		attrs, err := json.Marshal(cfg.Attrs)
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", cfg.Path, err)
		}
		w.attrs = fmt.Appendf(nil, `"attrs":%s,`, attrs)
	}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if cfg.MaxSize > 0 {
		w.removeSurplus()
	}
	return w, nil
}

// removeSurplus removes rotated files beyond their number, up to the first
// that is not there.
func (w *Writer) removeSurplus() {
	n := max(w.cfg.MaxFiles, 1)
	for os.Remove(w.rotated(n)) == nil {
		n++
	}
}

// Write takes output as it was read, in pieces of any size. Lines that are not
// ended yet wait for their end, for MaxLine bytes, or for Flush.
func (w *Writer) Write(s Stream, p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	b := w.begin(s)
	defer b.release()
	if held := w.partial[s]; len(held) > 0 {
		p = w.completeHeld(&b, s, held, p)
	}
	for len(p) > 0 {
		end := bytes.IndexByte(p[:min(len(p), MaxLine)], '\n')
		switch {
		case end >= 0:
			b.add(p[:end], true)
			p = p[end+1:]
		case len(p) >= MaxLine:
			b.add(p[:MaxLine], false)
			p = p[MaxLine:]
		default:
			w.partial[s] = append(w.partial[s], p...)
			p = nil
		}
	}
	b.flush()
}

// completeHeld goes on with a begun line and returns what of p comes after it.
func (w *Writer) completeHeld(b *batch, s Stream, held, p []byte) []byte {
	room := MaxLine - len(held)
	end := bytes.IndexByte(p[:min(len(p), room)], '\n')
	switch {
	case end >= 0:
		held, p = append(held, p[:end]...), p[end+1:]
		b.add(held, true)
	case len(p) >= room:
		held, p = append(held, p[:room]...), p[room:]
		b.add(held, false)
	default:
		w.partial[s] = append(held, p...)
		return nil
	}
	// Kept for the next time only where small: a prompt, not a 16 KiB piece.
	w.partial[s] = nil
	if cap(held) <= 512 {
		w.partial[s] = held[:0]
	}
	return p
}

// Flush writes a begun line as it is; it is called when the stream has ended.
func (w *Writer) Flush(s Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.partial[s]) == 0 {
		return
	}
	b := w.begin(s)
	defer b.release()
	b.add(w.partial[s], false)
	w.partial[s] = nil
	b.flush()
}

// Dropped is how many records the disk had no room for.
func (w *Writer) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Close flushes both streams and closes the file. Writes after it do nothing.
func (w *Writer) Close() error {
	w.Flush(Stdout)
	w.Flush(Stderr)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// Suspend closes the file without ending begun lines, and returns them: another
// Writer goes on with them by Begun.
func (w *Writer) Suspend() [2][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.partial
	w.partial = [2][]byte{}
	if !w.closed && w.file != nil {
		_ = w.file.Close()
	}
	w.closed = true
	return lines
}

// Begun gives a new Writer the lines that an earlier one has begun.
func (w *Writer) Begun(lines [2][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = lines
}

// batch gathers the records of one Write.
type batch struct {
	w    *Writer
	pool *[]byte
	buf  []byte
	// tail is what follows the text of a record: stream, attributes, time.
	tail []byte
	room [256]byte // holds tail where there are no attributes
}

// begin returns a batch; w.mu is held until its release.
func (w *Writer) begin(s Stream) batch {
	b := batch{w: w, pool: batches.Get().(*[]byte)}
	b.buf = (*b.pool)[:0]
	b.tail = append(b.room[:0], `","stream":"`...)
	b.tail = append(b.tail, s.String()...)
	b.tail = append(b.tail, `",`...)
	b.tail = append(b.tail, w.attrs...)
	b.tail = append(b.tail, `"time":"`...)
	b.tail = w.now().UTC().AppendFormat(b.tail, time.RFC3339Nano)
	b.tail = append(b.tail, "\"}\n"...)
	return b
}

// release gives the buffer back unless it has grown out of proportion.
func (b *batch) release() {
	if cap(b.buf) <= 1<<20 {
		*b.pool = b.buf[:0]
	}
	batches.Put(b.pool)
}

// add appends one record, rotating before it where it would not fit any more.
func (b *batch) add(text []byte, newline bool) {
	at := len(b.buf)
	if newline || len(text) > 0 {
		b.buf = append(b.buf, `{"log":"`...)
		b.buf = appendEscaped(b.buf, text)
		if newline {
			b.buf = append(b.buf, '\\', 'n')
		}
	}
	b.buf = append(b.buf, b.tail...)
	limit := b.w.cfg.MaxSize
	if limit <= 0 || b.w.size+int64(len(b.buf)) <= limit || b.w.size+int64(at) == 0 {
		return
	}
	b.w.append(b.buf[:at])
	b.w.rotate()
	n := copy(b.buf, b.buf[at:])
	b.buf = b.buf[:n]
}

func (b *batch) flush() {
	b.w.append(b.buf)
	b.buf = b.buf[:0]
}

// append writes whole records. Of what a full disk takes only in part, the
// whole records stay.
func (w *Writer) append(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.file == nil && w.open() != nil {
		w.dropped += uint64(bytes.Count(p, newline))
		return
	}
	n, err := w.file.Write(p)
	if err == nil {
		w.size += int64(n)
		return
	}
	whole := bytes.LastIndexByte(p[:n], '\n') + 1
	w.dropped += uint64(bytes.Count(p[whole:], newline))
	w.size += int64(whole)
	// Takes no space, so a full disk does not refuse it.
	_ = w.file.Truncate(w.size)
}

var newline = []byte{'\n'}

// open opens the current file for appending.
func (w *Writer) open() error {
	f, err := os.OpenFile(w.cfg.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.size = f, fi.Size()
	var last [1]byte
	if w.size > 0 {
		if _, err := f.ReadAt(last[:], w.size-1); err == nil && last[0] != '\n' {
			w.append(newline)
		}
	}
	return nil
}

func (w *Writer) rotated(n int) string { return w.cfg.Path + "." + strconv.Itoa(n) }

// rotate sets the current file aside and begins a new one. A file that cannot
// be set aside is emptied: the size that was promised is kept.
func (w *Writer) rotate() {
	if w.file == nil {
		return
	}
	if w.cfg.MaxFiles >= 2 {
		for n := w.cfg.MaxFiles - 1; n > 1; n-- {
			_ = os.Rename(w.rotated(n-1), w.rotated(n)) // a gap in the numbers is no error
		}
		if os.Rename(w.cfg.Path, w.rotated(1)) == nil {
			_ = w.file.Close()
			w.file, w.size = nil, 0
			_ = w.open() // tried again by append
			return
		}
	}
	if w.file.Truncate(0) == nil {
		w.size = 0
	}
}
