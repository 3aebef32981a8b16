package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// monitorOf is the process id of the engine's monitor; guardianOf that of the process above it.
func monitorOf(t *testing.T, e *engine.Engine) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(e.Dir, "run", "monitor.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func guardianOf(t *testing.T, e *engine.Engine) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", monitorOf(t, e)))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	pid, err := strconv.Atoi(fields[1])
	if err != nil || pid <= 1 {
		t.Fatalf("the monitor's parent is %q", fields[1])
	}
	return pid
}

// killMonitor ends the monitor as a crash would and waits for the next one.
func killMonitor(t *testing.T, e *engine.Engine) {
	t.Helper()
	old := monitorOf(t, e)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	engine.Eventually(t, "the next monitor", func() bool {
		b, _ := os.ReadFile(filepath.Join(e.Dir, "run", "monitor.pid"))
		now, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return now > 0 && now != old
	})
}

// showMonitorLog prints it where the test has failed.
func showMonitorLog(t *testing.T, e *engine.Engine) {
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(e.Dir, "run", "monitor.log"))
			t.Logf("the monitor's log:\n%s", b)
		}
	})
}

// counter writes numbered lines to both outputs until its lines are written, and ends with code.
func counter(name string, lines, code int) string {
	return fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo %s-out-$i; echo %s-err-$i >&2; i=$((i+1)); [ $((i%%50)) = 0 ] && usleep 20000; done; exit %d", lines, name, name, code)
}

// checkLog compares a container's log with what counter writes.
func checkLog(t *testing.T, e *engine.Engine, name string, lines int) {
	t.Helper()
	r := e.Hoy("logs", name)
	for stream, text := range map[string]string{"out": r.Out, "err": r.Err} {
		got := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(got) != lines {
			t.Errorf("%s: %d lines of %s, want %d", name, len(got), stream, lines)
		}
		for i := range min(len(got), lines) {
			if want := fmt.Sprintf("%s-%s-%d", name, stream, i); got[i] != want {
				t.Errorf("%s: line %d is %q, want %q", name, i, got[i], want)
				break
			}
		}
	}
}

// TestMonitorKilled: the monitor's death costs no container, no line and no
// exit code, and the daemon goes on.
func TestMonitorKilled(t *testing.T) {
	e := engine.Start(t)
	showMonitorLog(t, e)
	e.Busybox()
	const n, lines = 6, 1500
	name := func(i int) string { return fmt.Sprintf("w%d", i) }
	for i := range n {
		e.Must("run", "-d", "--name", name(i), "busybox", "sh", "-c", counter(name(i), lines, 10+i))
	}
	e.Must("run", "-d", "-i", "--name", "input", "busybox", "cat")
	e.Must("run", "-d", "-it", "--name", "tty", "busybox", "sh", "-c", "stty -echo; while read x; do echo got $x; done")
	e.Must("run", "-d", "--restart", "always", "--name", "again", "busybox", "sh", "-c", "sleep 0.3; exit 3")
	e.Must("run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1")
	web := e.Must("inspect", "-f", "{{.State.Pid}}", "input")
	daemon := e.Pid()
	for range 5 {
		killMonitor(t, e)
		if out := e.Must("exec", "input", "echo", "inside"); out != "inside" {
			t.Errorf("exec: %q", out)
		}
	}
	for i := range n {
		if out := e.Must("wait", name(i)); out != strconv.Itoa(10+i) {
			t.Errorf("%s: exit code %s, want %d", name(i), out, 10+i)
		}
		checkLog(t, e, name(i), lines)
	}
	if got := e.Must("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "input"); got != "running "+web {
		t.Errorf("input is %q, want running with pid %s", got, web)
	}
	if got := typeAndRead(t, "typed\n", engine.Bin(t, "hoy"), "-H", e.Host, "attach", "--sig-proxy=false", "input"); got != "typed\n" {
		t.Errorf("attach: %q", got)
	}
	tty := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "attach", "tty")
	tty.Type("typed\r")
	tty.Expect("got typed", 10*time.Second)
	tty.Type("\x10\x11")
	engine.Eventually(t, "restarts by policy", func() bool {
		count, _ := strconv.Atoi(e.Must("inspect", "-f", "{{.RestartCount}}", "again"))
		return count >= 2
	})
	engine.Eventually(t, "the removal of --rm", func() bool { return e.Hoy("inspect", "brief").Code != 0 })
	if e.Pid() != daemon || e.Must("ps", "-q") == "" {
		t.Error("the daemon did not go on")
	}
	e.Must("stop", "-t", "1", "input", "again", "tty")
}

// TestMonitorAndDaemonKilled kills both at once, and the guardian with the monitor.
func TestMonitorAndDaemonKilled(t *testing.T) {
	e := engine.Start(t)
	showMonitorLog(t, e)
	e.Busybox()
	const lines = 2000
	// It ends when all are back: nobody has what is in a pipe that its last process has left.
	script := strings.Replace(counter("ww", lines, 9), "; exit", "; sleep 4; exit", 1)
	e.Must("run", "-d", "--name", "ww", "busybox", "sh", "-c", script)
	e.Must("run", "-d", "-i", "--name", "input", "busybox", "cat")
	_ = syscall.Kill(monitorOf(t, e), syscall.SIGKILL)
	e.Kill()
	e.Up()
	if got := e.Must("ps", "--format", "{{.Names}}", "--filter", "name=input"); got != "input" {
		t.Errorf("ps shows %q", got)
	}
	// Without a guardian nobody but the pipes themselves is left.
	guardian := guardianOf(t, e)
	_ = syscall.Kill(guardian, syscall.SIGKILL)
	_ = syscall.Kill(monitorOf(t, e), syscall.SIGKILL)
	if out := e.Must("wait", "ww"); out != "9" {
		t.Errorf("exit code %s, want 9", out)
	}
	checkLog(t, e, "ww", lines)
	if now := guardianOf(t, e); now == guardian {
		t.Error("the guardian was not killed")
	}
	e.Must("run", "--rm", "busybox", "true")
	e.Must("rm", "-f", "ww", "input")
}
