package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
)

const (
	dialTime = 10 * time.Second
	// keepAlive finds servers that are gone without a word.
	keepAlive = 15 * time.Second
)

// local are the places of the host's own log, and how they are spoken to.
var local = func() (places [][2]string) {
	for _, network := range []string{"unixgram", "unix"} {
		for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
			places = append(places, [2]string{network, path})
		}
	}
	return places
}()

// Sink is a connection to a server.
type Sink struct {
	opt    Options
	header header
	conn   net.Conn
	raw    *counted
	stop   func() bool
	buf    []byte
	msg    []byte
	stream bool
	framed bool
}

// Dial connects. ctx bounds the connection's life as well.
func Dial(ctx context.Context, opt Options, tag string) (*Sink, error) {
	s := &Sink{opt: opt, header: header{facility: opt.Facility, tag: tag, pid: strconv.Itoa(os.Getpid())}}
	var err error
	if s.header.host, err = os.Hostname(); err != nil {
		s.header.host = "localhost"
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	s.framed = opt.Network == secure && strings.HasPrefix(opt.Format, "rfc5424") // RFC 5425's octet counting
	return s, nil
}

func (s *Sink) connect(ctx context.Context) error {
	places := [][2]string{{s.opt.Network, s.opt.Address}}
	if s.opt.Network == "" {
		places = local
	}
	var errs []error
	for _, p := range places {
		network := strings.TrimSuffix(p[0], "+tls")
		d := net.Dialer{Timeout: dialTime, KeepAlive: keepAlive}
		conn, err := d.DialContext(ctx, network, p[1])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.raw = &counted{Conn: conn}
		s.conn = s.raw
		s.stream = network == "tcp" || network == "unix"
		s.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		if s.opt.TLS == nil {
			return nil
		}
		return s.handshake(ctx)
	}
	return errors.Join(errs...)
}

func (s *Sink) handshake(ctx context.Context) error {
	cfg := s.opt.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(s.opt.Address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn := tls.Client(s.raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = s.Close()
		return err
	}
	s.conn = conn
	return nil
}

// Send hands over one entry, which may wait for Flush.
func (s *Sink) Send(e *log.Entry) error {
	text := bytes.TrimSuffix(e.Line, []byte{'\n'})
	if len(text) == 0 {
		return nil // as Docker
	}
	s.msg = formats[s.opt.Format](s.msg[:0], &s.header, s.header.priority(e), e.Time.Local())
	s.msg = append(s.msg, text...)
	s.msg = append(s.msg, '\n')
	if !s.stream {
		_, err := s.conn.Write(s.msg)
		return err
	}
	if s.framed {
		s.buf = strconv.AppendInt(s.buf, int64(len(s.msg)), 10)
		s.buf = append(s.buf, ' ')
	}
	s.buf = append(s.buf, s.msg...)
	return nil
}

// Buffered is how many bytes wait for Flush.
func (s *Sink) Buffered() int { return len(s.buf) }

// Flush gives all to the kernel; it waits for a server that does not read.
func (s *Sink) Flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if _, err := s.Taken(); err != nil { // what is written to one that has closed is lost without a word
		return err
	}
	_, err := s.conn.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

// Written is how many bytes the kernel was given in all.
func (s *Sink) Written() int64 { return s.raw.n }

// errClosed is the end of a connection by the server.
var errClosed = errors.New("the server has closed the connection")

// Taken is how many of them the other side's kernel has; on a stream socket of
// this host, the other side itself. Datagrams are taken when they are sent,
// unless the network said that nobody is there.
func (s *Sink) Taken() (int64, error) {
	rc, err := s.raw.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	queued := 0
	var opErr error
	look := datagram
	if s.stream {
		look = stream
	}
	if err = rc.Control(func(fd uintptr) { queued, opErr = look(int(fd)) }); err == nil {
		err = opErr
	}
	if err != nil {
		return 0, err
	}
	if _, here := s.raw.Conn.(*net.UnixConn); here && queued > 0 {
		return 0, nil // counted in other units: all or nothing
	}
	return s.raw.n - int64(queued), nil
}

// stream says how many bytes wait. A connection that has ended has no queue
// either, so its state is looked at afterwards.
func stream(fd int) (int, error) {
	queued, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0, os.NewSyscallError("SIOCOUTQ", err)
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(p, 0); err == nil && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 {
		return 0, errClosed
	}
	return queued, nil
}

func datagram(fd int) (int, error) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return 0, err
}

// Close ends the connection. What was not flushed is not sent.
func (s *Sink) Close() error {
	s.stop()
	return s.conn.Close()
}

// counted counts what the kernel was given, below TLS.
type counted struct {
	net.Conn
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n += int64(n)
	return n, err
}
