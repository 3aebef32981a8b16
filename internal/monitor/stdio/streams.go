// Package stdio holds the standard streams of one process in the monitor: it
// reads what the process writes, hands it to the log first and then to the
// attached clients, and gives it what they type.
//
// A silent process costs a parked goroutine for each output and no buffer:
// buffers are taken only when there is something to read.
package stdio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// Streams are the standard streams of one process, from before it starts until
// its output is drained.
type Streams struct {
	cfg   monitor.Stdio
	child [3]*os.File // the process's ends, until Begin
	sink  sink
	begun chan struct{} // closed when console and log are there
	ended chan struct{} // closed by finish
	// onIdle is called when the last client has gone; see OnIdle.
	onIdle func()
	// onStdin is called when input was closed; see OnStdin.
	onStdin func()

	outputs   [2]*os.File // what is read: stdout (or the console), stderr
	pumps     sync.WaitGroup
	listeners sync.WaitGroup
	lingering atomic.Bool // the process has ended, nobody may be waited for
	// suspended: everything stops where it is; see Suspend.
	suspended atomic.Bool
	// drained says which outputs were read to their end.
	drained [2]atomic.Bool

	mu      sync.Mutex
	stdin   *os.File // where input goes; the console, too; nil when closed
	clients []*client
	closed  bool
	// unwritten is input that was being written when everything was suspended.
	unwritten []byte
}

// New makes the streams. The process's ends are given by Child.
func New(cfg monitor.Stdio) (_ *Streams, err error) {
	s := &Streams{cfg: cfg, begun: make(chan struct{}), ended: make(chan struct{})}
	if cfg.Terminal {
		return s, nil
	}
	defer func() {
		if err != nil {
			s.Abort()
			err = fmt.Errorf("make streams: %w", err)
		}
	}()
	if cfg.OpenStdin {
		if s.child[0], s.stdin, err = inputPipe(); err != nil {
			return nil, err
		}
	} else if s.child[0], err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	return s, nil
}

// Outputs makes the pipes of a process that is about to start, each by a call of
// pipe with the output's number. Our end does not block.
func (s *Streams) Outputs(pipe func(output int) (ours, theirs *os.File, err error)) error {
	if s.cfg.Terminal {
		return nil
	}
	for i := range s.outputs {
		ours, theirs, err := pipe(i + 1)
		if err != nil {
			return fmt.Errorf("make streams: %w", err)
		}
		s.outputs[i], s.child[i+1] = ours, theirs
	}
	return nil
}

// Files are our ends of the streams: input and outputs; nil where there is none.
func (s *Streams) Files() (files [3]*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cfg.Terminal {
		files[0] = s.stdin
	}
	files[1], files[2] = s.outputs[0], s.outputs[1]
	return files
}

// inputPipe makes a pipe of which the writing end does not block and so can be
// waited for without a thread; the other one does, as programs expect.
func inputPipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	if err := unix.SetNonblock(fds[1], true); err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// Config is what New was given.
func (s *Streams) Config() monitor.Stdio { return s.cfg }

// Child returns what the process gets as 0, 1 and 2; all nil with a terminal.
// The files stay the Streams'.
func (s *Streams) Child() [3]*os.File { return s.child }

// OnIdle has f called whenever the last client has gone. It must be set before
// the first Attach.
func (s *Streams) OnIdle(f func()) { s.onIdle = f }

// OnStdin has f called when input is closed while the process may run on. It
// must be set before Begin or Resume's first client ends.
func (s *Streams) OnStdin(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onStdin = f
}

// Begin takes over console (nil without a terminal) and the log, and starts to
// read. The process runs.
func (s *Streams) Begin(console *os.File, o Origin) error {
	s.closeChild()
	s.sink.Origin = o
	if console != nil {
		f, err := Pollable(console)
		if err != nil {
			return fmt.Errorf("console: %w", err)
		}
		s.mu.Lock()
		s.outputs[0], s.stdin = f, f
		s.mu.Unlock()
	}
	for i, f := range s.outputs {
		if f != nil {
			s.pumps.Go(func() { s.pump(log.Stream(i), f) })
		}
	}
	close(s.begun)
	return nil
}

// Pollable replaces f, of whatever mode, by a file that does not block and can
// be waited for without a thread. It closes f.
func Pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := duplicate(f)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Duplicate returns a second descriptor of f; os.ErrClosed where f is closed.
func Duplicate(f *os.File) (*os.File, error) {
	fd, err := duplicate(f)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func duplicate(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	return fd, os.NewSyscallError("fcntl", dupErr)
}

// Resize sets the terminal's size in characters.
func (s *Streams) Resize(height, width uint32) error {
	if !s.cfg.Terminal {
		return fmt.Errorf("cannot resize: the process has no terminal: %w", errdefs.ErrFailedPrecondition)
	}
	select {
	case <-s.begun:
	default:
		return fmt.Errorf("cannot resize: the process has not been started: %w", errdefs.ErrFailedPrecondition)
	}
	raw, err := s.outputs[0].SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Row: clip(height), Col: clip(width)}
	var opErr error
	if err := raw.Control(func(fd uintptr) { opErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) }); err != nil {
		return fmt.Errorf("cannot resize: the terminal is closed: %w", errdefs.ErrNotFound)
	}
	return os.NewSyscallError("TIOCSWINSZ", opErr)
}

