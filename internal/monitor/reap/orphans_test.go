package reap

import (
	"log/slog"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dead starts a process that ends at once and that nobody waits for.
func dead(t *testing.T) int {
	t.Helper()
	path, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := syscall.ForkExec(path, []string{"true"}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	return pid
}

func isDead(pid int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil) == nil
}

func TestOnlyOrphansAreReaped(t *testing.T) {
	own := map[int]bool{}
	o := NewOrphans(func(pid int) bool { return own[pid] }, slog.New(slog.DiscardHandler))
	sweepAll := func() (clear bool) {
		_, clear = o.sweep(sighting{})
		return clear
	}
	a, b := dead(t), dead(t)
	if !sweepAll() || isDead(a) || isDead(b) {
		t.Error("with no start under way, orphans stay")
	}

	// A start that was under way when the child was seen may be its parent.
	done := o.Flight()
	pid := dead(t)
	seen, clear := o.sweep(sighting{})
	if clear || !isDead(pid) {
		t.Error("the child of a start under way was taken")
	}
	later := o.Flight() // cannot be its parent
	done()
	if seen, clear = o.sweep(seen); !clear || isDead(pid) {
		t.Error("an orphan stays because of a start that came after it")
	}
	later()
	seen.forget()

	// The start that was under way has made it known.
	done = o.Flight()
	pid = dead(t)
	seen, _ = o.sweep(sighting{})
	own[pid] = true
	done()
	if _, clear = o.sweep(seen); clear || !isDead(pid) {
		t.Error("a child of the table was taken")
	}
	delete(own, pid)
	if !sweepAll() || isDead(pid) {
		t.Error("it stays")
	}
}

func TestOrphansAreReapedSoon(t *testing.T) {
	o := NewOrphans(func(int) bool { return false }, slog.New(slog.DiscardHandler))
	if err := o.Adopt(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	done := o.Flight()
	pids := []int{dead(t), dead(t), dead(t)}
	time.AfterFunc(50*time.Millisecond, done)
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for isDead(pid) {
			if time.Now().After(deadline) {
				t.Fatal("not within 5 s")
			}
			<-tick.C
		}
	}
}
