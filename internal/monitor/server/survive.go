package server

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/log/writer"
	"hoy/internal/monitor"
	"hoy/internal/monitor/guard"
	"hoy/internal/monitor/reap"
	"hoy/internal/monitor/roster"
	"hoy/internal/monitor/stdio"
)

// What a monitor that is killed leaves: the roster says which processes there
// are, their pipes can be opened again by name, and the guardian has what has no
// name (input, terminals, the unread rest of who ended) and is their parent now.

const (
	// unknownCode is the exit code of a process whose end nobody saw.
	unknownCode = 255
	// fateTime bounds the wait for the guardian's word on a process that has ended.
	fateTime = 2 * time.Second
)

// origin is where a process's output is kept; keep is its log, nil for none.
func (t *table) origin(p *process, keep log.Writer) stdio.Origin {
	return stdio.Origin{Name: roster.Name(p.id), Spool: t.spool, Log: keep,
		Written: func(stream log.Stream, at time.Time) int { return writer.Written(*p.log, stream, at) }}
}

// enlist leaves word of a process that runs, before anybody is told that it does.
func (t *table) enlist(p *process, started monitor.Started, pidFD *os.File) error {
	t.keep(p, pidFD)
	entry := roster.Running{ID: p.id, Started: started, Stdio: p.streams.Config(), Note: p.note, Log: p.log}
	if p.id.Exec == "" {
		entry.Foreign = t.foreign.Held(p.id.Container)
	}
	return t.roster.Add(entry)
}

// keep has the guardian keep what must not close.
func (t *table) keep(p *process, pidFD *os.File) {
	name := roster.Name(p.id)
	parts := map[string]*os.File{}
	if pidFD != nil {
		parts[guard.PidFD] = pidFD
	}
	for i, f := range p.streams.Files() {
		if f != nil {
			parts[guard.Parts[i]] = f
		}
	}
	if err := t.guard.Keep(name, parts); err != nil {
		t.log.Warn("the guardian does not keep the streams of a process", "process", name, "error", err)
	}
	p.streams.OnStdin(func() { t.guard.Drop(name, guard.Stdin) })
}

// unlist takes that back.
func (t *table) unlist(p *process) {
	t.roster.Remove(p.id, p.streams.Config().Terminal)
	t.guard.Drop(roster.Name(p.id), "")
}

// salvage describes what a monitor that was killed has left.
func (t *table) salvage(kept guard.Kept) *estate {
	e := new(estate)
	for _, r := range t.roster.Load() {
		if known := t.processes[r.ID]; known != nil && known.started.Pid == r.Started.Pid && known.started.StartTime == r.Started.StartTime {
			t.roster.Remove(r.ID, r.Stdio.Terminal) // its end was recorded already
			continue
		}
		h := found(r, t.roster, kept)
		if h.Streams.Stdin < 0 {
			t.guard.Drop(roster.Name(r.ID), guard.Stdin)
		}
		e.Processes = append(e.Processes, h)
		if r.Foreign != nil {
			e.Foreign = append(e.Foreign, *r.Foreign)
		}
	}
	for _, name := range kept.Close() {
		t.guard.Drop(name, "")
	}
	if len(e.Processes) > 0 {
		t.log.Info("the processes of a monitor that was killed are adopted", "processes", len(e.Processes))
	}
	return e
}

// found is what there is of one process.
func found(r roster.Running, rost *roster.Roster, kept guard.Kept) heldProcess {
	name := roster.Name(r.ID)
	h := heldProcess{ID: r.ID, Started: r.Started, Note: r.Note, Log: r.Log, Adopted: true, PidFD: kept.Take(name, guard.PidFD)}
	// Who is not kept was started under another guardian, who has been killed.
	h.Guarded = h.PidFD >= 0
	if !h.Guarded {
		fd, err := unix.PidfdOpen(r.Started.Pid, 0)
		switch {
		case err != nil: // it has ended and was reaped
		case reap.StartTime(r.Started.Pid) != r.Started.StartTime:
			_ = unix.Close(fd)
		default:
			h.PidFD = fd
		}
	}
	h.Streams = stdio.Held{Config: r.Stdio, Stdin: kept.Take(name, guard.Stdin),
		Outputs: [2]int{kept.Take(name, guard.Stdout), kept.Take(name, guard.Stderr)}}
	if r.Stdio.Terminal {
		h.Streams.Stdin = h.Streams.Outputs[0]
	} else {
		for i, fd := range h.Streams.Outputs {
			if fd < 0 {
				h.Streams.Outputs[i] = rost.Reopen(r.ID, i+1)
			}
		}
	}
	// Who typed has gone with the monitor. A command in a container would wait for ever.
	if r.ID.Exec != "" && !r.Stdio.Terminal && h.Streams.Stdin >= 0 {
		_ = unix.Close(h.Streams.Stdin)
		h.Streams.Stdin = -1
	}
	return h
}

// number names the process for the guardian.
func (p *process) number() guard.Process {
	return guard.Process{Pid: p.started.Pid, Start: p.started.StartTime}
}

// awaitAdopted asks the guardian for the ends of those that are its children now.
func (t *table) awaitAdopted() {
	t.mu.Lock()
	var all []guard.Process
	for _, p := range t.processes {
		if p.adopted && p.exit == nil {
			all = append(all, p.number())
		}
	}
	t.mu.Unlock()
	t.guard.Await(all)
}

// fate waits for a process to end and says how it did.
func (t *table) fate(p *process) (exit monitor.Exit, err error) {
	exit.ID = p.id
	if !p.adopted {
		exit.Code, exit.Signal, err = reap.Wait(p.pidFD)
		return exit, err
	}
	if p.pidFD != nil {
		if err := reap.Gone(p.pidFD); err != nil {
			return exit, err
		}
	}
	var status unix.WaitStatus
	known := false
	if p.guarded {
		status, known = t.guard.Status(p.number(), fateTime)
	}
	if !known && p.pidFD != nil {
		status, known = reap.Status(p.pidFD, p.started.Pid, p.started.StartTime)
	}
	if !known {
		exit.Code, exit.Unknown = unknownCode, "exit status unknown: it ended while its monitor and the monitor's guardian were gone"
		return exit, nil
	}
	exit.Code, exit.Signal = reap.Code(status)
	return exit, nil
}
