package execs

import (
	"cmp"
	"context"
	"net"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/life"
	"hoy/internal/container/record"
	"hoy/internal/container/spec"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
	"hoy/internal/request"
	"hoy/internal/runtime"
)

// ExecStart of api/execs. Where the command cannot be run, an attached client
// reads the reason from the stream (as standard error where there is no
// terminal) and finds 126 or 127 as the exit code; a detached one gets the error.
func (x *Execs) ExecStart(ctx context.Context, id string, opt request.ExecStart) (*request.Stream, error) {
	ex, err := x.find(id)
	if err != nil {
		return nil, err
	}
	e, ok := x.Index.Get(ex.container)
	if !ok {
		return nil, core.Conflict("container %s is not running", ex.container)
	}
	r, run := e.Record(), e.Run()
	if err := ready(r); err != nil {
		return nil, err
	}
	if run == nil {
		return nil, core.Conflict("container %s is not running", ex.container)
	}
	launch, err := x.launch(ctx, r, run, ex, opt)
	if err != nil {
		return nil, err
	}
	if err := x.claim(ex); err != nil {
		return nil, err
	}
	pid := monitor.ProcessID{Container: ex.container, Exec: ex.id}
	stdio := monitor.Stdio{Terminal: ex.req.Tty, OpenStdin: ex.req.AttachStdin, StdinOnce: true}
	st := &request.Stream{TTY: ex.req.Tty, Ended: ex.exit}
	st.Detached = func() { x.event(e.Record(), ex, events.ActionExecDetach, false, nil) }
	if !opt.Detach {
		st.Conn, err = x.Monitor.Attach(ctx, monitor.AttachRequest{
			ID: pid, Stdio: stdio, Stdin: ex.req.AttachStdin, Stdout: ex.req.AttachStdout, Stderr: ex.req.AttachStderr,
		})
		if err != nil {
			x.end(ex, 126, x.Now())
			return nil, err
		}
	}
	x.event(r, ex, events.ActionExecStart, true, nil)
	started, err := x.Monitor.Start(context.WithoutCancel(ctx), monitor.StartRequest{ID: pid, Exec: launch, Stdio: stdio})
	if err != nil {
		if st.Conn != nil {
			_ = st.Conn.Close()
		}
		return x.failed(ex, opt, err)
	}
	x.mu.Lock()
	if ex.state == starting {
		ex.state, ex.pid = running, started.Pid
	}
	x.mu.Unlock()
	if opt.Detach {
		return nil, nil
	}
	return st, nil
}

// claim lets one caller start an exec, once.
func (x *Execs) claim(ex *exec) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch ex.state {
	case created:
		ex.state = starting
		return nil
	case exited:
		return core.Conflict("exec %s has already run", ex.id)
	}
	return core.Conflict("exec %s is already running", ex.id)
}

func (x *Execs) failed(ex *exec, opt request.ExecStart, cause error) (*request.Stream, error) {
	code, err, told := core.ExecFailure(ex.req.Cmd[0], cause)
	if errdefs.IsNotFound(cause) { // the container ended meanwhile
		err, told = core.Conflict("container %s is not running", ex.container), false
	}
	// What the monitor keeps of it is of no use.
	_ = x.Monitor.Forget(context.Background(), monitor.ProcessID{Container: ex.container, Exec: ex.id})
	x.end(ex, code, x.Now())
	if opt.Detach || !told {
		return nil, err
	}
	text := []byte(err.Error() + "\r\n")
	if !ex.req.Tty {
		text = life.Frame("stderr", text)
	}
	near, far := net.Pipe()
	go func() {
		_, _ = far.Write(text)
		_ = far.Close()
	}()
	return &request.Stream{Conn: near, TTY: ex.req.Tty}, nil
}

func (x *Execs) launch(ctx context.Context, r *record.Record, run *index.Run, ex *exec, opt request.ExecStart) (*runtime.Exec, error) {
	hc, req := r.HostConfig, ex.req
	sec, err := config.ParseSecurity(hc, x.AppArmor)
	if err != nil {
		return nil, err
	}
	if err := start.Confine(ctx, &sec, hc.Privileged); err != nil {
		return nil, err
	}
	caps, err := config.Capabilities(hc.CapAdd, hc.CapDrop, hc.Privileged || req.Privileged)
	if err != nil {
		return nil, err
	}
	env := spec.Env(r)
	if req.Tty && !r.Config.Tty {
		env = spec.ReplaceEnv([]string{"TERM=xterm"}, env)
	}
	l := &runtime.Exec{
		ID: r.ID, Target: r.State.Pid, Namespaces: spec.JoinedNamespaces(hc),
		User: cmp.Or(req.User, r.Config.User), Groups: hc.GroupAdd, CgroupProcs: run.Group.Procs(),
		Landlock: sec.Landlock,
		Process: &specs.Process{
			Terminal: req.Tty, Args: req.Cmd, Env: spec.ReplaceEnv(env, req.Env),
			Cwd:             cmp.Or(req.WorkingDir, r.Config.WorkingDir, "/"),
			Capabilities:    spec.Caps(caps),
			Rlimits:         spec.Rlimits(hc.Ulimits, x.Ulimits),
			NoNewPrivileges: sec.NoNewPrivileges || !sec.NoNewPrivilegesSet && x.NoNewPrivileges,
			ApparmorProfile: sec.AppArmor,
			OOMScoreAdj:     &hc.OomScoreAdj,
		},
	}
	if !req.Privileged {
		if l.Seccomp, err = x.filter(r, sec); err != nil {
			return nil, err
		}
	}
	size := req.ConsoleSize
	if opt.ConsoleSize != nil {
		size = opt.ConsoleSize
	}
	if req.Tty && size != nil {
		l.ConsoleSize = specs.Box{Height: size[0], Width: size[1]}
	}
	return l, nil
}
