// Package journal sends entries of a log to journald, by its native protocol:
// a datagram an entry, or a sealed memory file for one that is too large.
// See https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
)

// socket is where journald listens.
const socket = "/run/systemd/journal/socket"

// Present says whether journald listens; path is "" for where it always does.
func Present(path string) bool {
	if path == "" {
		path = socket
	}
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().Type() == os.ModeSocket
}

// Key makes a field's name of any text: capital letters, digits, underscores,
// and no underscore first.
func Key(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, s)
	return strings.TrimLeft(s, "_")
}

// AppendField appends one field as the protocol has it.
func AppendField(dst []byte, key string, value []byte) []byte {
	if key == "" {
		return dst
	}
	dst = append(dst, key...)
	if bytes.IndexByte(value, '\n') < 0 {
		dst = append(dst, '=')
	} else {
		dst = append(dst, '\n')
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	}
	dst = append(dst, value...)
	return append(dst, '\n')
}

// Sink is a connection to journald.
type Sink struct {
	conn *net.UnixConn
	stop func() bool
	// fields makes those of an entry.
	fields func(dst []byte, e *log.Entry) []byte
	buf    []byte
	n      int64
}

// Dial connects. ctx bounds the connection's life as well.
func Dial(ctx context.Context, path string, fields func(dst []byte, e *log.Entry) []byte) (*Sink, error) {
	if path == "" {
		path = socket
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return &Sink{conn: conn, fields: fields, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// Send hands over one entry; it waits for a journald that does not read.
func (s *Sink) Send(e *log.Entry) error {
	s.buf = s.fields(s.buf[:0], e)
	_, err := s.conn.Write(s.buf)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = s.sendFile()
	}
	s.n += int64(len(s.buf))
	return err
}

func (s *Sink) sendFile() error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "journal-entry")
	defer f.Close()
	if _, err := f.Write(s.buf); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	_, _, err = s.conn.WriteMsgUnix(nil, unix.UnixRights(int(f.Fd())), nil)
	return err
}

// Buffered is nothing.
func (s *Sink) Buffered() int { return 0 }

// Flush has nothing to do.
func (s *Sink) Flush() error { return nil }

// Written is how many bytes were sent in all.
func (s *Sink) Written() int64 { return s.n }

// Taken is all: the socket outlives journald.
func (s *Sink) Taken() (int64, error) { return s.n, nil }

// Close ends the connection.
func (s *Sink) Close() error {
	s.stop()
	return s.conn.Close()
}
