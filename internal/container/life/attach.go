package life

import (
	"context"
	"encoding/binary"
	"net"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
	"hoy/internal/request"
)

// Attach of api/containers. It may come before the start.
func (l *Life) Attach(ctx context.Context, ref string, opt request.Attach) (*request.Stream, error) {
	e, err := l.Index.Find(ref)
	if err != nil {
		return nil, err
	}
	r := e.Record()
	switch r.State.Phase {
	case record.Paused:
		return nil, core.Conflict("container %s is paused, unpause the container before attach", r.ID)
	case record.Restarting:
		return nil, core.Conflict("container %s is restarting, wait until the container is running", r.ID)
	case record.Removing, record.Dead:
		return nil, core.Conflict("container %s is being removed", r.ID)
	}
	st := &request.Stream{TTY: r.Config.Tty}
	if opt.Logs {
		if st.Replay, err = l.replay(ctx, r, opt); err != nil {
			return nil, err
		}
	}
	if !opt.Stream {
		st.Conn = finished()
		return st, nil
	}
	req := monitor.AttachRequest{
		ID: monitor.ProcessID{Container: r.ID}, Stdio: start.Stdio(r),
		Stdin: opt.Stdin && r.Config.OpenStdin, Stdout: opt.Stdout, Stderr: opt.Stderr,
	}
	st.Conn, err = l.Monitor.Attach(ctx, req)
	if errdefs.IsNotFound(err) && !r.State.Phase.HasProcess() {
		// The last run has ended, and who records that has the turn until the
		// monitor has forgotten it.
		done, waited := e.Turn(ctx)
		if waited != nil {
			return nil, waited
		}
		done()
		st.Conn, err = l.Monitor.Attach(ctx, req)
	}
	if err != nil {
		return nil, err
	}
	l.Event(r, events.ActionAttach, nil)
	st.Detached = func() { l.Event(e.Record(), events.ActionDetach, nil) }
	return st, nil
}

// finished is a connection that has ended.
func finished() net.Conn {
	a, b := net.Pipe()
	_ = b.Close()
	return a
}

// replay gives what the log has, in the framing of the stream.
func (l *Life) replay(ctx context.Context, r *record.Record, opt request.Attach) (func(func([]byte) error) error, error) {
	if r.Log.Driver == "none" {
		return nil, core.Invalid("configured logging driver does not support reading")
	}
	return func(write func([]byte) error) error {
		for entry, err := range l.Logs(ctx, r.Log, deps.LogOptions{Stdout: opt.Stdout, Stderr: opt.Stderr, Tail: -1}, nil) {
			if err != nil {
				return err
			}
			chunk := entry.Line
			if !r.Config.Tty {
				chunk = Frame(entry.Stream, entry.Line)
			}
			if err := write(chunk); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Frame puts the eight bytes of Docker's multiplexed stream before data.
func Frame(stream string, data []byte) []byte {
	out := make([]byte, 8, 8+len(data))
	out[0] = 1
	if stream == "stderr" {
		out[0] = 2
	}
	binary.BigEndian.PutUint32(out[4:], uint32(len(data)))
	return append(out, data...)
}
