// Package crash kills the daemon and asks what it cost: nothing.
package crash

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// lines is how many lines each container writes; each ends with the code that belongs to it.
const lines = 300

// TestKillUnderLoad kills hoyd with SIGKILL while 20 containers run, write
// their logs and exit, and starts it again, several times.
func TestKillUnderLoad(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	const n = 20
	name := func(i int) string { return fmt.Sprintf("k%02d", i) }
	code := func(i int) int { return 10 + i }
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			// Each lives for about one to three seconds, so that they end before, while and after the daemon is away.
			script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo %d-line-$i; i=$((i+1)); usleep %d; done; exit %d", lines, i, 3000+500*(i%14), code(i))
			e.Must("run", "-d", "--name", name(i), "busybox", "sh", "-c", script)
		})
	}
	wg.Wait()
	for range 4 {
		e.Kill()
		e.Up()
	}
	for i := range n {
		out := e.Must("wait", name(i))
		if out != strconv.Itoa(code(i)) {
			t.Errorf("%s: exit code %s, want %d", name(i), out, code(i))
		}
	}
	e.Kill()
	e.Up()
	for i := range n {
		got := strings.Split(e.Must("logs", name(i)), "\n")
		if len(got) != lines {
			t.Errorf("%s: %d lines in the log, want %d", name(i), len(got), lines)
			continue
		}
		for k, line := range got {
			if want := fmt.Sprintf("%d-line-%d", i, k); line != want {
				t.Errorf("%s: line %d is %q, want %q", name(i), k, line, want)
				break
			}
		}
		if status := e.Must("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name(i)); status != fmt.Sprintf("exited %d", code(i)) {
			t.Errorf("%s: %s", name(i), status)
		}
	}
	if got := len(strings.Fields(e.Must("ps", "-aq"))); got != n {
		t.Errorf("ps -a shows %d containers, want %d", got, n)
	}
}

// TestRunningContainersAreAdopted kills the daemon and uses what it left running in every way.
func TestRunningContainersAreAdopted(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	e.Must("run", "-d", "--name", "web", "-p", "80", "busybox", "sh", "-c", "echo hello > index.html; exec httpd -f -p 80 -h /")
	e.Must("run", "-d", "--name", "echo", "-i", "busybox", "cat")
	port := e.Must("port", "web", "80")
	pid := e.Must("inspect", "-f", "{{.State.Pid}}", "web")
	fetch := func(when string) {
		t.Helper()
		engine.Eventually(t, "the page "+when, func() bool {
			return engine.Get("http://127.0.0.1"+port[strings.LastIndex(port, ":"):]) == "hello\n"
		})
	}
	fetch("before")
	e.Kill()
	fetch("while no daemon runs")
	e.Up()
	fetch("after the new start")
	if got := e.Must("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "web"); got != "running "+pid {
		t.Errorf("web is %q, want running with pid %s", got, pid)
	}
	if out := e.Must("exec", "web", "cat", "index.html"); out != "hello" {
		t.Errorf("exec after the new start: %q", out)
	}
	if got := typeAndRead(t, "typed\n", engine.Bin(t, "hoy"), "-H", e.Host, "attach", "--sig-proxy=false", "echo"); got != "typed\n" {
		t.Errorf("attach after the new start: %q", got)
	}
	e.Must("stop", "-t", "1", "web")
	if got := e.Must("inspect", "-f", "{{.State.Status}}", "web"); got != "exited" {
		t.Errorf("web is %q after stop", got)
	}
	if e.Must("run", "--rm", "busybox", "echo", "again") != "again" {
		t.Error("a new container after the new start")
	}
}

// typeAndRead gives a command one line and returns the first that comes back.
// Its input stays open meanwhile: the end of it would end an attachment.
func typeAndRead(t *testing.T, line string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, line); err != nil {
		t.Error(err)
	}
	got, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Errorf("%s: %v", strings.Join(args, " "), err)
	}
	cancel()
	_ = cmd.Wait() // killed
	return got
}

// TestStopLeavesContainersRunning ends the daemon in order.
func TestStopLeavesContainersRunning(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	e.Must("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
	pid := e.Must("inspect", "-f", "{{.State.Pid}}", "stays")
	e.Stop()
	if r := engine.Run(t, "", "kill", "-0", pid); r.Code != 0 {
		t.Fatalf("the container's process %s is gone: %s", pid, r.Err)
	}
	e.Up()
	if got := e.Must("inspect", "-f", "{{.State.Pid}}", "stays"); got != pid {
		t.Errorf("pid %s, want %s", got, pid)
	}
}

// TestAttachedClientsAreTold kills the daemon under clients that are attached:
// they end at once, with a word, and the containers go on.
func TestAttachedClientsAreTold(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			name := fmt.Sprintf("at%d", i)
			r := e.Hoy("run", "--name", name, "busybox", "sh", "-c", "sleep 3; echo last; exit 9")
			if r.Code != 125 || strings.TrimSpace(r.Err) == "" {
				t.Errorf("run while the daemon was killed: exit %d, %q", r.Code, r.Err)
			}
		})
	}
	wg.Go(func() {
		if r := e.Hoy("events"); r.Code == 0 || strings.TrimSpace(r.Err) == "" {
			t.Errorf("events while the daemon was killed: exit %d, %q", r.Code, r.Err)
		}
	})
	engine.Eventually(t, "four containers run", func() bool { return len(strings.Fields(e.Must("ps", "-q"))) == 4 })
	began := time.Now()
	e.Kill()
	wg.Wait()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("clients ended %v after the daemon", took)
	}
	e.Up()
	for i := range 4 {
		name := fmt.Sprintf("at%d", i)
		if code := e.Must("wait", name); code != "9" {
			t.Errorf("%s: exit code %s", name, code)
		}
		if out := e.Must("logs", name); out != "last" {
			t.Errorf("%s: log %q", name, out)
		}
	}
	e.Check()
}
