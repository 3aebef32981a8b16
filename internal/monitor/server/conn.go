package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/containerd/errdefs"

	"hoy/internal/monitor"
	"hoy/internal/monitor/wire"
)

// conn is one daemon's connection. Each request is answered by a goroutine of
// its own, so that a slow start holds up nobody.
type conn struct {
	server *Server
	wire   *wire.Conn
	wake   chan struct{}
	done   chan struct{}
	// answers are requests under way.
	answers sync.WaitGroup
	// given: another daemon was told what runs without what is under way here.
	given atomic.Bool

	mu    sync.Mutex
	exits []monitor.Exit // to be pushed
}

func newConn(s *Server, w *wire.Conn) *conn {
	return &conn{server: s, wire: w, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// run answers until the connection ends.
func (c *conn) run() {
	go c.pushAll()
	defer close(c.done)
	defer func() { _ = c.wire.Close() }()
	for {
		m, err := c.wire.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
				c.server.log.Warn("a daemon's connection is broken", "error", err)
			}
			return
		}
		c.answers.Go(func() { c.answer(m) })
	}
}

// push queues an exit; it never waits.
func (c *conn) push(e monitor.Exit) {
	c.mu.Lock()
	c.exits = append(c.exits, e)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) pushAll() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		batch := c.exits
		c.exits = nil
		c.mu.Unlock()
		for _, e := range batch {
			if c.wire.Send(0, wire.OpExit, e) != nil {
				_ = c.wire.Close() // it finds the exits by List when it is back
				return
			}
		}
	}
}

// answer does what one request asks for.
func (c *conn) answer(m *wire.Message) {
	defer m.CloseFiles()
	reply, err := c.handle(m)
	if file, ok := reply.(*os.File); ok && err == nil {
		err = c.wire.Send(m.ID, wire.OpReply, nil, file)
		_ = file.Close()
	} else if err == nil {
		err = c.wire.Send(m.ID, wire.OpReply, reply)
	} else {
		err = c.wire.Send(m.ID, wire.OpError, wire.FromError(err))
	}
	if err != nil {
		_ = c.wire.Close()
	}
	if m.Op == wire.OpShutdown && c.server.table.isClosed() {
		c.server.stop()
	}
}

// stop ends Serve; the reply has been sent.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
}

// handle returns the body of the reply, or a file to go with an empty one.
func (c *conn) handle(m *wire.Message) (any, error) {
	t := c.server.table
	switch m.Op {
	case wire.OpHello:
		var h wire.Hello
		if err := m.Decode(&h); err != nil {
			return nil, err
		}
		// An older daemon takes nothing but its own protocol, which it is served in.
		return wire.Hello{Protocol: max(min(h.Protocol, wire.Protocol), wire.OldestProtocol), Version: monitor.Version(), Pid: os.Getpid()}, nil
	case wire.OpStart:
		var req monitor.StartRequest
		if err := m.Decode(&req); err != nil {
			return nil, err
		}
		if req.Launch != nil && len(m.Files) > 0 {
			req.Launch.NetNS = m.Files[0]
		}
		defer c.server.trim.Reset(quiet)
		started, err := t.start(&req)
		if err == nil && c.given.Load() {
			_ = t.signal(req.ID, syscall.SIGKILL) // it has ended where this fails
		}
		return started, err
	case wire.OpSignal:
		var req monitor.SignalBody
		if err := m.Decode(&req); err != nil {
			return nil, err
		}
		return nil, t.signal(req.ID, syscall.Signal(req.Signal))
	case wire.OpResize:
		var req monitor.ResizeBody
		if err := m.Decode(&req); err != nil {
			return nil, err
		}
		return nil, t.resize(req.ID, req.Height, req.Width)
	case wire.OpAttach:
		var req monitor.AttachRequest
		if err := m.Decode(&req); err != nil {
			return nil, err
		}
		return fileOrNil(t.attach(&req))
	case wire.OpList:
		c.server.settle(c)
		return t.list(), nil
	case wire.OpForget:
		var id monitor.ProcessID
		if err := m.Decode(&id); err != nil {
			return nil, err
		}
		return nil, t.forget(id)
	case wire.OpShutdown:
		return nil, t.close()
	case wire.OpUpgrade:
		if len(m.Files) != 1 {
			return nil, fmt.Errorf("upgrade: %w: %d files", wire.ErrMalformed, len(m.Files))
		}
		return nil, c.server.upgrade(m.Files[0])
	default:
		return nil, fmt.Errorf("the monitor (%s) does not know operation %d: %w", monitor.Version(), m.Op, errdefs.ErrNotImplemented)
	}
}

// fileOrNil keeps a nil *os.File from becoming a non-nil any.
func fileOrNil(f *os.File, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}
