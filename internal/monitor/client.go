package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"

	"hoy/internal/monitor/wire"
)

// Client is a daemon's connection to the monitor. Its methods may be called
// from many goroutines; requests are in flight side by side.
//
// A method whose context ends returns at once, but the monitor may still do
// what was asked: after a cancelled Start, List tells.
type Client struct {
	conn *wire.Conn
	log  *slog.Logger
	peer wire.Hello

	exits *exitQueue
	done  chan struct{}

	mu      sync.Mutex
	next    uint32
	pending map[uint32]chan *wire.Message
	err     error // why the connection ended
}

// newClient says hello and starts to read. It takes over conn, also on failure.
func newClient(ctx context.Context, conn *wire.Conn, log *slog.Logger) (*Client, error) {
	c := &Client{
		conn:    conn,
		log:     log,
		exits:   newExitQueue(),
		done:    make(chan struct{}),
		pending: map[uint32]chan *wire.Message{},
	}
	go c.read()
	if err := c.call(ctx, wire.OpHello, wire.Hello{Protocol: wire.Protocol, Version: Version(), Pid: os.Getpid()}, &c.peer); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("monitor: hello: %w", err)
	}
	if c.peer.Protocol < wire.OldestProtocol || c.peer.Protocol > wire.Protocol {
		_ = c.Close()
		return nil, fmt.Errorf("monitor: process %d speaks protocol %d, this daemon %d to %d: stop all containers and the monitor to change: %w",
			c.peer.Pid, c.peer.Protocol, wire.OldestProtocol, wire.Protocol, errdefs.ErrFailedPrecondition)
	}
	return c, nil
}

// Start starts a process. Where the start itself failed the error is a
// *runtime.StartError; errdefs.ErrAlreadyExists means that the id runs already.
func (c *Client) Start(ctx context.Context, req StartRequest) (Started, error) {
	if req.Runtime != nil && c.peer.Protocol < wire.RuntimesSince {
		return Started{}, fmt.Errorf("the monitor of the running containers (process %d, version %s) is from before other runtimes were supported: "+
			"stop all containers and start the daemon anew to use %s: %w", c.peer.Pid, c.peer.Version, req.Runtime.Name, errdefs.ErrFailedPrecondition)
	}
	var files []*os.File
	if req.Launch != nil && req.Launch.NetNS != nil {
		files = append(files, req.Launch.NetNS)
	}
	var started Started
	err := c.call(ctx, wire.OpStart, &req, &started, files...)
	return started, err
}

// Signal sends sig to the process itself, through its pidfd.
// errdefs.ErrNotFound means that it has ended or was never started.
func (c *Client) Signal(ctx context.Context, id ProcessID, sig syscall.Signal) error {
	return c.call(ctx, wire.OpSignal, SignalBody{ID: id, Signal: int(sig)}, nil)
}

// Resize sets the size of the process's terminal in characters.
// errdefs.ErrFailedPrecondition means that it has none.
func (c *Client) Resize(ctx context.Context, id ProcessID, height, width uint32) error {
	return c.call(ctx, wire.OpResize, ResizeBody{ID: id, Height: height, Width: width}, nil)
}

// Attach connects to the process's streams. What is read is framed as
// github.com/moby/moby/api/pkg/stdcopy reads it, raw where there is a terminal,
// and ends when the process has ended and its output is drained. What is
// written is its input; CloseWrite ends it.
//
// The process need not have been started yet; it then must be in the same
// Client's time, for the streams go when the last connection to them does.
// errdefs.ErrNotFound means that the process has ended and is not forgotten yet.
func (c *Client) Attach(ctx context.Context, req AttachRequest) (net.Conn, error) {
	m, err := c.roundTrip(ctx, wire.OpAttach, &req)
	if err != nil {
		return nil, err
	}
	defer m.CloseFiles()
	if len(m.Files) != 1 {
		return nil, fmt.Errorf("monitor: attach: %w: %d files", wire.ErrMalformed, len(m.Files))
	}
	conn, err := net.FileConn(m.Files[0])
	if err != nil {
		return nil, fmt.Errorf("monitor: attach: %w", err)
	}
	return conn, nil
}

// List returns every process that the monitor knows, running and not forgotten.
func (c *Client) List(ctx context.Context) ([]ProcessState, error) {
	var list []ProcessState
	err := c.call(ctx, wire.OpList, nil, &list)
	return list, err
}

// Exits delivers every exit from the time of Dial on; earlier ones are found by
// List (one may be seen both ways). It never drops one, and is closed when the
// connection has ended.
func (c *Client) Exits() <-chan Exit { return c.exits.out }

// Forget drops the record of an exit. errdefs.ErrFailedPrecondition means that
// the process runs; an unknown id is no error.
func (c *Client) Forget(ctx context.Context, id ProcessID) error {
	return c.call(ctx, wire.OpForget, id, nil)
}

// Shutdown ends the monitor. errdefs.ErrFailedPrecondition means that processes run.
func (c *Client) Shutdown(ctx context.Context) error {
	if err := c.call(ctx, wire.OpShutdown, nil, nil); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Upgrade has the monitor become the program at path, in place. All it holds
// goes on; this connection ends, and Dial finds the new program.
func (c *Client) Upgrade(ctx context.Context, path string) error {
	if c.peer.Protocol < wire.UpgradeSince {
		return fmt.Errorf("the monitor (process %d, version %s) is from before monitors could be replaced: %w", c.peer.Pid, c.peer.Version, errdefs.ErrFailedPrecondition)
	}
	program, err := sealedCopy(path)
	if err != nil {
		return fmt.Errorf("monitor: upgrade: %w", err)
	}
	defer program.Close()
	err = c.call(ctx, wire.OpUpgrade, nil, nil, program)
	if err == nil || !errdefs.IsUnavailable(err) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil // the connection has ended
	}
	return err // it has answered that it cannot now
}

