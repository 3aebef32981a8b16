package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/log/writer"
	"hoy/internal/monitor"
	"hoy/internal/monitor/foreign"
	"hoy/internal/monitor/guard"
	"hoy/internal/monitor/reap"
	"hoy/internal/monitor/roster"
	"hoy/internal/monitor/spool"
	"hoy/internal/monitor/stdio"
	"hoy/internal/runtime"
)

// drainTime bounds the wait for output that another process may still write
// after the one that counts has ended.
const drainTime = 2 * time.Second

// process is one started, or being started, process.
type process struct {
	id      monitor.ProcessID
	started monitor.Started // zero while being started
	streams *stdio.Streams  // nil for one that ended before this monitor began
	pidFD   *os.File
	exit    *monitor.Exit // nil while it runs or its output is drained
	note    json.RawMessage
	log     *log.Config // nil where the output is not kept
	// adopted: another monitor has started it, so it is not our child.
	adopted bool
	// guarded: the guardian of now is its parent, or was.
	guarded bool
	// over: it has ended, its output is drained.
	over bool
}

// table holds the processes by id.
type table struct {
	starter  Starter
	exits    *roster.Exits
	roster   *roster.Roster
	guard    *guard.Keeper
	spool    *spool.Spool
	log      *slog.Logger
	announce func(monitor.Exit)
	orphans  *reap.Orphans
	foreign  *foreign.Runner

	mu        sync.Mutex
	processes map[monitor.ProcessID]*process
	// pending are streams that were attached to before the start.
	pending map[monitor.ProcessID]*stdio.Streams
	closed  bool
	// frozen: another program is about to take over.
	frozen bool
	// waits are the goroutines that wait for processes to end.
	waits sync.WaitGroup
}

// record is where a table keeps what it knows.
type record struct {
	exits  *roster.Exits
	roster *roster.Roster
	// bundles is the directory for the containers of other runtimes.
	bundles string
	guard   *guard.Keeper
	kept    guard.Kept
	spool   *spool.Spool
}

func newTable(starter Starter, rec record, left *estate, log *slog.Logger, announce func(monitor.Exit)) *table {
	t := &table{
		starter: starter, exits: rec.exits, roster: rec.roster, guard: rec.guard, spool: rec.spool, log: log, announce: announce,
		processes: map[monitor.ProcessID]*process{},
		pending:   map[monitor.ProcessID]*stdio.Streams{},
	}
	t.orphans = reap.NewOrphans(t.owns, log)
	for _, state := range t.exits.Load() {
		t.processes[state.ID] = &process{id: state.ID, started: state.Started, exit: state.Exit}
	}
	opt := foreign.Options{Dir: rec.bundles, Log: log, Track: t.orphans.Flight, Adopt: t.orphans.Adopt}
	if left == nil {
		left = t.salvage(rec.kept)
	}
	if err := t.resume(left); err != nil {
		log.Error("not everything goes on", "error", err)
	}
	t.awaitAdopted()
	t.spool.Forget()
	// One whose removal was interrupted is not known any more, and is removed as
	// after a crash.
	opt.Held = slices.DeleteFunc(left.Foreign, func(c foreign.Container) bool {
		return t.processes[monitor.ProcessID{Container: c.ID}] == nil
	})
	t.foreign = foreign.Open(opt)
	if reap.IsSubreaper() || len(opt.Held) > 0 {
		if err := t.orphans.Adopt(); err != nil {
			log.Error("orphans are not reaped", "error", err)
		}
	}
	return t
}

// start starts a process and returns when it runs.
func (t *table) start(req *monitor.StartRequest) (monitor.Started, error) {
	if err := checkStart(req); err != nil {
		return monitor.Started{}, err
	}
	p, err := t.reserve(req)
	if err != nil {
		return monitor.Started{}, err
	}
	landed := t.orphans.Flight()
	started, err := t.launch(p, req)
	landed()
	if err != nil {
		t.mu.Lock()
		delete(t.processes, p.id)
		t.mu.Unlock()
		p.streams.Abort()
		t.unlist(p)
		if req.Runtime != nil {
			t.foreign.Remove(p.id.Container)
		}
		return monitor.Started{}, err
	}
	return started, nil
}

