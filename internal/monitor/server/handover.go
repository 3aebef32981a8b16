package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/log/writer"
	"hoy/internal/monitor"
	"hoy/internal/monitor/foreign"
	"hoy/internal/monitor/guard"
	"hoy/internal/monitor/roster"
	"hoy/internal/monitor/stdio"
)

// A monitor is replaced in place: the process executes the new program and so
// stays the parent of all its children. What the old program knew is in a
// memory file, which names the descriptors that go on; a child that ends in
// between waits to be reaped, and output waits in its pipes.

// estate is what one program leaves to the next. Fields are only ever added.
type estate struct {
	Processes []heldProcess       `json:"processes"`
	Foreign   []foreign.Container `json:"foreign,omitempty"`
}

type heldProcess struct {
	ID      monitor.ProcessID `json:"id"`
	Started monitor.Started   `json:"started"`
	Note    json.RawMessage   `json:"note,omitempty"`
	Log     *log.Config       `json:"log,omitempty"`
	PidFD   int               `json:"pidFD"`
	// Adopted: it is not the child of this process. PidFD may be -1 then.
	Adopted bool `json:"adopted,omitempty"`
	// Guarded: the guardian of now is its parent, or was.
	Guarded bool       `json:"guarded,omitempty"`
	Streams stdio.Held `json:"streams"`
}

const (
	// firstKept is the lowest number of a descriptor that is handed over: those
	// below are taken by what a new program opens first.
	firstKept = 16
	// maxEstate bounds what is read; a process takes about 1 KiB.
	maxEstate = 256 << 20
	// allSeals must be on a program that is handed over.
	allSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	// calmTime bounds the wait for starts that are under way.
	calmTime = 10 * time.Second
)

// upgrade replaces the program by that in the sealed file. It returns only
// where that failed; everything goes on then.
func (s *Server) upgrade(program *os.File) error {
	seals, err := unix.FcntlInt(program.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&allSeals != allSeals {
		return fmt.Errorf("upgrade: the program is not in sealed memory: %w", errdefs.ErrInvalidArgument)
	}
	if err := s.table.freeze(); err != nil {
		return err
	}
	kept := &keeper{}
	e, err := s.table.leave(kept)
	if err == nil {
		err = s.execute(program, kept, e)
	}
	kept.undo()
	s.table.thaw()
	if again := s.table.resume(e); again != nil {
		s.log.Error("not everything goes on after an upgrade that failed", "error", again)
	}
	return fmt.Errorf("upgrade: %w", err)
}

// execute becomes the new program.
func (s *Server) execute(program *os.File, kept *keeper, e *estate) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("estate", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "estate")
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return err
	}
	estateFD, err := kept.keep(file)
	if err != nil {
		return err
	}
	listenFD, err := kept.keep(s.listener)
	if err != nil {
		return err
	}
	guardFD := 0
	if f := s.table.guard.File(); f != nil {
		if guardFD, err = kept.keep(f); err != nil {
			return err
		}
		// From here on this is the program that a monitor is started from.
		if err := s.table.guard.KeepProgram(program); err != nil {
			s.log.Warn("the guardian goes on with the program before", "error", err)
		}
	}
	if err := kept.pass(); err != nil {
		return err
	}
	s.log.Info("the monitor becomes another program", "processes", len(e.Processes), "version", monitor.Version())
	args := []string{"hoy-run", "monitor", "--socket", s.opt.Socket, "--exec-root", s.opt.ExecRoot,
		"--listen-fd", strconv.Itoa(listenFD), "--estate-fd", strconv.Itoa(estateFD)}
	if guardFD > 0 {
		args = append(args, "--guard-fd", strconv.Itoa(guardFD))
	}
	return os.NewSyscallError("execve", unix.Exec("/proc/self/fd/"+strconv.Itoa(int(program.Fd())), args, os.Environ()))
}

// keeper collects duplicates of what goes on.
type keeper struct{ fds []int }

// keep returns the number under which f is found by the next program.
func (k *keeper) keep(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, opErr := -1, error(nil)
	err = raw.Control(func(old uintptr) { fd, opErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, firstKept) })
	if err = errors.Join(err, os.NewSyscallError("fcntl", opErr)); err != nil {
		return -1, err
	}
	k.fds = append(k.fds, fd)
	return fd, nil
}