func clip(n uint32) uint16 { return uint16(min(n, 1<<16-1)) }

// Drain is called when the process has ended. It reads the output to its end,
// waits at most limit for it where another process still holds the pipe or a
// client does not read, and closes everything. No output that was written is
// lost: what a slow client has not taken is handed to it in the background.
func (s *Streams) Drain(limit time.Duration) {
	if !s.cfg.Terminal {
		s.closeStdin()
	}
	done := make(chan struct{})
	go func() {
		s.pumps.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.linger()
		<-done
	}
	s.finish()
}

// Abort closes everything; the process was never started.
func (s *Streams) Abort() {
	s.closeChild()
	for _, f := range s.outputs {
		if f != nil {
			_ = f.Close()
		}
	}
	s.finish()
}

// Retire refuses further clients, unless there is one; then it says false.
func (s *Streams) Retire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) > 0 {
		return false
	}
	s.closed = true
	return true
}

func (s *Streams) closeChild() {
	for i, f := range s.child {
		if f != nil {
			_ = f.Close()
		}
		s.child[i] = nil
	}
}

// linger makes every wait of the pumps end now.
func (s *Streams) linger() {
	s.lingering.Store(true)
	past := time.Unix(1, 0)
	for _, f := range s.outputs {
		if f != nil {
			_ = f.SetReadDeadline(past)
		}
	}
	for _, c := range s.snapshot() {
		_ = c.file.SetWriteDeadline(past)
	}
	if s.sink.Log != nil {
		s.sink.Log.Release()
	}
}

// finish closes input, clients and log.
func (s *Streams) finish() {
	s.closeStdin()
	s.mu.Lock()
	clients := s.clients
	s.clients, s.closed = nil, true
	s.mu.Unlock()
	close(s.ended)
	for _, c := range clients {
		c.finish()
	}
	if s.sink.Log != nil {
		_ = s.sink.Log.Close()
	}
}

func (s *Streams) closeStdin() {
	s.mu.Lock()
	f, tell := s.stdin, s.onStdin
	s.stdin = nil
	s.mu.Unlock()
	if f != nil {
		_ = f.Close()
		if tell != nil {
			tell()
		}
	}
}

func (s *Streams) snapshot() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients // replaced, never changed
}

const (
	// headerSize is the length of a stdcopy frame's header: the stream's
	// number, three zeros, the length in big endian.
	headerSize = 8
	// readSize is how much is read at once; a pipe holds as much by default.
	readSize = 64 << 10
	// lingerBytes bounds what is still read of a pipe that another process
	// holds and keeps writing to: the largest pipe that can be set up unprivileged.
	lingerBytes = 1 << 20
)

// buffers are read into behind the room for a frame's header, so that header
// and data leave in one write.
var buffers = sync.Pool{New: func() any { return new([headerSize + readSize]byte) }}

// pump reads one output to its end.
func (s *Streams) pump(stream log.Stream, f *os.File) {
	raw, err := f.SyscallConn()
	for err == nil {
		err = s.readOnce(stream, raw.Read)
	}
	if s.suspended.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	defer f.Close()
	s.drained[stream].Store(true)
	if s.lingering.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		s.pumpRest(stream, raw)
	}
	s.sink.flush(stream)
}

// pumpRest takes what is in the pipe now, without waiting for more.
func (s *Streams) pumpRest(stream log.Stream, raw syscall.RawConn) {
	now := func(f func(fd uintptr) bool) error {
		empty := false
		err := raw.Control(func(fd uintptr) { empty = !f(fd) })
		if empty {
			return io.EOF
		}
		return err
	}
	for range lingerBytes / readSize {
		if s.readOnce(stream, now) != nil {
			return
		}
	}
}

// readOnce reads what is there through read and hands it on. io.EOF is the end.
func (s *Streams) readOnce(stream log.Stream, read func(func(fd uintptr) bool) error) error {
	if s.sink.Log != nil {
		return s.readSpooled(stream, read)
	}
	var buf *[headerSize + readSize]byte
	var n int
	var opErr error
	err := read(func(fd uintptr) bool {
		buf = buffers.Get().(*[headerSize + readSize]byte)
		for {
			n, opErr = unix.Read(int(fd), buf[headerSize:])
			if opErr != unix.EINTR {
				break
			}
		}
		if opErr == unix.EAGAIN {
			buffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf == nil {
		return err
	}
	defer buffers.Put(buf)
	if opErr != nil || n <= 0 {
		return io.EOF // for a terminal EIO: nobody has it open any more
	}
	s.hand(stream, buf, n)
	return nil
}

// hand gives n bytes behind the header's room to clients.
func (s *Streams) hand(stream log.Stream, buf *[headerSize + readSize]byte, n int) {
	clients := s.snapshot()
	if len(clients) == 0 {
		return
	}
	frame := buf[headerSize : headerSize+n]
	if !s.cfg.Terminal {
		frame = buf[:headerSize+n]
		frame[0], frame[1], frame[2], frame[3] = byte(stream)+1, 0, 0, 0
		frame[4], frame[5], frame[6], frame[7] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	}
	for _, c := range clients {
		if c.wants[stream] && !c.write(frame, &s.lingering) {
			s.drop(c)
		}
	}
}

// Dropped is how many log records the disk had no room for.
func (s *Streams) Dropped() uint64 {
	if s.sink.Log == nil {
		return 0
	}
	return s.sink.Log.Dropped()
}
