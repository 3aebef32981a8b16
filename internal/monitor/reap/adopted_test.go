package reap

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStatusOfAnotherOnesChild: how a process has ended is known without reaping it.
func TestStatusOfAnotherOnesChild(t *testing.T) {
	for script, want := range map[string][2]int{"exit 9": {9, 0}, "exit 0": {0, 0}, "kill -TERM $$": {143, 15}} {
		cmd := exec.CommandContext(t.Context(), "busybox", "ash", "-c", "read x; "+script)
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		pidFD := os.NewFile(uintptr(fd), "pidfd")
		start := StartTime(pid)
		_ = input.Close()
		if err := Gone(pidFD); err != nil {
			t.Fatal(err)
		}
		status, known := Status(pidFD, pid, start)
		if code, signal := Code(status); !known || code != want[0] || signal != want[1] {
			t.Errorf("%s: %d, %d, %v", script, code, signal, known)
		}
		if _, known := zombie(pid, start+1); known {
			t.Error("another process of the same number is taken for it")
		}
		_ = cmd.Wait()
		_ = pidFD.Close()
	}
}
