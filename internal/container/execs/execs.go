// Package execs runs further processes in running containers.
package execs

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/monitor"
	"hoy/internal/store"
)

// keep is how long an exec that has ended can still be inspected; maxKept bounds how many.
const (
	keep    = 5 * time.Minute
	maxKept = 4096
)

// Execs holds the execs of all containers. Make it with New.
type Execs struct {
	*core.Core
	filter func(*record.Record, config.Security) ([]byte, error)
	// AppArmor says whether the kernel can confine by profile.
	AppArmor bool

	// mu guards the table and what its entries hold, in memory only.
	mu    sync.Mutex
	table map[string]*exec
}

type exec struct {
	id, container string
	req           container.ExecCreateRequest
	state         phase
	pid           int
	code          *int
	ended         time.Time
	exit          chan struct{}
}

type phase int

const (
	created phase = iota
	starting
	running
	exited
)

// New returns an empty table; filter compiles a container's system call filter.
func New(c *core.Core, filter func(*record.Record, config.Security) ([]byte, error)) *Execs {
	return &Execs{Core: c, filter: filter, table: map[string]*exec{}}
}

// ExecCreate of api/execs.
func (x *Execs) ExecCreate(_ context.Context, ref string, req *container.ExecCreateRequest) (string, error) {
	e, err := x.Index.Find(ref)
	if err != nil {
		return "", err
	}
	if req == nil || len(req.Cmd) == 0 || req.Cmd[0] == "" && len(req.Cmd) == 1 {
		return "", core.Invalid("No exec command specified")
	}
	if err := config.CheckEnv(req.Env); err != nil {
		return "", err
	}
	r := e.Record()
	if err := ready(r); err != nil {
		return "", err
	}
	ex := &exec{id: store.NewID(), container: r.ID, req: *req, exit: make(chan struct{})}
	x.mu.Lock()
	x.tidy()
	x.table[ex.id] = ex
	x.mu.Unlock()
	e.AddExec(ex.id)
	x.event(r, ex, events.ActionExecCreate, true, nil)
	return ex.id, nil
}

// ready says, in Docker's words, why nothing can run in the container now.
func ready(r *record.Record) error {
	switch r.State.Phase {
	case record.Running:
		return nil
	case record.Paused:
		return core.Conflict("Container %s is paused, unpause the container before exec", r.ID)
	case record.Restarting:
		return core.Conflict("Container %s is restarting, wait until the container is running", r.ID)
	}
	return core.Conflict("container %s is not running", r.ID)
}

// tidy forgets what ended long ago. It is called with mu held.
func (x *Execs) tidy() {
	limit := x.Now().Add(-keep)
	full := len(x.table) >= maxKept
	for id, ex := range x.table {
		if ex.state == exited && (full || ex.ended.Before(limit)) {
			delete(x.table, id)
		}
	}
}

func (x *Execs) find(id string) (*exec, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ex, ok := x.table[id]; ok {
		return ex, nil
	}
	var found *exec
	for full, ex := range x.table {
		if id != "" && strings.HasPrefix(full, id) {
			if found != nil {
				return nil, core.Invalid("multiple IDs found with provided prefix: %s", id)
			}
			found = ex
		}
	}
	if found == nil {
		return nil, errdefs.ErrNotFound.WithMessage("No such exec instance: " + id)
	}
	return found, nil
}

// ExecInspect of api/execs.
func (x *Execs) ExecInspect(_ context.Context, id string) (container.ExecInspectResponse, error) {
	ex, err := x.find(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	privileged := ex.req.Privileged
	return container.ExecInspectResponse{
		ID: ex.id, Running: ex.state == running || ex.state == starting, ExitCode: ex.code, Pid: ex.pid,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: ex.req.Tty, Entrypoint: ex.req.Cmd[0], Arguments: ex.req.Cmd[1:], Privileged: &privileged, User: ex.req.User,
		},
		OpenStdin: ex.req.AttachStdin, OpenStdout: ex.req.AttachStdout, OpenStderr: ex.req.AttachStderr,
		ContainerID: ex.container, DetachKeys: []byte(ex.req.DetachKeys),
	}, nil
}

// ExecResize of api/execs.
func (x *Execs) ExecResize(ctx context.Context, id string, height, width uint32) error {
	ex, err := x.find(id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	state := ex.state
	x.mu.Unlock()
	if state != running {
		return core.Conflict("exec process %s is not running", ex.id)
	}
	return x.Monitor.Resize(ctx, monitor.ProcessID{Container: ex.container, Exec: ex.id}, height, width)
}

// Exited takes an exit that the monitor reports.
func (x *Execs) Exited(m monitor.Exit) {
	x.mu.Lock()
	ex := x.table[m.ID.Exec]
	x.mu.Unlock()
	if ex != nil {
		x.end(ex, m.Code, m.At)
	} else if e, ok := x.Index.Get(m.ID.Container); ok {
		// A former daemon started it: that it ended is told all the same.
		x.died(e, m.ID.Exec, m.Code, m.At)
	}
	if err := x.Monitor.Forget(context.Background(), m.ID); err != nil && !errdefs.IsNotFound(err) {
		x.Log.Warn("monitor keeps an exec's exit", "exec", m.ID.Exec, "error", err)
	}
}

func (x *Execs) end(ex *exec, code int, at time.Time) {
	x.mu.Lock()
	if ex.state == exited {
		x.mu.Unlock()
		return
	}
	ex.state, ex.code, ex.ended, ex.pid = exited, &code, at, 0
	close(ex.exit)
	x.mu.Unlock()
	e, ok := x.Index.Get(ex.container)
	if !ok {
		return
	}
	e.DropExec(ex.id)
	x.died(e, ex.id, code, at)
}

func (x *Execs) died(e *index.Entry, id string, code int, at time.Time) {
	x.EventAt(e.Record(), events.ActionExecDie, at, map[string]string{"execID": id, "exitCode": strconv.Itoa(code)})
}

// ContainerEnded marks what still ran as killed with the container: the end of
// a process id namespace ends all in it.
func (x *Execs) ContainerEnded(e *index.Entry) {
	for _, id := range e.Execs() {
		x.mu.Lock()
		ex := x.table[id]
		never := ex != nil && ex.state == created
		if never {
			delete(x.table, id)
		}
		x.mu.Unlock()
		if ex == nil || never {
			e.DropExec(id)
		}
	}
}

// ContainerRemoved forgets all of a container's execs.
func (x *Execs) ContainerRemoved(e *index.Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, ex := range x.table {
		if ex.container == e.ID {
			delete(x.table, id)
		}
	}
}

func (x *Execs) event(r *record.Record, ex *exec, action events.Action, withCommand bool, attrs map[string]string) {
	all := map[string]string{"execID": ex.id}
	for k, v := range attrs {
		all[k] = v
	}
	if withCommand {
		action = events.Action(string(action) + ": " + strings.Join(ex.req.Cmd, " "))
	}
	x.Event(r, action, all)
}
