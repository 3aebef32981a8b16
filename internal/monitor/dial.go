package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/monitor/wire"
)

const (
	// lockFile in exec-root is held by a daemon while it looks for the monitor or starts it.
	lockFile = "monitor.lock"
	// LogFile in exec-root takes what the monitor has to say.
	LogFile = "monitor.log"
	// helloTime bounds the first answer of a monitor that was just started.
	helloTime = 10 * time.Second
	// maxSocketPath is what fits in sockaddr_un with its final 0.
	maxSocketPath = 107
)

// Options say where the monitor is and how it is started.
type Options struct {
	// Socket is the path of the monitor's Unix socket.
	Socket string
	// ExecRoot is the directory of what lives as long as the machine runs.
	ExecRoot string
	// Binary is the path of hoy-run.
	Binary string
	// Log may be nil.
	Log *slog.Logger
}

// Dial connects to the monitor, and starts it where none answers. Two daemons
// that dial at once get the same one.
func Dial(ctx context.Context, opt Options) (*Client, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if len(opt.Socket) > maxSocketPath {
		return nil, fmt.Errorf("monitor: socket path %s is longer than %d bytes: %w", opt.Socket, maxSocketPath, errdefs.ErrInvalidArgument)
	}
	if err := os.MkdirAll(opt.ExecRoot, 0o711); err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	lock, err := acquire(ctx, filepath.Join(opt.ExecRoot, lockFile))
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	tried := false
	for {
		conn, err := connect(opt.Socket)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
			return spawnAndConnect(ctx, opt)
		default:
			return nil, fmt.Errorf("monitor: connect to %s: %w", opt.Socket, err)
		}
		c, err := newClient(ctx, conn, opt.Log)
		switch {
		case err == nil && c.peer.Version != Version() && !tried:
			// One try: a monitor that stays what it is serves all the same.
			tried = true
			if err := c.Upgrade(ctx, opt.Binary); err != nil {
				opt.Log.Warn("the monitor is of another version and stays", "monitor", c.peer.Version, "daemon", Version(), "pid", c.peer.Pid, "error", err)
			} else {
				opt.Log.Info("the monitor was replaced in place", "was", c.peer.Version, "pid", c.peer.Pid)
			}
			_ = c.Close()
			continue
		case !errdefs.IsUnavailable(err):
			return c, err
		}
		// It was ending when we came; its socket goes with it.
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// spawnAndConnect starts a monitor; the caller holds the lock.
func spawnAndConnect(ctx context.Context, opt Options) (*Client, error) {
	if err := spawn(opt); err != nil {
		return nil, fmt.Errorf("monitor: start %s: %w", opt.Binary, err)
	}
	conn, err := connect(opt.Socket)
	if err != nil {
		err = fmt.Errorf("monitor: connect to %s: %w: %w", opt.Socket, err, errdefs.ErrUnavailable)
	}
	var c *Client
	if err == nil {
		c, err = newClient(ctx, conn, opt.Log)
	}
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, lastWords(filepath.Join(opt.ExecRoot, LogFile)))
	}
	return c, nil
}

// acquire takes an exclusive lock; closing the file gives it back.
func acquire(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %s, held by another daemon: %w", path, ctx.Err())
		}
	}
}

// connect opens the socket and makes sure that root or our own user is behind it.
func connect(path string) (*wire.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for {
		// A connect on a Unix socket is done at once or refused: EAGAIN is a full backlog.
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	conn, err := wire.NewConn(fd)
	if err != nil {
		return nil, err
	}
	if err := wire.CheckPeer(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// lastWords returns the end of a monitor's log, to stand behind an error.
func lastWords(path string) string {
	const most = 1024
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, most))
	if len(text) == 0 {
		return ""
	}
	return "; its log ends with: " + string(text)
}
