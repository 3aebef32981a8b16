// Package server is the monitor itself: the parent of every container's
// processes. It starts them, holds their streams and logs, reaps them, and
// tells every connected daemon how they ended. It decides nothing.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/monitor"
	"hoy/internal/monitor/guard"
	"hoy/internal/monitor/roster"
	"hoy/internal/monitor/spool"
	"hoy/internal/monitor/wire"
	"hoy/internal/runtime"
)

// Starter starts processes as children of this one.
type Starter interface {
	// Start starts a container's first process. Its error is a
	// *runtime.StartError where the start itself failed.
	Start(l *runtime.Launch) (*runtime.Process, error)
	// StartExec starts a further process in a container.
	StartExec(e *runtime.Exec) (*runtime.Process, error)
}

// Options of Serve.
type Options struct {
	// Socket is where daemons connect.
	Socket string
	// ExecRoot is the directory for the records of exits.
	ExecRoot string
	// ListenFD, where more than 2, is an inherited socket that listens at Socket already.
	ListenFD int
	// EstateFD, where more than 2, is what the program before has left.
	EstateFD int
	// GuardFD, where more than 2, is the socket to the guardian.
	GuardFD int
	// Starter may be nil: Runtime.
	Starter Starter
	Log     *slog.Logger
}

// quiet is how long nothing must have been started before unused memory is
// given back to the system.
const quiet = 2 * time.Second

// bundles is the directory in ExecRoot for the containers of other runtimes.
const bundles = "oci"

// running is the directory in ExecRoot for what runs.
const running = "running"

// spoolFile in ExecRoot has output that is not in its log yet; the number is that of its form.
const spoolFile = "spool.1"

// byeTime bounds the wait for the guardian to end before us.
const byeTime = time.Second

// claimTime bounds the wait for a predecessor that is ending.
const claimTime = 2 * time.Second

// Server serves daemons.
type Server struct {
	opt   Options
	log   *slog.Logger
	table *table
	// listener is where daemons connect.
	listener *os.File
	quit     chan struct{} // closed by a granted shutdown
	trim     *time.Timer

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// Serve answers daemons until one of them asks for shutdown while no process runs.
func Serve(opt Options) error {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Starter == nil {
		opt.Starter = Runtime{}
	}
	if err := os.MkdirAll(opt.ExecRoot, 0o711); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	alive, err := claim(filepath.Join(opt.ExecRoot, "monitor.pid"))
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	defer alive.Close()
	listener, err := listener(opt)
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	defer listener.Close()
	left, err := inherit(opt.EstateFD)
	if err != nil {
		opt.Log.Error("containers are lost", "error", err)
	}
	s, err := newServer(opt, left)
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	s.listener = listener
	go func() {
		<-s.quit
		// Before the listener closes: who finds a socket finds a monitor.
		_ = os.Remove(opt.Socket)
		_ = listener.Close()
	}()
	opt.Log.Info("the monitor is ready", "pid", os.Getpid(), "version", monitor.Version(), "socket", opt.Socket)
	err = s.accept(listener)
	s.table.guard.Bye(byeTime)
	s.closeConns()
	s.table.foreign.Wait()
	return err
}

func newServer(opt Options, left *estate) (*Server, error) {
	exits, err := roster.OpenExits(filepath.Join(opt.ExecRoot, "exits"), opt.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: opt, log: opt.Log, quit: make(chan struct{}), conns: map[*conn]struct{}{}}
	pool, err := spool.Open(filepath.Join(opt.ExecRoot, spoolFile), opt.Log)
	if err != nil {
		opt.Log.Error("output is read without a spool: if the monitor is killed, what it has in hand is lost", "error", err)
	}
	// First: an exit may be announced at once.
	s.trim = time.AfterFunc(quiet, func() { pool.Trim(); debug.FreeOSMemory() })
	rec := record{exits: exits, spool: pool, bundles: filepath.Join(opt.ExecRoot, bundles)}
	if rec.roster, err = roster.OpenRoster(filepath.Join(opt.ExecRoot, running), opt.Log); err != nil {
		return nil, err
	}
	if rec.guard, rec.kept, err = s.guardian(left == nil); err != nil {
		return nil, err
	}
	s.table = newTable(opt.Starter, rec, left, opt.Log, s.announce)
	return s, nil
}

// guardian connects to it; nil where there is none.
func (s *Server) guardian(fresh bool) (*guard.Keeper, guard.Kept, error) {
	if s.opt.GuardFD <= 2 {
		s.log.Warn("the monitor has no guardian: if it is killed, terminals and open inputs of containers are lost")
		return nil, nil, nil
	}
	k, kept, err := guard.Open(s.opt.GuardFD, fresh, s.log)
	if err != nil {
		return nil, nil, err
	}
	go func() {
		<-k.Gone()
		select {
		case <-s.quit:
		default:
			s.log.Warn("the guardian has gone: if the monitor is killed now, terminals and open inputs of containers are lost")
		}
	}()
	return k, kept, nil
}

// claim makes sure that one monitor serves the directory. Closing the file gives it back.
func claim(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	// A monitor that was killed lets go of its socket a little earlier than of this.
	for deadline := time.Now().Add(claimTime); errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the predecessor is not our child; its lock is what tells
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is held by another monitor, whose socket is gone: %w", path, err)
	}
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	return f, nil
}

