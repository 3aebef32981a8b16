package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/moby/moby/client"
	"github.com/moby/term"

	"hoy/internal/cli"
)

// connect returns both ends of a unix socket, as the daemon has it.
func connect(t *testing.T) (near *client.HijackedResponse, far *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = peer.Close() })
	resp := client.NewHijackedResponse(conn, "")
	return &resp, peer.(*net.UnixConn)
}

func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, 0, byte(len(text))}) + text
}

func TestStreamBothWays(t *testing.T) {
	near, far := connect(t)
	var out, errs bytes.Buffer
	s := &Session{App: cli.NewApp(strings.NewReader("question"), &out, &errs), Stdin: true, Stdout: true, Stderr: true}
	got := make(chan string, 1)
	go func() {
		asked, _ := io.ReadAll(far) // to the half-close
		got <- string(asked)
		_, _ = io.WriteString(far, frame(1, "answer\n")+frame(2, "oops\n"))
		_ = far.Close()
	}()
	if err := s.Stream(t.Context(), near); err != nil {
		t.Fatal(err)
	}
	if asked := <-got; asked != "question" || out.String() != "answer\n" || errs.String() != "oops\n" {
		t.Errorf("asked %q, out %q, err %q", asked, &out, &errs)
	}
}

func TestOutputArrivesWithInputUnread(t *testing.T) {
	near, far := connect(t)
	var out bytes.Buffer
	s := &Session{App: cli.NewApp(endless{}, &out, io.Discard), Stdin: true, Stdout: true, Stderr: true}
	go func() {
		_, _ = io.WriteString(far, frame(1, "done"))
		_, _ = far.Read(make([]byte, 1))
		_ = far.Close()
	}()
	if err := s.Stream(t.Context(), near); err != nil || out.String() != "done" {
		t.Errorf("%q, %v", &out, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestOutputClosed(t *testing.T) {
	near, far := connect(t)
	s := &Session{App: cli.NewApp(strings.NewReader(""), closed{}, io.Discard), Stdout: true, Stderr: true}
	go func() { _, _ = io.WriteString(far, frame(1, "x")) }()
	err := s.Stream(t.Context(), near)
	if !errors.Is(err, ErrOutputClosed) {
		t.Fatalf("%v", err)
	}
	var told bytes.Buffer
	over, err := Ended(cli.NewApp(nil, nil, &told), "container abc", err)
	if !over || cli.ExitCode(err) != 141 || told.String() != "hoy: the output was closed; container abc runs on\n" {
		t.Errorf("%v %v %q", over, err, &told)
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}
}

func TestStreamEndsWithContext(t *testing.T) {
	near, _ := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &Session{App: cli.NewApp(nil, io.Discard, io.Discard), Stdout: true}
	if err := s.Stream(ctx, near); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestDetach types on a real terminal: what is typed goes out, the detach keys
// end the session, and the terminal is as before.
func TestDetach(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("needs a pseudo-terminal: ", err)
	}
	defer master.Close()
	defer slave.Close()
	before, err := term.SaveState(slave.Fd())
	if err != nil {
		t.Fatal(err)
	}
	near, far := connect(t)
	s := &Session{App: cli.NewApp(slave, io.Discard, io.Discard), TTY: true, Stdin: true, Stdout: true, DetachKeys: "ctrl-a,d"}
	done := make(chan error, 1)
	go func() { done <- s.Stream(t.Context(), near) }()
	_, _ = master.WriteString("hi\r")
	read := make([]byte, 3)
	if _, err := io.ReadFull(far, read); err != nil || string(read[:2]) != "hi" {
		t.Errorf("the process got %q, %v", read, err)
	}
	_, _ = master.WriteString("\x01d")
	select {
	case err := <-done:
		if !errors.Is(err, ErrDetached) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the detach keys did nothing")
	}
	after, err := term.SaveState(slave.Fd())
	if err != nil || *after != *before {
		t.Errorf("the terminal was left in another mode: %+v, %v", after, err)
	}
}

func TestKeys(t *testing.T) {
	t.Setenv("HOY_CONFIG", t.TempDir())
	app := cli.NewApp(nil, io.Discard, io.Discard)
	if keys, err := (&Session{App: app}).Keys(); keys != DefaultDetachKeys || err != nil {
		t.Errorf("%q, %v", keys, err)
	}
	if _, err := (&Session{App: app, DetachKeys: "nonsense"}).Keys(); err == nil {
		t.Error("accepted")
	}
}

func TestFollowSize(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("needs a pseudo-terminal: ", err)
	}
	defer master.Close()
	defer slave.Close()
	if err := pty.Setsize(master, &pty.Winsize{Rows: 33, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	sizes := make(chan [2]uint, 8)
	refusals := 2
	stop := FollowSize(t.Context(), cli.NewApp(nil, slave, nil), func(_ context.Context, h, w uint) error {
		if refusals--; refusals >= 0 {
			return errors.New("not started yet")
		}
		sizes <- [2]uint{h, w}
		return nil
	})
	defer stop()
	if got := <-sizes; got != [2]uint{33, 77} {
		t.Errorf("%v", got)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 10, Cols: 20}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if got := <-sizes; got != [2]uint{10, 20} {
		t.Errorf("%v", got)
	}
}

func TestForwarded(t *testing.T) {
	for sig, want := range map[syscall.Signal]bool{syscall.SIGINT: true, syscall.SIGTERM: true, syscall.SIGUSR1: true, syscall.SIGCHLD: false, syscall.SIGPIPE: false, syscall.SIGURG: false, syscall.SIGWINCH: false} {
		if forwarded(sig) != want {
			t.Errorf("%v", sig)
		}
	}
	if signalName(syscall.SIGHUP) != "SIGHUP" || signalName(40) != "40" {
		t.Errorf("%s %s", signalName(syscall.SIGHUP), signalName(40))
	}
}