// Done is closed when the connection has ended, by either side.
func (c *Client) Done() <-chan struct{} { return c.done }

// Pid is the monitor's process id.
func (c *Client) Pid() int { return c.peer.Pid }

// Version is what the monitor calls itself; it may be older than the daemon.
func (c *Client) Version() string { return c.peer.Version }

// Close ends the connection, not the monitor.
func (c *Client) Close() error { return c.conn.Close() }

// call is a round trip whose reply carries JSON only.
func (c *Client) call(ctx context.Context, op wire.Op, body, reply any, files ...*os.File) error {
	m, err := c.roundTrip(ctx, op, body, files...)
	if err != nil {
		return err
	}
	m.CloseFiles()
	if reply == nil {
		return nil
	}
	return m.Decode(reply)
}

func (c *Client) roundTrip(ctx context.Context, op wire.Op, body any, files ...*os.File) (*wire.Message, error) {
	id, answer, err := c.register()
	if err != nil {
		return nil, err
	}
	if err := c.conn.Send(id, op, body, files...); err != nil {
		c.unregister(id)
		return nil, c.because(err)
	}
	select {
	case m := <-answer:
		if m == nil {
			return nil, c.because(nil)
		}
		return open(m)
	case <-ctx.Done():
		if c.unregister(id) {
			return nil, ctx.Err()
		}
		// The answer came meanwhile; a file in it must not be lost.
		if m := <-answer; m != nil {
			return open(m)
		}
		return nil, c.because(nil)
	}
}

// open turns an error reply into the error.
func open(m *wire.Message) (*wire.Message, error) {
	if m.Op == wire.OpReply {
		return m, nil
	}
	m.CloseFiles()
	var e wire.Error
	if err := m.Decode(&e); err != nil {
		return nil, err
	}
	return nil, e.Err()
}

func (c *Client) register() (uint32, <-chan *wire.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	for {
		c.next++
		if _, taken := c.pending[c.next]; c.next != 0 && !taken {
			break
		}
	}
	answer := make(chan *wire.Message, 1)
	c.pending[c.next] = answer
	return c.next, answer, nil
}

// unregister says whether the request was still waiting for its answer.
func (c *Client) unregister(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waiting := c.pending[id]
	delete(c.pending, id)
	return waiting
}

// because prefers the reason why the connection ended to what a call met.
func (c *Client) because(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), errors.Is(err, os.ErrClosed):
		return fmt.Errorf("monitor: connection lost: %w: %w", err, errdefs.ErrUnavailable)
	default:
		return fmt.Errorf("monitor: %w", err)
	}
}

// read delivers what the monitor sends until the connection ends.
func (c *Client) read() {
	var reason error
	for {
		m, err := c.conn.Receive()
		if err != nil {
			reason = err
			break
		}
		if m.Op == wire.OpExit {
			m.CloseFiles()
			var e Exit
			if err := m.Decode(&e); err != nil {
				c.log.Error("the monitor sent an exit that cannot be read", "error", err)
				continue
			}
			c.exits.put(e)
			continue
		}
		c.mu.Lock()
		answer := c.pending[m.ID]
		delete(c.pending, m.ID)
		if answer != nil {
			answer <- m // has room for it
		}
		c.mu.Unlock()
		if answer == nil {
			m.CloseFiles() // of a request that was given up
		}
	}
	_ = c.conn.Close()
	c.mu.Lock()
	if errors.Is(reason, os.ErrClosed) {
		reason = net.ErrClosed
	}
	c.err = fmt.Errorf("monitor: connection lost: %w: %w", reason, errdefs.ErrUnavailable)
	for _, answer := range c.pending {
		answer <- nil
	}
	clear(c.pending)
	c.mu.Unlock()
	c.exits.close()
	close(c.done)
}

// exitQueue is a channel that never makes the sender wait.
type exitQueue struct {
	out  chan Exit
	wake chan struct{}

	mu     sync.Mutex
	queue  []Exit
	closed bool
}

func newExitQueue() *exitQueue {
	q := &exitQueue{out: make(chan Exit, 64), wake: make(chan struct{}, 1)}
	go q.run()
	return q
}

func (q *exitQueue) put(e Exit) {
	q.mu.Lock()
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	q.poke()
}

func (q *exitQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.poke()
}

func (q *exitQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run moves exits to the channel. After close it hands over what a reader
// takes and what the channel holds; the rest is found by List.
func (q *exitQueue) run() {
	defer close(q.out)
	for {
		q.mu.Lock()
		batch, closed := q.queue, q.closed
		q.queue = nil
		q.mu.Unlock()
		for _, e := range batch {
			if !q.deliver(e) {
				return
			}
		}
		if closed {
			return
		}
		if len(batch) == 0 { // deliver may have taken the wake-up of a later one
			<-q.wake
		}
	}
}

// deliver says false where the queue was closed and nobody takes the exit.
func (q *exitQueue) deliver(e Exit) bool {
	for {
		q.mu.Lock()
		closed := q.closed
		q.mu.Unlock()
		if closed {
			select {
			case q.out <- e:
				return true
			default:
				return false
			}
		}
		select {
		case q.out <- e:
			return true
		case <-q.wake:
		}
	}
}
