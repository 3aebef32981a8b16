package health

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/monitor"
	"hoy/internal/request"

	"golang.org/x/sys/unix"
)

// Execs runs commands in containers.
type Execs interface {
	ExecCreate(ctx context.Context, ref string, req *container.ExecCreateRequest) (string, error)
	ExecStart(ctx context.Context, id string, opt request.ExecStart) (*request.Stream, error)
	ExecInspect(ctx context.Context, id string) (container.ExecInspectResponse, error)
}

type commandProber struct {
	core  *core.Core
	execs Execs
	id    string
	argv  []string
	// before is closed when the last command has ended; nil before the first.
	before chan struct{}
}

// command probes by a command in the container.
func command(c *core.Core, execs Execs, e *index.Entry, h *container.HealthConfig) Prober {
	argv := h.Test[1:]
	if h.Test[0] == "CMD-SHELL" {
		shell := e.Record().Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		argv = append(shell[:len(shell):len(shell)], argv...)
	}
	return &commandProber{core: c, execs: execs, id: e.ID, argv: argv}
}

func (*commandProber) Close() {}

// errHangs is the result while a command of before, which was killed, hangs in
// the kernel: one more would hang with it.
var errHangs = errors.New("the health check before does not end, though it was killed")

// Probe runs the command; where ctx ends first it is killed, and nobody waits
// for its end. In a container that hangs or was frozen it may not even begin.
func (p *commandProber) Probe(ctx context.Context) (int, string, error) {
	if p.before != nil {
		select {
		case <-p.before:
		case <-ctx.Done():
			return -1, "", errHangs
		}
	}
	p.before = make(chan struct{})
	type result struct {
		code int
		err  error
	}
	out := &head{most: maxOutput + 1}
	got := make(chan result, 1)
	go func(ended chan struct{}) {
		defer close(ended)
		code, exit, err := p.once(ctx, out)
		got <- result{code, err}
		if exit != nil {
			<-exit
		}
	}(p.before)
	select {
	case r := <-got:
		return r.code, out.String(), r.err
	case <-ctx.Done():
		return -1, out.String(), nil
	}
}

// once runs the command until it has ended or ctx has; exit, where not nil, is
// closed when it has.
func (p *commandProber) once(ctx context.Context, out *head) (code int, exit <-chan struct{}, err error) {
	id, err := p.execs.ExecCreate(ctx, p.id, &container.ExecCreateRequest{Cmd: p.argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return -1, nil, err
	}
	st, err := p.execs.ExecStart(ctx, id, request.ExecStart{})
	if err != nil {
		return -1, nil, err
	}
	defer st.Conn.Close()
	stop := context.AfterFunc(ctx, func() {
		err := p.core.Monitor.Signal(context.WithoutCancel(ctx), monitor.ProcessID{Container: p.id, Exec: id}, unix.SIGKILL)
		if err != nil && !errdefs.IsNotFound(err) {
			p.core.Log.Warn("health check that takes too long not killed", "container", p.id, "error", err)
		}
		_ = st.Conn.Close()
	})
	defer stop()
	_, err = stdcopy.StdCopy(out, out, st.Conn)
	if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		return -1, st.Ended, err
	}
	if st.Ended != nil {
		select {
		case <-st.Ended:
		case <-ctx.Done():
			return -1, st.Ended, nil
		}
	}
	seen, err := p.execs.ExecInspect(context.WithoutCancel(ctx), id)
	if err != nil || seen.ExitCode == nil {
		return -1, nil, err
	}
	return *seen.ExitCode, nil, nil
}

// head keeps the first bytes written to it and takes all others; it may be read
// while it is written to.
type head struct {
	mu   sync.Mutex
	kept bytes.Buffer
	most int
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = h.kept.Write(p[:min(len(p), h.most-h.kept.Len())])
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept.String()
}
