package engine

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Terminal is a command on a pseudo-terminal, typed at as a person does.
type Terminal struct {
	tb   testing.TB
	cmd  *exec.Cmd
	tty  *os.File
	mu   sync.Mutex
	text strings.Builder
	read int // how much Expect has consumed
	done chan struct{}
}

// OpenTerminal starts argv on a new terminal of 40 rows and 120 columns.
func OpenTerminal(tb testing.TB, argv ...string) *Terminal {
	tb.Helper()
	t := &Terminal{tb: tb, cmd: exec.CommandContext(tb.Context(), argv[0], argv[1:]...), done: make(chan struct{})}
	tty, err := pty.StartWithSize(t.cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		tb.Fatal(err)
	}
	t.tty = tty
	go t.collect()
	tb.Cleanup(func() {
		_ = t.cmd.Process.Kill()
		_ = t.tty.Close()
		<-t.done
	})
	return t
}

func (t *Terminal) collect() {
	defer close(t.done)
	buf := make([]byte, 4096)
	for {
		n, err := t.tty.Read(buf)
		t.mu.Lock()
		t.text.Write(buf[:n])
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Type sends keys as they are; "\r" is the enter key.
func (t *Terminal) Type(keys string) {
	t.tb.Helper()
	if _, err := io.WriteString(t.tty, keys); err != nil {
		t.tb.Fatal(err)
	}
}

// Resize changes the terminal's size.
func (t *Terminal) Resize(rows, cols uint16) {
	t.tb.Helper()
	if err := pty.Setsize(t.tty, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		t.tb.Fatal(err)
	}
}

// Expect waits until text appears behind what earlier calls consumed.
func (t *Terminal) Expect(text string, limit time.Duration) {
	t.tb.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		t.mu.Lock()
		all := t.text.String()
		t.mu.Unlock()
		if i := strings.Index(all[t.read:], text); i >= 0 {
			t.read += i + len(text)
			return
		}
		if time.Now().After(deadline) {
			t.tb.Fatalf("%q did not appear within %v; the terminal shows:\n%s", text, limit, all[max(0, len(all)-4000):])
		}
		<-tick.C
	}
}

// Wait waits for the command's end and returns its exit code.
func (t *Terminal) Wait(limit time.Duration) int {
	t.tb.Helper()
	ended := make(chan error, 1)
	go func() { ended <- t.cmd.Wait() }()
	select {
	case err := <-ended:
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		}
		if err != nil {
			t.tb.Fatal(err)
		}
		return 0
	case <-time.After(limit):
		t.mu.Lock()
		defer t.mu.Unlock()
		t.tb.Fatalf("%v did not end within %v; the terminal shows:\n%s", t.cmd.Args, limit, t.text.String())
		return -1
	}
}
