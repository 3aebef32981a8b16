package roster

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/internal/monitor"
)

func open(tb testing.TB, dir string) *Roster {
	tb.Helper()
	r, err := OpenRoster(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func entry(name string) Running {
	return Running{ID: monitor.ProcessID{Container: name}, Started: monitor.Started{Pid: os.Getpid(), StartTime: 7, At: time.Now()}}
}

// TestRosterIsInherited: whole records are read, torn ones and those of another boot are not.
func TestRosterIsInherited(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	if err := r.Add(entry("one")); err != nil {
		t.Fatal(err)
	}
	other := *r
	other.boot = "before"
	if err := other.Add(entry("old")); err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(filepath.Join(dir, "one.json"))
	for name, text := range map[string][]byte{"torn": whole[:len(whole)/2], "empty": nil, "named": whole} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := open(t, dir).Load()
	if len(list) != 1 || list[0].ID.Container != "one" || list[0].Started.StartTime != 7 {
		t.Errorf("%+v", list)
	}
	r.Remove(list[0].ID, false)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPipes: a process never meets a pipe without a reader, and its end is seen.
func TestPipes(t *testing.T) {
	r := open(t, t.TempDir())
	id := monitor.ProcessID{Container: "p"}
	ours, theirs, err := r.Pipe(id, 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	if _, err := theirs.WriteString("unread"); err != nil {
		t.Fatalf("without a reader: %v", err)
	}
	fd := r.Reopen(id, 1)
	again := os.NewFile(uintptr(fd), "again")
	defer again.Close()
	_ = theirs.Close()
	if text, err := io.ReadAll(again); err != nil || string(text) != "unread" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestInterruptedStartIsEnded: who holds a pipe that has no record is killed.
func TestInterruptedStartIsEnded(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	_, theirs, err := r.Pipe(monitor.ProcessID{Container: "s"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Stderr = theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if list := open(t, dir).Load(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	err = cmd.Wait()
	if err == nil || !strings.Contains(err.Error(), syscall.SIGKILL.String()) {
		t.Errorf("it ended with %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// BenchmarkStart is what a start and an end cost beside two plain pipes.
func BenchmarkStart(b *testing.B) {
	r := open(b, b.TempDir())
	p := entry("x")
	for b.Loop() {
		for output := 1; output <= 2; output++ {
			ours, theirs, err := r.Pipe(p.ID, output)
			if err != nil {
				b.Fatal(err)
			}
			_ = ours.Close()
			_ = theirs.Close()
		}
		if err := r.Add(p); err != nil {
			b.Fatal(err)
		}
		r.Remove(p.ID, false)
	}
}
