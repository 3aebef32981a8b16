package attacks

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// TestFloods has containers write without end, lines without end, and nobody read.
func TestFloods(t *testing.T) {
	e := start(t)
	monitor := monitorPid(t, e)
	before := pss(t, monitor)
	e.Must("run", "-d", "--name", "newlines", "--log-opt", "max-size=1m", "busybox", "sh", "-c", "yes '' | head -c 100000000")
	e.Must("run", "-d", "--name", "line", "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "busybox", "sh", "-c", "head -c 10000000 /dev/zero; echo; echo last")
	e.Must("run", "-d", "--name", "stdin", "-i", "busybox", "sleep", "1000")
	reader := client(t, e, "run", "--name", "unread", "busybox", "yes") // its output is a pipe that nobody reads
	writer := client(t, e, "attach", "stdin")
	alive(t, e)
	wait := e.Must("wait", "newlines", "line")
	if strings.Join(strings.Fields(wait), " ") != "0 0" {
		t.Errorf("the floods ended with %q", wait)
	}
	if got := e.Must("logs", "--tail", "1", "line"); got != "last" {
		t.Errorf("the last line is %.80q", got)
	}
	if after := pss(t, monitor); after-before > 20<<10 {
		t.Errorf("the monitor has %d KiB after the floods, %d before", after, before)
	} else {
		t.Logf("monitor PSS: %d KiB before, %d after", before, after)
	}
	for _, c := range []*exec.Cmd{reader, writer} {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	alive(t, e)
	e.Must("rm", "-f", "unread", "stdin")
}

// client runs hoy with a standard output that is never read and a standard
// input that is full.
func client(t *testing.T, e *engine.Engine, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), engine.Bin(t, "hoy"), append([]string{"-H", e.Host}, args...)...)
	if _, err := c.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if _, err := in.Write(buf); err != nil {
				return
			}
		}
	}()
	return c
}

// TestTooMuchToPass has arguments and variables that execve refuses.
func TestTooMuchToPass(t *testing.T) {
	e := start(t)
	file := t.TempDir() + "/env"
	if err := os.WriteFile(file, []byte("BIG="+strings.Repeat("x", 1<<20)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := e.Hoy("run", "--rm", "--env-file", file, "busybox", "true")
	if r.Code == 0 || !strings.Contains(r.Err, "argument list too long") && !strings.Contains(r.Err, "token too long") {
		t.Errorf("a variable of 1 MiB: exit %d, %.300q", r.Code, r.Err)
	}
	var many strings.Builder
	for i := range 30 {
		fmt.Fprintf(&many, "V%d=%s\n", i, strings.Repeat("y", 50000))
	}
	if err := os.WriteFile(file, []byte(many.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Must("run", "--rm", "--env-file", file, "busybox", "true") // 1.5 MB
	for i := range 30 {
		fmt.Fprintf(&many, "W%d=%s\n", i, strings.Repeat("y", 50000))
	}
	if err := os.WriteFile(file, []byte(many.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r = e.Hoy("run", "--rm", "--env-file", file, "busybox", "true") // 3 MB
	if r.Code == 0 || !strings.Contains(r.Err, "argument list too long") {
		t.Errorf("variables of 3 MB: exit %d, %.300q", r.Code, r.Err)
	}
	alive(t, e)
}

// TestLimitsHold: a container that takes all it can get takes only its own.
func TestLimitsHold(t *testing.T) {
	e := start(t)
	monitor := monitorPid(t, e)
	e.Must("run", "-d", "--name", "forks", "--pids-limit", "40", "busybox", "/bin/probe", "forks")
	engine.Eventually(t, "the fork bomb is refused", func() bool { return strings.Contains(e.Must("logs", "forks"), "refused after") })
	if r := e.Hoy("run", "--rm", "--memory", "64m", "busybox", "/bin/probe", "hog"); r.Code != 137 {
		t.Errorf("out of memory: exit %d, %q", r.Code, r.Err)
	}
	// Without CAP_SYS_RESOURCE the monitor cannot have it, and says so.
	unprotected, _ := os.ReadFile(e.Dir + "/run/monitor.log")
	b, err := os.ReadFile("/proc/" + strconv.Itoa(monitor) + "/oom_score_adj")
	if err != nil || strings.TrimSpace(string(b)) != "-999" && !strings.Contains(string(unprotected), "not protected from the OOM killer") {
		t.Errorf("the monitor's oom_score_adj: %q, %v", b, err)
	}
	if got := e.Must("run", "--rm", "busybox", "cat", "/proc/self/oom_score_adj"); got != "0" {
		t.Errorf("a container's oom_score_adj: %q", got)
	}
	if got := e.Must("exec", e.Must("run", "-d", "busybox", "sleep", "1000"), "cat", "/proc/self/oom_score_adj"); got != "0" {
		t.Errorf("an exec's oom_score_adj: %q", got)
	}
	if got := e.Must("run", "--rm", "busybox", "sh", "-c", "kill -9 -1 2>/dev/null; ls /proc | grep -c '^[0-9]'"); got != "3" {
		t.Errorf("a container sees %q processes", got)
	}
	alive(t, e)
}

// TestSilentClients connect and say nothing, or never read.
func TestSilentClients(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "talker", "busybox", "sh", "-c", "while :; do echo something; done")
	var conns []net.Conn
	for i := range 200 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", strings.TrimPrefix(e.Host, "unix://"))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		switch i % 4 {
		case 0: // says nothing
		case 1:
			_, _ = fmt.Fprint(c, "POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")
		case 2:
			_, _ = fmt.Fprint(c, "GET /v1.45/containers/talker/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		case 3:
			_, _ = fmt.Fprint(c, "GET /v1.45/events HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	begin := time.Now()
	alive(t, e)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a container took %v", took)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	e.Must("rm", "-f", "talker")
}

// monitorPid is the monitor's number, as it wrote it.
func monitorPid(t *testing.T, e *engine.Engine) int {
	t.Helper()
	b, err := os.ReadFile(e.Dir + "/run/monitor.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// pss is a process's proportional set size in KiB.
func pss(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "\nPss:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
