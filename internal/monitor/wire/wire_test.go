package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime"
)

// pair returns a connection and the bare other end.
func pair(tb testing.TB) (*Conn, int) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := NewConn(fds[0])
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c, fds[1]
}

func pairOfConns(tb testing.TB) (a, b *Conn) {
	a, fd := pair(tb)
	b, err := NewConn(fd)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return a, b
}

func TestMessagesAndFilesArriveWholeAndInOrder(t *testing.T) {
	a, b := pairOfConns(t)
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				r, w, err := os.Pipe()
				if err != nil {
					t.Error(err)
					return
				}
				text := fmt.Sprintf("%d/%d", s, i)
				_, _ = w.WriteString(text)
				_ = w.Close()
				body := text + strings.Repeat("x", i*i*20)
				var files []*os.File
				if i%2 == 0 {
					files = append(files, r)
				}
				if err := a.Send(uint32(s*each+i+1), OpStart, body, files...); err != nil {
					t.Error(err)
				}
				_ = r.Close()
			}
		})
	}
	seen := map[uint32]bool{}
	for range senders * each {
		m, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		var body string
		if err := m.Decode(&body); err != nil {
			t.Fatal(err)
		}
		s, i := int(m.ID-1)/each, int(m.ID-1)%each
		text := fmt.Sprintf("%d/%d", s, i)
		if seen[m.ID] || !strings.HasPrefix(body, text) || len(body) != len(text)+i*i*20 || len(m.Files) != 1-i%2 {
			t.Fatalf("message %d: %d bytes, %d files", m.ID, len(body), len(m.Files))
		}
		seen[m.ID] = true
		for _, f := range m.Files {
			if got, _ := io.ReadAll(f); string(got) != text {
				t.Errorf("file of %s holds %q", text, got)
			}
			if flags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
				t.Error("a received file must not leak into a container")
			}
		}
		m.CloseFiles()
	}
	wg.Wait()
	_ = a.Close()
	if _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
	if _, err := a.Receive(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("own end: %v", err)
	}
}

func TestBounds(t *testing.T) {
	header := func(size uint32, files byte) []byte {
		h := make([]byte, HeaderSize)
		binary.LittleEndian.PutUint32(h, size)
		h[8], h[9] = byte(OpStart), files
		return h
	}
	for name, tc := range map[string]struct {
		sent []byte
		want error
	}{
		"too long":      {header(MaxBody+1, 0), ErrMalformed},
		"missing files": {header(0, 1), ErrMalformed},
		"too many":      {header(0, MaxFiles+1), ErrMalformed},
		"cut header":    {header(0, 0)[:5], io.ErrUnexpectedEOF},
		"cut body":      {append(header(10, 0), "abc"...), io.ErrUnexpectedEOF},
		"no body":       {header(10, 0), io.ErrUnexpectedEOF},
	} {
		c, fd := pair(t)
		_, _ = unix.Write(fd, tc.sent)
		_ = unix.Close(fd)
		if m, err := c.Receive(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	a, _ := pairOfConns(t)
	if err := a.Send(1, OpStart, strings.Repeat("x", MaxBody)); err == nil {
		t.Error("a message over the bound must not be sent")
	}
}

func TestUnannouncedFilesAreBoundedAndClosed(t *testing.T) {
	count := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	before := count()
	c, fd := pair(t)
	header := make([]byte, HeaderSize)
	rights := unix.UnixRights(0, 0, 0, 0, 0, 0, 0, 0)
	for range 4 {
		if err := unix.Sendmsg(fd, header, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for range 4 {
		if _, err = c.Receive(); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
	_ = unix.Close(fd)
	_ = c.Close()
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestErrorsTravel(t *testing.T) {
	for _, class := range []error{errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrFailedPrecondition,
		errdefs.ErrInvalidArgument, errdefs.ErrPermissionDenied, errdefs.ErrUnavailable, errdefs.ErrNotImplemented} {
		err := fmt.Errorf("some text: %w", class)
		if got := FromError(err).Err(); !errors.Is(got, class) || got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
	}
	cause := &fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}
	start := &runtime.StartError{Step: "exec", Err: cause, Exec: true}
	got, ok := errors.AsType[*runtime.StartError](FromError(fmt.Errorf("start: %w", start)).Err())
	if !ok || got.Step != "exec" || !got.Exec || got.Err.Error() != cause.Error() || !errors.Is(got, fs.ErrNotExist) || got.ExitCode() != 127 {
		t.Errorf("%#v", got)
	}
}

// FuzzReceive: whatever arrives, Receive returns, and what it delivers is within the bounds.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, '{', '}'})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, fd := pair(t)
		defer c.Close()
		go func() {
			_ = unix.SetNonblock(fd, false)
			_, _ = unix.Write(fd, data)
			_ = unix.Close(fd)
		}()
		for {
			m, err := c.Receive()
			if err != nil {
				return
			}
			if len(m.Body) > len(data) || len(m.Files) > 0 {
				t.Fatalf("%d bytes, %d files out of %d bytes", len(m.Body), len(m.Files), len(data))
			}
			var e Error
			if m.Decode(&e) == nil {
				_ = e.Err()
			}
		}
	})
}
