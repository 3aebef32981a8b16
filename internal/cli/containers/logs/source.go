package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// line is a line of a log, or the last piece of one, with what ends it.
type line struct {
	at    time.Time // zero where no time was asked for
	stamp []byte    // the time as the engine wrote it
	text  []byte
	err   bool // of standard error
}

// bare is the line without what ends it.
func (l line) bare() []byte { return bytes.TrimRight(l.text, "\r\n") }

// source is one container whose log is read.
type source struct {
	r    *request
	name string
	opt  client.ContainerLogsOptions

	// id and started are of the run that is read.
	id      string
	started string
	// last is the time of the last line, same how many lines have it: a stream
	// that goes on there passes over those.
	last       time.Time
	same, skip int
}

// read gives the lines that are wanted, in order.
func (s *source) read(ctx context.Context, emit func(line) error) error {
	if !s.r.restarts {
		return s.once(ctx, emit)
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	starts := s.r.api.Events(watched, client.EventsListOptions{
		Filters: client.Filters{}.Add("type", string(events.ContainerEventType)).Add("event", string(events.ActionStart)).Add("container", s.name),
	})
	if err := s.once(ctx, emit); err != nil {
		return err
	}
	for {
		again, err := s.next(ctx)
		if err != nil {
			return err
		}
		if again {
			if err := s.once(ctx, emit); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			continue
		}
		select {
		case <-starts.Messages:
		case err := <-starts.Err:
			return fmt.Errorf("wait for %s to start again: %w", s.name, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next says whether the container has another run than the one that was read,
// and sets the options to go on where that ended.
func (s *source) next(ctx context.Context) (bool, error) {
	info, err := s.r.api.ContainerInspect(ctx, s.name, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return false, nil // another of the name may come
	case err != nil:
		return false, err
	}
	c := info.Container
	if c.ID == s.id && c.State.StartedAt == s.started {
		return false, nil
	}
	s.opt.Tail, s.opt.Since, s.skip = "all", "", 0
	switch {
	case c.ID != s.id: // made anew: its log is its own
	case !s.last.IsZero():
		s.opt.Since, s.skip = fmt.Sprintf("%d.%09d", s.last.Unix(), s.last.Nanosecond()), s.same
	default:
		s.opt.Since = s.started // nothing of that run was written, or nothing is told of its times
	}
	return true, nil
}

// once reads the log up to its end, which is the container's when following.
func (s *source) once(ctx context.Context, emit func(line) error) error {
	info, err := s.r.api.ContainerInspect(ctx, s.name, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	c := info.Container
	s.id, s.started = c.ID, c.State.StartedAt
	stream, err := s.r.api.ContainerLogs(ctx, c.ID, s.opt)
	if err != nil {
		return err
	}
	defer stream.Close()
	out := &splitter{stamped: s.opt.Timestamps, frames: !c.Config.Tty, emit: func(l line) error { return s.pass(l, emit) }}
	errs := &splitter{stamped: out.stamped, frames: true, err: true, emit: out.emit}
	if c.Config.Tty {
		_, err = io.Copy(out, stream)
	} else {
		_, err = stdcopy.StdCopy(out, errs, stream)
	}
	return errors.Join(err, out.flush(), errs.flush())
}

// pass leaves out what was read before and what is not wanted.
func (s *source) pass(l line, emit func(line) error) error {
	switch {
	case l.at.IsZero():
	case !l.at.Equal(s.last):
		s.last, s.same, s.skip = l.at, 1, 0
	case s.skip > 0:
		s.skip--
		return nil
	default:
		s.same++
	}
	if !s.r.wanted(l) {
		return nil
	}
	return emit(l)
}

// maxLine bounds what is kept of a line that does not end, in bytes.
const maxLine = 1 << 20

// splitter makes lines of what is written. Where there are times, each line
// begins with one; with frames, each write does, and a line may be of several.
type splitter struct {
	stamped, frames, err bool
	emit                 func(line) error
	part                 line
}

func (p *splitter) Write(data []byte) (int, error) {
	rest := data
	for len(rest) > 0 {
		if first := len(rest) == len(data); p.stamped && p.frames && (first || len(p.part.text) == 0) {
			if rest = p.take(rest); len(rest) == 0 {
				break
			}
		}
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		p.part.text = append(p.part.text, rest[:end]...)
		if rest = rest[end:]; p.part.text[len(p.part.text)-1] == '\n' || len(p.part.text) >= maxLine {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(data), nil
}

// take takes the time off what begins with one; the first of a line's pieces has the line's.
func (p *splitter) take(data []byte) []byte {
	at, stamp, rest := cut(data)
	if len(p.part.text) == 0 {
		p.part.at, p.part.stamp = at, bytes.Clone(stamp)
	}
	return rest
}

// cut takes the time off the beginning, where there is one.
func cut(data []byte) (at time.Time, stamp, rest []byte) {
	stamp, rest, ok := bytes.Cut(data, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return time.Time{}, nil, data
	}
	return at, stamp, rest
}

// flush emits what is there as a line.
func (p *splitter) flush() error {
	l := p.part
	p.part = line{}
	if len(l.text) == 0 {
		return nil
	}
	if p.stamped && !p.frames {
		l.at, l.stamp, l.text = cut(l.text)
	}
	l.err = p.err
	return p.emit(l)
}