func checkStart(req *monitor.StartRequest) error {
	if err := roster.CheckID(req.ID); err != nil {
		return err
	}
	if (req.Launch == nil) == (req.Exec == nil) {
		return fmt.Errorf("start %s: exactly one of launch and exec must be given: %w", roster.Name(req.ID), errdefs.ErrInvalidArgument)
	}
	return nil
}

// streamsConfig is what the request says; a command run in a container always
// has its input closed with the first client, as in Docker.
func streamsConfig(id monitor.ProcessID, cfg monitor.Stdio) monitor.Stdio {
	cfg.StdinOnce = cfg.StdinOnce || id.Exec != ""
	return cfg
}

// reserve takes the id, with the streams that clients wait at, or new ones.
func (t *table) reserve(req *monitor.StartRequest) (*process, error) {
	cfg := streamsConfig(req.ID, req.Stdio)
	fresh, err := stdio.New(cfg)
	if err != nil {
		return nil, err
	}
	p := &process{id: req.ID, streams: fresh, note: req.Note, log: kept(req.Log)}
	t.mu.Lock()
	old := t.processes[p.id]
	waiting := t.pending[p.id]
	switch {
	case t.closed:
		err = fmt.Errorf("start %s: the monitor is shutting down: %w", roster.Name(p.id), errdefs.ErrUnavailable)
	case t.frozen:
		err = fmt.Errorf("start %s: the monitor is being replaced: %w", roster.Name(p.id), errdefs.ErrUnavailable)
	case old != nil && old.exit == nil:
		err = fmt.Errorf("start %s: it is running: %w", roster.Name(p.id), errdefs.ErrAlreadyExists)
	case waiting != nil && waiting.Config() != cfg:
		err = fmt.Errorf("start %s: streams %+v, but %+v when attached to: %w", roster.Name(p.id), cfg, waiting.Config(), errdefs.ErrInvalidArgument)
	default:
		if waiting != nil {
			p.streams = waiting
			delete(t.pending, p.id)
		}
		t.processes[p.id] = p
	}
	t.mu.Unlock()
	if p.streams != fresh || err != nil {
		fresh.Abort()
	}
	if err != nil {
		return nil, err
	}
	if old != nil {
		t.exits.Remove(p.id)
	}
	return p, nil
}

// launch opens the log, starts the process and begins to read and to wait.
func (t *table) launch(p *process, req *monitor.StartRequest) (monitor.Started, error) {
	keep, err := openLog(req)
	if err != nil {
		return monitor.Started{}, err
	}
	child, err := t.child(p, req)
	if err != nil {
		if keep != nil {
			_ = keep.Close()
		}
		return monitor.Started{}, err
	}
	started := monitor.Started{Pid: child.Pid, StartTime: reap.StartTime(child.Pid), At: time.Now().UTC()}
	if err := p.streams.Begin(child.Console, t.origin(p, keep)); err != nil {
		t.log.Error("the streams of a process cannot be read", "process", roster.Name(p.id), "error", err)
	}
	pidFD, err := stdio.Pollable(child.PidFD)
	if err == nil {
		err = t.enlist(p, started, pidFD)
	}
	if err != nil { // no descriptor or no room left: the process cannot be looked after
		_ = unix.Kill(child.Pid, unix.SIGKILL) // not reaped yet, so the number is its own
		_, _ = unix.Wait4(child.Pid, nil, 0, nil)
		return monitor.Started{}, fmt.Errorf("start %s: %w", roster.Name(p.id), err)
	}
	t.mu.Lock()
	p.started, p.pidFD = started, pidFD
	t.mu.Unlock()
	t.waits.Go(func() { t.wait(p) })
	started.Warnings = child.Warnings
	return started, nil
}

// child starts the process itself, by the runtime that the request names.
func (t *table) child(p *process, req *monitor.StartRequest) (*runtime.Process, error) {
	err := p.streams.Outputs(func(output int) (ours, theirs *os.File, err error) { return t.roster.Pipe(p.id, output) })
	if err != nil {
		return nil, err
	}
	switch {
	case req.Launch == nil:
		req.Exec.Stdio = p.streams.Child()
		return t.startExec(req)
	case req.Runtime != nil:
		req.Launch.Stdio = p.streams.Child()
		return t.foreign.Start(*req.Runtime, req.Launch)
	default:
		req.Launch.Stdio = p.streams.Child()
		return t.starter.Start(req.Launch)
	}
}

