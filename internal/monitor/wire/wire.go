// Package wire frames the messages between daemon and monitor on a Unix stream
// socket: a header of fixed size, a bounded body of JSON, and open files beside
// it as SCM_RIGHTS.
//
//	offset 0  uint32  length of the body, little endian, at most MaxBody
//	offset 4  uint32  request number: a reply repeats it, a push has 0
//	offset 8  uint8   what the message is (Op)
//	offset 9  uint8   how many files come with it, at most MaxFiles
//	offset 10 uint16  0
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	// MaxBody bounds one message. A specification with every argument and
	// variable that execve takes (2 MiB) fits after JSON escaping.
	MaxBody = 16 << 20
	// MaxFiles bounds the files beside one message.
	MaxFiles = 8
	// HeaderSize is the length of the header in bytes.
	HeaderSize = 12
	// maxQueued bounds the files received ahead of their message.
	maxQueued = 2 * MaxFiles
)

// Op says what a message is.
type Op uint8

// Requests of the client, replies and pushes of the monitor.
const (
	OpHello Op = iota + 1
	OpStart
	OpSignal
	OpResize
	OpAttach
	OpList
	OpForget
	OpShutdown
	// OpReply answers the request of the same number.
	OpReply
	// OpError answers it with an Error as body.
	OpError
	// OpExit is pushed when a process has ended.
	OpExit
	// OpUpgrade, a request, brings the program that the monitor becomes, in a
	// sealed file. Only a failure is answered: else the connection ends.
	OpUpgrade
)

// ErrMalformed is the class of everything that a well-behaved peer never
// sends. The connection is of no use afterwards.
var ErrMalformed = errors.New("malformed message")

// Message is one message as received. The receiver owns the files.
type Message struct {
	ID    uint32
	Op    Op
	Body  []byte
	Files []*os.File
}

// Decode reads the body into v.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("%w: body of operation %d: %w", ErrMalformed, m.Op, err)
	}
	return nil
}

// CloseFiles closes the files that came with the message.
func (m *Message) CloseFiles() {
	for _, f := range m.Files {
		_ = f.Close()
	}
	m.Files = nil
}

// Conn is one end of the socket. Send may be called from many goroutines;
// Receive from one at a time.
type Conn struct {
	file *os.File
	raw  rawConn

	closed atomic.Bool
	send   sync.Mutex // keeps messages whole; the peer always reads, so it is held briefly

	queued  []int // files that came ahead of the message they belong to
	scratch [HeaderSize]byte
}

// rawConn is the part of syscall.RawConn that is used here.
type rawConn interface {
	Control(f func(fd uintptr)) error
	Read(f func(fd uintptr) (done bool)) error
	Write(f func(fd uintptr) (done bool)) error
}

// NewConn takes over a connected, non-blocking Unix stream socket.
func NewConn(fd int) (*Conn, error) {
	f := os.NewFile(uintptr(fd), "monitor connection")
	if f == nil {
		return nil, fmt.Errorf("bad file descriptor %d", fd)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Conn{file: f, raw: raw}, nil
}

// Close ends the connection; a Receive that waits returns os.ErrClosed. Files
// that were received and never delivered are closed by the next Receive's failure.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.file.Close()
}

// HungUp says whether the peer has closed its end, or we have closed ours.
func (c *Conn) HungUp() bool {
	p := []unix.PollFd{{}}
	// Control keeps the descriptor open, and a zero timeout never blocks.
	err := c.raw.Control(func(fd uintptr) {
		p[0].Fd = int32(fd)
		_, _ = unix.Poll(p, 0)
	})
	return err != nil || p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// mapClosed gives the error that a raw connection returns after Close, which
// nobody can name, the name that it has elsewhere.
func (c *Conn) mapClosed(err error) error {
	if err != nil && c.closed.Load() {
		return os.ErrClosed
	}
	return err
}

// Peer returns the process at the other end as the kernel vouches for it.
func (c *Conn) Peer() (*unix.Ucred, error) {
	var cred *unix.Ucred
	var err error
	if cerr := c.raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return nil, cerr
	}
	return cred, err
}

// Send writes one message; v becomes the body, nil is an empty one. The files
// stay the caller's and may be closed when Send returns.
func (c *Conn) Send(id uint32, op Op, v any, files ...*os.File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("send: %d files, more than %d", len(files), MaxFiles)
	}
	buf := make([]byte, HeaderSize)
	if v != nil {
		body, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		buf = append(buf, body...)
	}
	if len(buf)-HeaderSize > MaxBody {
		return fmt.Errorf("send: message of %d bytes, more than %d", len(buf)-HeaderSize, MaxBody)
	}
	binary.LittleEndian.PutUint32(buf[0:], uint32(len(buf)-HeaderSize))
	binary.LittleEndian.PutUint32(buf[4:], id)
	buf[8], buf[9] = byte(op), byte(len(files))
	return c.write(buf, files)
}

