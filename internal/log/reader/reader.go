// Package reader reads a container's log back: across rotated files, from the
// end, between two times, and following what is still being written.
package reader

import (
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
	"hoy/internal/log/local"
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

// From yields the entries of a log in the format of local from the record of
// that number on, or from the first one behind it that is still there, and goes
// on like Read that follows.
func From(ctx context.Context, cfg log.Config, number uint64, ended <-chan struct{}) iter.Seq2[log.Entry, error] {
	cfg.Unreadable = false
	return read(ctx, cfg, ReadOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}, number, ended)
}

// Read yields the entries that opt asks for, oldest first. An entry's Line and
// Attrs are valid until the next one is asked for. A record that cannot be read
// is skipped; an error ends the sequence. No log yet is an empty one.
//
// With Follow it ends when ctx does, when Until has passed, or when ended is
// closed and everything written by then was read; a nil ended is never closed.
// errdefs.ErrNotImplemented is the answer where the driver keeps nothing.
func Read(ctx context.Context, cfg log.Config, opt ReadOptions, ended <-chan struct{}) iter.Seq2[log.Entry, error] {
	return read(ctx, cfg, opt, 0, ended)
}

func read(ctx context.Context, cfg log.Config, opt ReadOptions, from uint64, ended <-chan struct{}) iter.Seq2[log.Entry, error] {
	return func(yield func(log.Entry, error) bool) {
		if cfg.Driver == log.None || cfg.Path == "" || cfg.Unreadable {
			yield(log.Entry{}, errdefs.ErrNotImplemented.WithMessage("configured logging driver does not support reading"))
			return
		}
		r := &reader{ctx: ctx, path: cfg.Path, opt: opt, from: from, codec: newCodec(&cfg, from), ended: ended, yield: yield}
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
	files   []*source         // the one being read, then newer ones
	entered *source           // what the codec was told of
	codec   codec
	from    uint64

	buf     []byte
	begin   int  // what is before it was handed over
	end     int  // what is behind it was not read yet
	stopped bool // nothing more is wanted
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
	if err := r.seek(); err != nil {
		return err
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

// seek moves to the first record that is wanted, without reading all before it.
func (r *reader) seek() (err error) {
	if r.opt.Tail >= 0 {
		if r.files, err = seekTail(r.files, uint64(r.opt.Tail), r.codec); err != nil {
			return err
		}
	}
	if !r.opt.Since.IsZero() {
		for _, s := range r.files {
			if err := s.since(r.opt.Since, r.codec); err != nil {
				return err
			}
		}
	}
	if r.from > 0 {
		r.files = seekNumber(r.files, r.from)
	}
	return nil
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
	r.files[0].close()
	r.files = r.files[1:]
	r.begin, r.end = 0, 0
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
	fi, err := current.f.Stat()
	if err != nil {
		return false, err
	}
	if !current.packed {
		offset, err := current.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return false, err
		}
		if fi.Size() < offset {
			_, err := current.f.Seek(0, io.SeekStart)
			r.begin, r.end, r.entered = 0, 0, nil
			return true, err
		}
	}
	now, err := os.Stat(r.path)
	if rotated := err == nil && !os.SameFile(now, fi); !rotated {
		return false, nil // or in the middle of it
	}
	newer, err := openNewer(r.path, current)
	if err != nil || len(newer) == 0 {
		return false, err
	}
	r.files = append(r.files, newer...)
	// Once more, for what was written between our last read and the rotation.
	return true, nil
}

// drainFile hands over the whole records from the current place to the end.
func (r *reader) drainFile(s *source) error {
	if r.entered != s {
		r.codec.enter(s)
		s.skip, r.entered = 0, s
	}
	for {
		select {
		case <-r.ctx.Done():
			r.stopped = true
			return nil
		default:
		}
		r.makeRoom()
		n, err := s.Read(r.buf[r.end:])
		r.end += n
		ended := errors.Is(err, io.EOF) || n == 0 && err == nil
		last := ended && (s.packed || len(r.files) > 1 || !r.opt.Follow)
		r.begin += r.codec.records(r.buf[r.begin:r.end], last, r.hand)
		if r.stopped || ended {
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
	r.end = 0
	r.codec.overflow()
}

// hand chooses; false is that nothing more is wanted.
func (r *reader) hand(e log.Entry) bool {
	switch {
	case !r.opt.Until.IsZero() && e.Time.After(r.opt.Until):
		r.stopped = true
	case !r.opt.Since.IsZero() && e.Time.Before(r.opt.Since):
	case e.Stream == "stdout" && !r.opt.Stdout, e.Stream == "stderr" && !r.opt.Stderr:
	default:
		r.stopped = !r.yield(e, nil)
	}
	return !r.stopped
}

// seekNumber leaves out what is before the record of that number.
func seekNumber(files []*source, number uint64) []*source {
	for len(files) > 1 {
		first, ok := files[1].first()
		if !ok || first > number {
			break
		}
		files[0].close()
		files = files[1:]
	}
	if len(files) > 0 && files[0].index != nil {
		s := files[0]
		for s.start+1 < len(s.index.Blocks) && s.index.Blocks[s.start+1].First <= number {
			s.start++
		}
	}
	return files
}

// first is the number of the first record of a file in the format of local.
func (s *source) first() (uint64, bool) {
	if !s.packed {
		return local.First(s.f)
	}
	if s.index == nil || len(s.index.Blocks) == 0 {
		return 0, false
	}
	return s.index.Blocks[0].First, true
}