// startExec starts a command in the container of its id, which must be this
// monitor's: the number that the daemon gives may be another process's by now.
func (t *table) startExec(req *monitor.StartRequest) (*runtime.Process, error) {
	container := monitor.ProcessID{Container: req.ID.Container}
	t.mu.Lock()
	p := t.processes[container]
	var pidFD *os.File
	if p != nil && p.started.Pid == req.Exec.Target && !p.over {
		pidFD = p.pidFD
	}
	t.mu.Unlock()
	if pidFD == nil {
		return nil, fmt.Errorf("%s is not running: %w", roster.Name(container), errdefs.ErrNotFound)
	}
	// The table's own is closed when the process ends, at any time.
	dup, err := stdio.Duplicate(pidFD)
	if err != nil {
		return nil, fmt.Errorf("%s is not running: %w: %w", roster.Name(container), err, errdefs.ErrNotFound)
	}
	defer dup.Close()
	req.Exec.TargetFD = dup
	start := t.starter.StartExec
	if t.foreign.Holds(req.ID.Container) {
		start = func(e *runtime.Exec) (*runtime.Process, error) { return t.foreign.Exec(e, req.ID.Exec) }
	}
	child, err := start(req.Exec)
	// Whatever step it was: the container has gone from under it.
	if err != nil && reap.IsGone(dup) {
		return nil, fmt.Errorf("%s is not running: %w: %w", roster.Name(container), err, errdefs.ErrNotFound)
	}
	return child, err
}

// kept is the configuration of a log that is written; nil for none.
func kept(cfg *log.Config) *log.Config {
	if cfg == nil || cfg.Driver == "none" || cfg.Path == "" {
		return nil
	}
	return cfg
}

func openLog(req *monitor.StartRequest) (log.Writer, error) {
	cfg := kept(req.Log)
	if cfg == nil {
		return nil, nil
	}
	w, err := writer.Open(*cfg)
	if err != nil {
		return nil, &runtime.StartError{Step: "open log", Err: err}
	}
	return w, nil
}

// wait waits for the process, has its output drained and makes its end known.
// Only when its end is recorded is it reaped.
func (t *table) wait(p *process) {
	exit, err := t.fate(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return // another program takes over
	}
	if err != nil {
		t.log.Error("a process cannot be waited for", "process", roster.Name(p.id), "pid", p.started.Pid, "error", err)
		exit.Code, exit.Unknown = unknownCode, "exit status unknown: "+err.Error()
	}
	exit.At = time.Now().UTC()
	t.mu.Lock()
	p.over = true
	t.mu.Unlock()
	p.streams.Drain(drainTime)
	exit.Dropped = p.streams.Dropped()
	t.exits.Write(monitor.ProcessState{ID: p.id, Started: p.started, Exit: &exit})
	t.unlist(p)
	if p.adopted {
		t.guard.Done(p.number())
	} else if err := reap.Collect(p.pidFD); err != nil {
		t.log.Error("a process cannot be reaped", "process", roster.Name(p.id), "pid", p.started.Pid, "error", err)
	}
	if p.pidFD != nil {
		_ = p.pidFD.Close()
	}
	t.mu.Lock()
	p.exit, p.streams, p.pidFD, p.note = &exit, nil, nil, nil
	t.mu.Unlock()
	t.announce(exit)
}

// running returns a process that has been started and not been reaped.
func (t *table) running(id monitor.ProcessID) (pidFD *os.File, streams *stdio.Streams, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.processes[id]
	if p == nil || p.pidFD == nil || p.over {
		return nil, nil, fmt.Errorf("%s is not running: %w", roster.Name(id), errdefs.ErrNotFound)
	}
	return p.pidFD, p.streams, nil
}

// owns says whether somebody waits for the child of that number.
func (t *table) owns(pid int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.processes {
		if p.pidFD != nil && p.started.Pid == pid {
			return true
		}
	}
	return false
}

func (t *table) signal(id monitor.ProcessID, sig syscall.Signal) error {
	pidFD, _, err := t.running(id)
	if err != nil {
		return err
	}
	var opErr error
	raw, err := pidFD.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { opErr = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	}
	switch {
	case err != nil || errors.Is(opErr, unix.ESRCH): // reaped meanwhile
		return fmt.Errorf("%s is not running: %w", roster.Name(id), errdefs.ErrNotFound)
	case errors.Is(opErr, unix.EINVAL):
		return fmt.Errorf("signal %d does not exist: %w", int(sig), errdefs.ErrInvalidArgument)
	case opErr != nil:
		return fmt.Errorf("signal %s: %w", roster.Name(id), opErr)
	}
	return nil
}

