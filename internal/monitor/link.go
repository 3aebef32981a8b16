package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"hoy/internal/monitor/wire"
)

const (
	// patience bounds the wait of a call for a monitor that has gone to come back.
	patience = 15 * time.Second
	// The pauses between two attempts to find a monitor, the first and the longest.
	firstRetry = 20 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Link is a daemon's connection that outlasts the monitor: when the monitor's
// process goes away, the Link dials its successor, or starts one, and goes on.
// Calls wait meanwhile, and those that change nothing when done twice are
// repeated; Start finds out what became of it.
type Link struct {
	opt   Options
	exits *exitQueue
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	ended chan struct{}
	// leaving: Shutdown was asked for, the end of the connection is no loss.
	leaving atomic.Bool

	mu     sync.Mutex
	client *Client
	// next is closed when client has been replaced.
	next chan struct{}
	// told are exits that were delivered and not forgotten: a List after a new
	// connection has them as well.
	told map[ProcessID]time.Time
}

// Connect is Dial for a daemon that does not end with the monitor.
func Connect(ctx context.Context, opt Options) (*Link, error) {
	c, err := Dial(ctx, opt)
	if err != nil {
		return nil, err
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{opt: opt, exits: newExitQueue(), ended: make(chan struct{}), client: c, next: make(chan struct{}), told: map[ProcessID]time.Time{}}
	l.ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	go l.run(c)
	return l, nil
}

// run delivers exits, through one connection after the other.
func (l *Link) run(c *Client) {
	defer close(l.ended)
	defer l.exits.close()
	for {
		for e := range c.Exits() {
			l.deliver(e)
		}
		if l.ctx.Err() != nil || l.leaving.Load() {
			return
		}
		l.opt.Log.Error("the monitor has gone; looking for its successor", "pid", c.Pid())
		if c = l.redial(); c == nil {
			return
		}
		l.opt.Log.Info("the monitor is back", "pid", c.Pid(), "version", c.Version())
	}
}

// redial returns a new connection, when it is known what ended meanwhile; nil after Close.
func (l *Link) redial() *Client {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		c, err := Dial(l.ctx, l.opt)
		if err == nil {
			if err = l.catchUp(c); err == nil {
				return c
			}
			_ = c.Close()
		}
		if l.ctx.Err() != nil {
			return nil
		}
		l.opt.Log.Error("no monitor: nothing can be started or ended", "error", err)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return nil
		}
	}
}

// catchUp delivers the exits of the time without a connection before any call
// can start the same processes anew.
func (l *Link) catchUp(c *Client) error {
	ctx, cancel := context.WithTimeout(l.ctx, helloTime)
	defer cancel()
	list, err := c.List(ctx)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.Exit != nil {
			l.deliver(*p.Exit)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client = c
	close(l.next)
	l.next = make(chan struct{})
	return nil
}

func (l *Link) deliver(e Exit) {
	l.mu.Lock()
	again := l.told[e.ID].Equal(e.At)
	l.told[e.ID] = e.At
	l.mu.Unlock()
	if !again {
		l.exits.put(e)
	}
}

// current is the connection of now; it waits for one that is being made.
func (l *Link) current(ctx context.Context) (*Client, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		c, next := l.client, l.next
		l.mu.Unlock()
		select {
		case <-c.Done():
		default:
			return c, nil
		}
		select {
		case <-next:
		case <-timer.C:
			return nil, fmt.Errorf("monitor: it has gone and none could be started, see %s in exec-root: %w", LogFile, errdefs.ErrUnavailable)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.ctx.Done():
			return nil, fmt.Errorf("monitor: %w: %w", net.ErrClosed, errdefs.ErrUnavailable)
		}
	}
}

// lost says whether a call has failed because the connection ended.
func lost(c *Client, err error) bool {
	if !errdefs.IsUnavailable(err) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// repeat does what may be done twice until it was done by one monitor.
func (l *Link) repeat(ctx context.Context, f func(c *Client) error) error {
	for {
		c, err := l.current(ctx)
		if err != nil {
			return err
		}
		if err = f(c); !lost(c, err) {
			return err
		}
		<-c.Done()
	}
}

// Start is Client.Start. Where the monitor went away meanwhile, its successor
// tells whether the process runs: what had not got so far is ended by it.
func (l *Link) Start(ctx context.Context, req StartRequest) (Started, error) {
	c, err := l.current(ctx)
	if err != nil {
		return Started{}, err
	}
	asked := time.Now()
	started, err := c.Start(ctx, req)
	if !lost(c, err) {
		return started, err
	}
	<-c.Done()
	list, again := l.List(ctx)
	if again != nil {
		return Started{}, errors.Join(err, again)
	}
	for _, p := range list {
		if p.ID == req.ID && !p.Started.At.Before(asked) {
			return p.Started, nil
		}
	}
	return Started{}, fmt.Errorf("the monitor went away during the start; nothing was started: %w", errdefs.ErrUnavailable)
}

// Signal is Client.Signal. A monitor that ends just then may have sent it as well.
func (l *Link) Signal(ctx context.Context, id ProcessID, sig syscall.Signal) error {
	return l.repeat(ctx, func(c *Client) error { return c.Signal(ctx, id, sig) })
}

// Resize is Client.Resize.
func (l *Link) Resize(ctx context.Context, id ProcessID, height, width uint32) error {
	return l.repeat(ctx, func(c *Client) error { return c.Resize(ctx, id, height, width) })
}

// Attach is Client.Attach. The connection that it returns ends with the monitor.
func (l *Link) Attach(ctx context.Context, req AttachRequest) (conn net.Conn, err error) {
	err = l.repeat(ctx, func(c *Client) (err error) {
		conn, err = c.Attach(ctx, req)
		return err
	})
	return conn, err
}

// List is Client.List.
func (l *Link) List(ctx context.Context) (list []ProcessState, err error) {
	err = l.repeat(ctx, func(c *Client) (err error) {
		list, err = c.List(ctx)
		return err
	})
	return list, err
}

// Exits delivers every exit from the time of Connect on, each once; earlier ones
// are found by List. It is closed by Close and Shutdown.
func (l *Link) Exits() <-chan Exit { return l.exits.out }

// Forget is Client.Forget.
func (l *Link) Forget(ctx context.Context, id ProcessID) error {
	err := l.repeat(ctx, func(c *Client) error { return c.Forget(ctx, id) })
	if err == nil {
		l.mu.Lock()
		delete(l.told, id)
		l.mu.Unlock()
	}
	return err
}

// Shutdown is Client.Shutdown; where it succeeds it is Close as well.
func (l *Link) Shutdown(ctx context.Context) error {
	c, err := l.current(ctx)
	if err != nil {
		return err
	}
	l.leaving.Store(true)
	if err := c.call(ctx, wire.OpShutdown, nil, nil); err != nil {
		l.leaving.Store(false)
		return err
	}
	l.stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pid is the process id of the monitor that was last connected to.
func (l *Link) Pid() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client.Pid()
}

// Close ends the connection, not the monitor.
func (l *Link) Close() error {
	l.stop()
	l.mu.Lock()
	c := l.client
	l.mu.Unlock()
	err := c.Close()
	<-l.ended
	return err
}