// listener returns the listening socket in non-blocking mode.
func listener(opt Options) (*os.File, error) {
	if opt.ListenFD <= 2 {
		return monitor.Listen(opt.Socket)
	}
	unix.CloseOnExec(opt.ListenFD)
	if err := unix.SetNonblock(opt.ListenFD, true); err != nil {
		return nil, fmt.Errorf("listening socket %d: %w", opt.ListenFD, err)
	}
	return os.NewFile(uintptr(opt.ListenFD), opt.Socket), nil
}

// accept serves connections until the listener is closed.
func (s *Server) accept(listener *os.File) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var fd int
		var opErr error
		err := raw.Read(func(l uintptr) bool {
			fd, _, opErr = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return opErr != unix.EAGAIN
		})
		select {
		case <-s.quit:
			return nil
		default:
		}
		switch {
		case err != nil:
			return err
		case opErr != nil:
			// Out of descriptors or memory, or a client that was gone at once.
			s.log.Error("accept failed", "error", opErr)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.quit:
				return nil
			}
			continue
		}
		w, err := wire.NewConn(fd)
		if err != nil {
			s.log.Error("connection refused", "error", err)
			continue
		}
		if err := wire.CheckPeer(w); err != nil {
			s.log.Warn("connection refused", "error", err)
			_ = w.Close()
			continue
		}
		s.serve(w)
	}
}

// serve begins to answer one connection.
func (s *Server) serve(w *wire.Conn) {
	c := newConn(s, w)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	go func() {
		c.run()
		c.answers.Wait()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// settleTime bounds the wait for what dead daemons had asked for: a command that
// was to run in a frozen container takes for ever.
const settleTime = 2 * time.Second

// settle waits until what dead daemons had asked for is done: a start must not
// come to pass behind the back of the daemon that asks what runs. One that takes
// too long is undone when it comes to pass.
func (s *Server) settle(except *conn) {
	s.mu.Lock()
	var dead []*conn
	for c := range s.conns {
		if c != except && !c.given.Load() && c.wire.HungUp() {
			dead = append(dead, c)
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	for _, c := range dead {
		done := make(chan struct{})
		go func() {
			<-c.done
			c.answers.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			c.given.Store(true)
		}
	}
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.wire.Close()
	}
}

// announce tells every connected daemon of an exit.
func (s *Server) announce(e monitor.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.push(e)
	}
	s.trim.Reset(quiet)
}