func (t *table) resize(id monitor.ProcessID, height, width uint32) error {
	_, streams, err := t.running(id)
	if err != nil {
		return err
	}
	return streams.Resize(height, width)
}

// attach connects to a process, or makes the streams of one to be started.
func (t *table) attach(req *monitor.AttachRequest) (*os.File, error) {
	if err := roster.CheckID(req.ID); err != nil {
		return nil, err
	}
	for {
		streams, started, err := t.streamsFor(req)
		if err != nil {
			return nil, err
		}
		file, err := streams.Attach(req.Stdin, req.Stdout, req.Stderr)
		if started || !errdefs.IsNotFound(err) {
			if err != nil {
				t.abandon(req.ID, streams)
			}
			return file, err
		}
		// Their last client went just now, and they with it: make new ones.
	}
}

// streamsFor returns the streams of a process (started), or those that one is
// to be started with.
func (t *table) streamsFor(req *monitor.AttachRequest) (streams *stdio.Streams, started bool, err error) {
	fresh, err := stdio.New(streamsConfig(req.ID, req.Stdio))
	if err != nil {
		return nil, false, err
	}
	fresh.OnIdle(func() { t.abandon(req.ID, fresh) })
	t.mu.Lock()
	p, waiting := t.processes[req.ID], t.pending[req.ID]
	switch {
	case t.frozen:
		err = fmt.Errorf("attach: the monitor is being replaced: %w", errdefs.ErrUnavailable)
	case p != nil && p.exit != nil:
		err = fmt.Errorf("attach: %s has ended: %w", roster.Name(req.ID), errdefs.ErrNotFound)
	case p != nil:
		streams, started = p.streams, true
	case waiting != nil:
		streams = waiting
	default:
		streams = fresh
		t.pending[req.ID] = fresh
	}
	t.mu.Unlock()
	if streams != fresh {
		fresh.Abort()
	}
	return streams, started, err
}

// abandon gives up streams that nobody waits at any more and that no process took.
func (t *table) abandon(id monitor.ProcessID, s *stdio.Streams) {
	t.mu.Lock()
	ours := t.pending[id] == s && s.Retire()
	if ours {
		delete(t.pending, id)
	}
	t.mu.Unlock()
	if ours {
		s.Abort()
	}
}

// list returns what runs and what is not forgotten; a process that is still
// being started is not yet one.
func (t *table) list() []monitor.ProcessState {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]monitor.ProcessState, 0, len(t.processes))
	for _, p := range t.processes {
		if p.started.Pid != 0 {
			state := monitor.ProcessState{ID: p.id, Started: p.started, Exit: p.exit, Note: p.note}
			if p.streams != nil {
				state.Dropped = p.streams.Dropped()
			}
			list = append(list, state)
		}
	}
	slices.SortFunc(list, func(a, b monitor.ProcessState) int {
		return cmp.Or(cmp.Compare(a.ID.Container, b.ID.Container), cmp.Compare(a.ID.Exec, b.ID.Exec))
	})
	return list
}

func (t *table) forget(id monitor.ProcessID) error {
	t.mu.Lock()
	p := t.processes[id]
	running := p != nil && p.exit == nil
	if p != nil && !running {
		delete(t.processes, id)
	}
	t.mu.Unlock()
	if running {
		return fmt.Errorf("cannot forget %s: it is running: %w", roster.Name(id), errdefs.ErrFailedPrecondition)
	}
	if id.Exec == "" {
		t.foreign.Remove(id.Container)
	}
	if p != nil {
		t.exits.Remove(id)
	}
	return nil
}

// close refuses further starts, if nothing runs.
func (t *table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	running := 0
	for _, p := range t.processes {
		if p.exit == nil {
			running++
		}
	}
	if running > 0 {
		return fmt.Errorf("the monitor holds %d running processes: %w", running, errdefs.ErrFailedPrecondition)
	}
	t.closed = true
	return nil
}

func (t *table) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}
