// Package stream carries the long answers of the HTTP API: connections taken
// over for a process's standard streams, framed logs, and the progress of long jobs.
package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

// Media types of process output, see the Docker Engine API.
const (
	Raw         = "application/vnd.docker.raw-stream"
	Multiplexed = "application/vnd.docker.multiplexed-stream"
)

// ContentType of process output for this client: clients before 1.42 know only one.
func ContentType(r *http.Request, tty bool) string {
	if tty || edge.Before(r, 42) {
		return Raw
	}
	return Multiplexed
}

// Client is a taken-over HTTP connection.
type Client struct {
	net.Conn
	in *bufio.Reader
}

// Hijack takes the connection over: with 101 where the client asked for an
// upgrade, else with 200 and a body that ends with the connection.
func Hijack(w http.ResponseWriter, r *http.Request, contentType string) (*Client, error) {
	header := w.Header().Clone()
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	header.Set("Content-Type", contentType)
	status := "200 OK"
	if r.Header.Get("Upgrade") != "" {
		status = "101 UPGRADED"
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "tcp")
	}
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %s\r\n", status)
	_ = header.Write(buf)
	_, _ = buf.WriteString("\r\n")
	if err := buf.Flush(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &Client{Conn: conn, in: buf.Reader}, nil
}

type closeWriter interface{ CloseWrite() error }

// CloseWrite ends the output and leaves the input open, where the connection can.
func (c *Client) CloseWrite() error {
	if cw, ok := c.Conn.(closeWriter); ok {
		return cw.CloseWrite()
	}
	return nil
}

// input is what the client sends: first what came with the request.
func (c *Client) input() io.Reader {
	if n := c.in.Buffered(); n > 0 {
		return io.MultiReader(io.LimitReader(c.in, int64(n)), c.Conn)
	}
	return c.Conn
}

// Join carries bytes between the client and the process until the output
// ends, the client leaves or types the detach keys; then it closes both.
// Without takesInput what the client sends is not read. Keys work on a terminal only.
func (c *Client) Join(st *request.Stream, takesInput bool, keys []byte) error {
	defer c.Close()
	if st.Conn != nil {
		defer st.Conn.Close()
	}
	awaitHeaderRead(c.Conn)
	if st.Replay != nil {
		if err := st.Replay(func(p []byte) error { _, err := c.Write(p); return err }); err != nil {
			return err
		}
	}
	if st.Conn == nil {
		return c.CloseWrite()
	}
	ended, fed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(fed)
		c.feed(st, takesInput, keys, ended)
	}()
	_, err := io.Copy(c.Conn, st.Conn)
	if err == nil {
		awaitRecord(st)
	}
	_ = c.CloseWrite()
	close(ended)
	if takesInput && err == nil {
		// A connection that is closed with input unread is reset, and a client
		// may lose the end of the output with it.
		_ = st.Conn.Close()
		_ = c.SetReadDeadline(time.Now().Add(leaveTime))
		<-fed
	}
	return err
}

// leaveTime is how long a client has to close its side after the output's end.
const leaveTime = time.Second

const (
	// headerLook is how often the header's reading is looked for, headerTime how long at most.
	headerLook, headerTime = 100 * time.Microsecond, 100 * time.Millisecond
	// headerPause stands for that where it cannot be seen: a Unix socket knows
	// what its other end has read, a network connection does not.
	headerPause = 2 * time.Millisecond
)

// awaitHeaderRead keeps the first output apart from the header. Some clients
// (docker-py) read the header through a buffer and the rest past it: output
// that came into the buffer with the header is lost to them.
func awaitHeaderRead(conn net.Conn) {
	wait := headerPause
	u, ok := conn.(*net.UnixConn)
	if ok {
		wait = headerTime
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	tick := time.NewTicker(headerLook)
	defer tick.Stop()
	for !ok || unread(u) {
		select {
		case <-tick.C:
		case <-late.C:
			return
		}
	}
}

// unread says whether the other end has not read all that was sent to it.
func unread(u *net.UnixConn) bool {
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	left := 0
	var opErr error
	// The descriptor is open while Control runs; see SIOCOUTQ in unix(7).
	err = raw.Control(func(fd uintptr) { left, opErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return err == nil && opErr == nil && left > 0
}

// recordTime bounds the wait for a process's end to be recorded.
const recordTime = 5 * time.Second

func awaitRecord(st *request.Stream) {
	if st.Ended == nil {
		return
	}
	late := time.NewTimer(recordTime)
	defer late.Stop()
	select {
	case <-st.Ended:
	case <-late.C:
	}
}

// feed gives the client's input to the process. Its end is the process's end
// of input, except on a terminal, where it ends the attachment as in Docker. A
// process that reads no more has output still to come: the rest of the input
// is read and dropped.
func (c *Client) feed(st *request.Stream, takesInput bool, keys []byte, ended <-chan struct{}) {
	if !takesInput {
		c.awaitGone(ended)
		_ = st.Conn.Close()
		return
	}
	from := &source{in: c.input()}
	var in io.Reader = from
	if st.TTY && len(keys) > 0 {
		in = &escapeReader{in: from, keys: keys}
	}
	_, err := io.Copy(st.Conn, in)
	detached(st, err)
	if err != nil && from.err == nil && !errors.Is(err, errDetached) {
		_, _ = io.Copy(io.Discard, from)
	}
	if st.TTY || !errors.Is(from.err, io.EOF) {
		_ = st.Conn.Close()
		return
	}
	if cw, ok := st.Conn.(closeWriter); ok {
		_ = cw.CloseWrite()
	}
	c.awaitGone(ended)
	_ = st.Conn.Close()
}

// source remembers how reading from the client ended.
type source struct {
	in  io.Reader
	err error
}

func (s *source) Read(p []byte) (n int, err error) {
	n, err = s.in.Read(p)
	s.err = err
	return n, err
}

// goneInterval is how often a quiet client is looked at, which has sent all it will.
const goneInterval = 5 * time.Second

// awaitGone returns when the client has closed its side for both directions,
// or when ended is closed. Reading cannot tell that from a half-close, which
// every client does that sends no input.
func (c *Client) awaitGone(ended <-chan struct{}) {
	tick := time.NewTicker(goneInterval)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			if hungUp(c.Conn) {
				return
			}
		}
	}
}

// hungUp asks the kernel whether the connection is dead in both directions.
// A connection without a file descriptor of its own (TLS) is found dead by keep-alive.
func hungUp(conn net.Conn) bool {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return true
	}
	hup := false
	err = raw.Control(func(fd uintptr) {
		// The descriptor is open while Control runs, and a zero timeout never blocks.
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		hup = err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return hup || err != nil
}
