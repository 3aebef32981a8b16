package health

import (
	"bytes"
	"context"
	"errors"
	"io"

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
	return &commandProber{c, execs, e.ID, argv}
}

func (*commandProber) Close() {}

// Probe runs the command to its end; where ctx ends first it is killed.
func (p *commandProber) Probe(ctx context.Context) (int, string, error) {
	id, err := p.execs.ExecCreate(ctx, p.id, &container.ExecCreateRequest{Cmd: p.argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return -1, "", err
	}
	st, err := p.execs.ExecStart(ctx, id, request.ExecStart{})
	if err != nil {
		return -1, "", err
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
	out := &head{most: maxOutput + 1}
	_, err = stdcopy.StdCopy(out, out, st.Conn)
	if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		return -1, out.String(), err
	}
	if st.Ended != nil {
		select {
		case <-st.Ended:
		case <-ctx.Done():
			return -1, out.String(), nil
		}
	}
	seen, err := p.execs.ExecInspect(context.WithoutCancel(ctx), id)
	if err != nil || seen.ExitCode == nil {
		return -1, out.String(), err
	}
	return *seen.ExitCode, out.String(), nil
}

// head keeps the first bytes written to it and takes all others.
type head struct {
	bytes.Buffer
	most int
}

func (h *head) Write(p []byte) (int, error) {
	_, _ = h.Buffer.Write(p[:min(len(p), h.most-h.Len())])
	return len(p), nil
}