// pass lets them through execve. No child may be forked from here on.
func (k *keeper) pass() error {
	for _, fd := range k.fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

// undo makes them close on exec again; those in an estate are its owner's.
func (k *keeper) undo() {
	for _, fd := range k.fds {
		unix.CloseOnExec(fd)
	}
}

// freeze refuses starts and attachments and waits until none is under way.
func (t *table) freeze() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.frozen {
		return fmt.Errorf("upgrade: the monitor is ending or being replaced: %w", errdefs.ErrUnavailable)
	}
	t.frozen = true
	for deadline := time.Now().Add(calmTime); t.busy(); {
		if time.Now().After(deadline) {
			t.frozen = false
			return fmt.Errorf("upgrade: a start takes longer than %v: %w", calmTime, errdefs.ErrUnavailable)
		}
		t.mu.Unlock()
		time.Sleep(time.Millisecond) //nolint:forbidigo // a start ends in milliseconds, and tells nobody
		t.mu.Lock()
	}
	return nil
}

// busy says whether a process is being started; t.mu is held.
func (t *table) busy() bool {
	for _, p := range t.processes {
		if p.exit == nil && p.started.Pid == 0 {
			return true
		}
	}
	return false
}

func (t *table) thaw() {
	t.mu.Lock()
	t.frozen = false
	t.mu.Unlock()
}

// leave stops everything and describes it. Processes that have been reaped are
// seen through to their end first.
func (t *table) leave(kept *keeper) (*estate, error) {
	t.mu.Lock()
	for _, p := range t.processes {
		if p.pidFD != nil {
			_ = p.pidFD.SetReadDeadline(time.Unix(1, 0))
		}
	}
	t.mu.Unlock()
	t.waits.Wait()
	e := &estate{Foreign: t.foreign.HeldAll()}
	t.mu.Lock()
	defer t.mu.Unlock()
	var first error
	for _, p := range t.processes {
		if p.exit != nil {
			continue
		}
		p.streams.Suspend()
		held := heldProcess{ID: p.id, Started: p.started, Note: p.note, Log: p.log, Adopted: p.adopted, Guarded: p.guarded}
		var err error
		held.PidFD, err = kept.keep(p.pidFD)
		_ = p.pidFD.Close()
		if err == nil {
			held.Streams, err = p.streams.Hold(kept.keep)
		}
		first = errors.Join(first, err)
		e.Processes = append(e.Processes, held)
	}
	for id, s := range t.pending {
		delete(t.pending, id)
		s.Abort()
	}
	return e, first
}

// resume goes on with an estate, in the new program or in the old one.
func (t *table) resume(e *estate) error {
	var errs []error
	for _, h := range e.Processes {
		errs = append(errs, t.adopt(h))
	}
	return errors.Join(errs...)
}

func (t *table) adopt(h heldProcess) error {
	if err := roster.CheckID(h.ID); err != nil {
		return err
	}
	p := &process{id: h.ID, started: h.Started, note: h.Note, log: h.Log, adopted: h.Adopted, guarded: h.Guarded}
	var keep log.Writer
	var err error
	if h.Log != nil {
		if keep, err = writer.Open(*h.Log); err != nil {
			t.log.Error("a log cannot be gone on with", "process", roster.Name(h.ID), "error", err)
		}
	}
	if p.streams, err = stdio.Resume(h.Streams, t.origin(p, keep)); err != nil {
		return fmt.Errorf("%s: %w", roster.Name(h.ID), err)
	}
	if h.PidFD >= 0 {
		unix.CloseOnExec(h.PidFD)
		if p.pidFD, err = stdio.Pollable(os.NewFile(uintptr(h.PidFD), "pidfd")); err != nil {
			return fmt.Errorf("%s: %w", roster.Name(h.ID), err)
		}
	}
	if h.Adopted && !h.Guarded {
		t.keep(p, p.pidFD)
	} else {
		p.streams.OnStdin(func() { t.guard.Drop(roster.Name(h.ID), guard.Stdin) })
	}
	t.mu.Lock()
	t.processes[h.ID] = p
	t.mu.Unlock()
	t.waits.Go(func() { t.wait(p) })
	return nil
}

// inherit reads the estate of the program before; nil where there was none.
func inherit(fd int) (*estate, error) {
	if fd <= 2 {
		return nil, nil
	}
	file := os.NewFile(uintptr(fd), "estate")
	defer file.Close()
	e := new(estate)
	if err := json.NewDecoder(io.NewSectionReader(file, 0, maxEstate)).Decode(e); err != nil {
		return nil, fmt.Errorf("what the program before has left cannot be read: %w", err)
	}
	return e, nil
}
