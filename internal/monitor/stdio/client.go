package stdio

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/log"
)

// inputSize is how much of a client's input is read at once.
const inputSize = 8 << 10

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// client is one attached connection: our end of a socket pair.
type client struct {
	file  *os.File
	stdin bool
	wants [2]bool // by log.Stream
	once  sync.Once

	// writing keeps frames whole and in order. It is held while a slow client
	// is waited for: that is the container's pace, as in Docker.
	writing sync.Mutex
	// backlog is what the client had not taken when the process ended.
	backlog []byte
}

// Attach connects a new client, from now on, and returns its end, a stream
// socket. errdefs.ErrNotFound means that the output has ended.
func (s *Streams) Attach(stdin, stdout, stderr bool) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	c := &client{file: os.NewFile(uintptr(fds[0]), "attached"), stdin: stdin}
	c.wants[log.Stdout], c.wants[log.Stderr] = stdout, stderr
	theirs := os.NewFile(uintptr(fds[1]), "attached")
	s.mu.Lock()
	ended := s.closed || s.lingering.Load()
	if !ended {
		s.clients = append(slices.Clip(s.clients), c)
	}
	s.mu.Unlock()
	if ended {
		_ = c.file.Close()
		_ = theirs.Close()
		return nil, fmt.Errorf("attach: the process has ended: %w", errdefs.ErrNotFound)
	}
	if s.lingering.Load() { // since the look above: the pumps must not wait for it
		_ = c.file.SetWriteDeadline(time.Unix(1, 0))
	}
	s.listeners.Go(func() { s.listen(c) })
	return theirs, nil
}

// listen reads a client's input until it hangs up.
func (s *Streams) listen(c *client) {
	for {
		buf, n := c.read()
		if n <= 0 {
			break
		}
		s.input(c, buf[:n])
		inputs.Put(buf)
	}
	if s.suspended.Load() {
		return // an end that was read is there to be read again
	}
	defer func() {
		if !s.suspended.Load() {
			s.drop(c)
		}
	}()
	if c.stdin && s.cfg.OpenStdin {
		if !s.cfg.StdinOnce || s.cfg.Terminal {
			return // Docker detaches a client whose input has ended
		}
		s.closeStdin()
	}
	c.waitHangup()
}

// read takes a buffer only when there is something to read; n <= 0 is the end.
func (c *client) read() (buf *[inputSize]byte, n int) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, 0
	}
	err = raw.Read(func(fd uintptr) bool {
		buf = inputs.Get().(*[inputSize]byte)
		for {
			var err error
			n, err = unix.Read(int(fd), buf[:])
			if err == unix.EAGAIN {
				inputs.Put(buf)
				buf = nil
				return false
			}
			if err != unix.EINTR {
				return true
			}
		}
	})
	if err != nil || n <= 0 {
		if buf != nil {
			inputs.Put(buf)
		}
		return nil, 0
	}
	return buf, n
}

// waitHangup returns when the other end is closed altogether, or ours is.
func (c *client) waitHangup() {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(p, 0)
		return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
}

// input hands what a client typed to the process; without an open input it is dropped.
func (s *Streams) input(c *client, p []byte) {
	if !c.stdin || !s.cfg.OpenStdin {
		return
	}
	if s.cfg.Terminal {
		select {
		case <-s.begun: // the terminal exists
		case <-s.ended:
			return
		}
	}
	s.mu.Lock()
	f := s.stdin
	s.mu.Unlock()
	if f != nil {
		s.enter(f, p)
	}
}

// enter writes input; a process that does not read any more is no error.
func (s *Streams) enter(f *os.File, p []byte) {
	n, err := f.Write(p)
	if err != nil && s.suspended.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		s.mu.Lock()
		s.unwritten = append(s.unwritten, p[n:]...)
		s.mu.Unlock()
	}
}

// write sends one frame; false means that the client is gone. When lingering is
// set, what would have to be waited for goes to the backlog.
func (c *client) write(frame []byte, lingering *atomic.Bool) bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(c.backlog) > 0 {
		c.backlog = append(c.backlog, frame...)
		return true
	}
	n, err := c.file.Write(frame)
	if err == nil {
		return true
	}
	if lingering.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		c.backlog = append(c.backlog, frame[n:]...)
		return true
	}
	return false
}

// drop forgets a client and closes it.
func (s *Streams) drop(c *client) {
	s.mu.Lock()
	i := slices.Index(s.clients, c)
	if i >= 0 {
		s.clients = slices.Concat(s.clients[:i], s.clients[i+1:])
	}
	idle := i >= 0 && len(s.clients) == 0
	s.mu.Unlock()
	if i < 0 {
		return // finish closes it
	}
	c.close()
	if idle && s.onIdle != nil {
		s.onIdle()
	}
}

// finish closes a client when it has taken its backlog.
func (c *client) finish() {
	c.writing.Lock()
	rest := c.backlog
	c.backlog = nil
	c.writing.Unlock()
	if len(rest) == 0 {
		c.close()
		return
	}
	go func() {
		_ = c.file.SetWriteDeadline(time.Time{})
		_, _ = c.file.Write(rest) // ends when the client takes it or goes
		c.close()
	}()
}

// close ends both directions. Unread input is read away first: closing a Unix
// socket with unread data would make the client's read fail instead of end.
func (c *client) close() {
	c.once.Do(func() {
		if raw, err := c.file.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = unix.Shutdown(int(fd), unix.SHUT_RDWR)
				var scratch [1024]byte
				for {
					if n, err := unix.Read(int(fd), scratch[:]); n <= 0 || err != nil {
						break
					}
				}
			})
		}
		_ = c.file.Close()
	})
}