func (c *Conn) write(buf []byte, files []*os.File) error {
	rights, release, err := rightsOf(files)
	if err != nil {
		return err
	}
	defer release()
	c.send.Lock()
	defer c.send.Unlock()
	var opErr error
	err = c.raw.Write(func(fd uintptr) bool {
		for len(buf) > 0 {
			n, err := unix.SendmsgN(int(fd), buf, rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case err != nil:
				opErr = os.NewSyscallError("sendmsg", err)
				return true
			}
			// The files travel with the first byte.
			buf, rights = buf[n:], nil
		}
		return true
	})
	return errors.Join(c.mapClosed(err), opErr)
}

// rightsOf builds the control message. The duplicates that it sends keep the
// files' own blocking mode out of the way of File.Fd and live until release.
func rightsOf(files []*os.File) (oob []byte, release func(), err error) {
	if len(files) == 0 {
		return nil, func() {}, nil
	}
	fds := make([]int, 0, len(files))
	release = func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err == nil {
			var dupErr error
			err = raw.Control(func(fd uintptr) {
				var dup int
				if dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); dupErr == nil {
					fds = append(fds, dup)
				}
			})
			err = errors.Join(err, dupErr)
		}
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("send file: %w", err)
		}
	}
	return unix.UnixRights(fds...), release, nil
}

// Receive reads the next message. io.EOF means that the peer has closed
// between messages.
func (c *Conn) Receive() (*Message, error) {
	m, err := c.receive()
	if err != nil {
		for _, fd := range c.queued {
			_ = unix.Close(fd)
		}
		c.queued = nil
	}
	return m, err
}

func (c *Conn) receive() (*Message, error) {
	header := c.scratch[:]
	if err := c.fill(header); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(header)
	m := &Message{ID: binary.LittleEndian.Uint32(header[4:]), Op: Op(header[8])}
	files := int(header[9])
	switch {
	case size > MaxBody:
		return nil, fmt.Errorf("%w: body of %d bytes, more than %d", ErrMalformed, size, MaxBody)
	case files > MaxFiles || files > len(c.queued):
		return nil, fmt.Errorf("%w: %d files announced, %d came", ErrMalformed, files, len(c.queued))
	}
	body, err := c.body(int(size))
	if err != nil {
		return nil, err
	}
	m.Body = body
	for _, fd := range c.queued[:files] {
		m.Files = append(m.Files, os.NewFile(uintptr(fd), "received"))
	}
	c.queued = append(c.queued[:0:0], c.queued[files:]...)
	return m, nil
}

// body reads n bytes, growing as they come: a header alone cannot make the
// receiver hold MaxBody.
func (c *Conn) body(n int) ([]byte, error) {
	const step = 256 << 10
	buf := make([]byte, 0, min(n, step))
	for len(buf) < n {
		at := len(buf)
		grow := min(n-at, step)
		buf = append(buf, make([]byte, grow)...)
		if err := c.fill(buf[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// fill reads len(p) bytes, and queues the files that come beside them.
func (c *Conn) fill(p []byte) error {
	var oob [256]byte // CMSG_SPACE of MaxFiles descriptors is 48
	var opErr error
	got := 0
	err := c.raw.Read(func(fd uintptr) bool {
		for got < len(p) {
			n, oobn, flags, _, err := unix.Recvmsg(int(fd), p[got:], oob[:], unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case err != nil:
				opErr = os.NewSyscallError("recvmsg", err)
				return true
			}
			if err := c.queue(oob[:oobn]); err != nil {
				opErr = err
				return true
			}
			if flags&unix.MSG_CTRUNC != 0 {
				opErr = fmt.Errorf("%w: too many files", ErrMalformed)
				return true
			}
			if n == 0 {
				opErr = io.EOF
				if got > 0 {
					opErr = io.ErrUnexpectedEOF
				}
				return true
			}
			got += n
		}
		return true
	})
	if opErr != nil {
		return opErr
	}
	return c.mapClosed(err)
}

func (c *Conn) queue(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: control message: %w", ErrMalformed, err)
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("%w: control message: %w", ErrMalformed, err)
		}
		c.queued = append(c.queued, fds...)
	}
	if len(c.queued) > maxQueued {
		return fmt.Errorf("%w: %d files ahead of their messages", ErrMalformed, len(c.queued))
	}
	return nil
}

// CheckPeer refuses a connection whose other end is neither root nor our own user.
func CheckPeer(c *Conn) error {
	cred, err := c.Peer()
	if err != nil {
		return fmt.Errorf("peer's credentials: %w", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("peer is user %d, process %d: %w", cred.Uid, cred.Pid, errdefs.ErrPermissionDenied)
	}
	return nil
}
