// Package reader reads a container's log back: across rotated files, from the
// end, between two times, and following what is still being written.
package reader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/fsnotify/fsnotify"

	"hoy/internal/log"
)

const (
	blockSize = 128 << 10
	// maxRecord bounds one line of the file; a longer one is skipped.
	maxRecord = 4 << 20
	// recheck is how often a followed file is looked at without having been
	// told: where the machine has no inotify instance left, it is all there is.
	recheck = 200 * time.Millisecond
)

// ReadOptions say what of a log is wanted. Streams are left out unless named.
type ReadOptions struct {
	Stdout bool
	Stderr bool
	// Follow goes on with what is written from now on.
	Follow bool
	// Since and Until bound the time of the entries, both included; zero is no bound.
	Since time.Time
	Until time.Time
	// Tail is how many of the last records (of either stream, before any other
	// choice) to begin with; negative is all.
	Tail int
}

// Read yields the entries that opt asks for, oldest first. An entry's Line and
// Attrs are valid until the next one is asked for. A record that cannot be read
// is skipped; an error ends the sequence. No log yet is an empty one.
//
// With Follow it ends when ctx does, when Until has passed, or when ended is
// closed and everything written by then was read; a nil ended is never closed.
// errdefs.ErrNotImplemented is the answer where the driver keeps nothing.
func Read(ctx context.Context, cfg log.Config, opt ReadOptions, ended <-chan struct{}) iter.Seq2[log.Entry, error] {
	return func(yield func(log.Entry, error) bool) {
		if cfg.Driver == "none" || cfg.Path == "" {
			yield(log.Entry{}, errdefs.ErrNotImplemented.WithMessage("configured logging driver does not support reading"))
			return
		}
		r := &reader{ctx: ctx, path: cfg.Path, opt: opt, ended: ended, yield: yield}
		defer r.close()
		if err := r.run(); err != nil {
			yield(log.Entry{}, fmt.Errorf("read log: %w", err))
		}
	}
}

// reader is one run of Read.
type reader struct {
	ctx   context.Context
	path  string
	opt   ReadOptions
	ended <-chan struct{}
	yield func(log.Entry, error) bool

	watcher *fsnotify.Watcher // nil where there is none to be had
	files   []*os.File        // the one being read, then newer ones
	decoder decoder

	buf      []byte
	begin    int  // what is before it was handed over
	end      int  // what is behind it was not read yet
	skipping bool // inside a line that is too long
	stopped  bool // nothing more is wanted
}

func (r *reader) close() {
	closeAll(r.files)
	if r.watcher != nil {
		_ = r.watcher.Close()
	}
}

func (r *reader) run() (err error) {
	if r.opt.Follow {
		r.watch() // before the first look, so that no change is missed
	}
	if r.files, err = openAll(r.path); err != nil {
		return err
	}
	if r.opt.Tail >= 0 {
		if r.files, err = seekTail(r.files, r.opt.Tail); err != nil {
			return err
		}
	}
	r.buf = make([]byte, blockSize)
	for {
		last := !r.opt.Follow || r.isEnded() // asked before reading, for what is written until then
		if err := r.drain(); err != nil || r.stopped {
			return err
		}
		if last {
			return nil
		}
		if !r.wait() {
			return nil
		}
	}
}

func (r *reader) isEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// watch asks to be told of changes in the log's directory: the file itself may
// not exist yet, and is another one after a rotation.
func (r *reader) watch() {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return
	}
	if err := w.Add(filepath.Dir(r.path)); err != nil {
		_ = w.Close()
		return
	}
	r.watcher = w
}

// wait returns when there may be more to read; false is the end.
func (r *reader) wait() bool {
	var events <-chan fsnotify.Event
	var errs <-chan error
	if r.watcher != nil {
		events, errs = r.watcher.Events, r.watcher.Errors
	}
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
		return false
	case <-events:
	case <-errs: // lost events: look at everything again
	case <-r.ended:
	case <-timer.C:
	}
	return r.opt.Until.IsZero() || time.Now().Before(r.opt.Until.Add(recheck))
}

// drain reads to the end of everything that is there now.
func (r *reader) drain() error {
	for {
		for len(r.files) > 0 {
			if err := r.drainFile(r.files[0]); err != nil || r.stopped {
				return err
			}
			if len(r.files) == 1 {
				break
			}
			r.next()
		}
		more, err := r.more()
		if err != nil || !more {
			return err
		}
	}
}

// next leaves the current file; a line that has no end in it has none.
func (r *reader) next() {
	_ = r.files[0].Close()
	r.files = r.files[1:]
	r.begin, r.end, r.skipping = 0, 0, false
}

// more looks for files that are newer than the current one, and for one that
// was emptied.
func (r *reader) more() (bool, error) {
	if !r.opt.Follow {
		return false, nil
	}
	if len(r.files) == 0 {
		files, err := openAll(r.path)
		r.files = files
		return len(files) > 0, err
	}
	current := r.files[0]
	fi, err := current.Stat()
	if err != nil {
		return false, err
	}
	offset, err := current.Seek(0, io.SeekCurrent)
	if err != nil {
		return false, err
	}
	if fi.Size() < offset {
		_, err := current.Seek(0, io.SeekStart)
		r.begin, r.end, r.skipping = 0, 0, false
		return true, err
	}
	now, err := os.Stat(r.path)
	if rotated := err == nil && !os.SameFile(now, fi); !rotated {
		return false, nil // or in the middle of it
	}
	newer, err := openNewer(r.path, fi)
	if err != nil || len(newer) == 0 {
		return false, err
	}
	r.files = append(r.files, newer...)
	// Once more, for what was written between our last read and the rotation.
	return true, nil
}

// drainFile hands over the whole records from the current place to the end.
func (r *reader) drainFile(f *os.File) error {
	for {
		select {
		case <-r.ctx.Done():
			r.stopped = true
			return nil
		default:
		}
		r.makeRoom()
		n, err := f.Read(r.buf[r.end:])
		r.end += n
		r.records()
		if r.stopped || errors.Is(err, io.EOF) || (n == 0 && err == nil) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makeRoom moves the begun record to the front, and grows the buffer for a long one.
func (r *reader) makeRoom() {
	if r.begin > 0 {
		copy(r.buf, r.buf[r.begin:r.end])
		r.begin, r.end = 0, r.end-r.begin
	}
	if r.end < len(r.buf) {
		return
	}
	if len(r.buf) < maxRecord {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
		return
	}
	r.end, r.skipping = 0, true
}

// records hands over the whole records in the buffer.
func (r *reader) records() {
	for !r.stopped {
		at := bytes.IndexByte(r.buf[r.begin:r.end], '\n')
		if at < 0 {
			if r.skipping {
				r.begin, r.end = 0, 0
			}
			return
		}
		line := r.buf[r.begin : r.begin+at]
		r.begin += at + 1
		if r.skipping {
			r.skipping = false
			continue
		}
		if e, ok := r.decoder.decode(line); ok {
			r.hand(e)
		}
	}
}

func (r *reader) hand(e log.Entry) {
	switch {
	case !r.opt.Until.IsZero() && e.Time.After(r.opt.Until):
		r.stopped = true
	case !r.opt.Since.IsZero() && e.Time.Before(r.opt.Since):
	case e.Stream == "stdout" && !r.opt.Stdout, e.Stream == "stderr" && !r.opt.Stderr:
	default:
		r.stopped = !r.yield(e, nil)
	}
}
