package attacks

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"hoy/test/e2e/engine"
)

// TestStorms starts many containers and commands at once.
func TestStorms(t *testing.T) {
	e := start(t)
	monitor := monitorPid(t, e)
	before := pss(t, monitor)
	for round := range 5 {
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if r := e.Hoy("run", "--rm", "busybox", "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i)); r.Code != i || r.Out != fmt.Sprintln(i) {
					t.Errorf("round %d, container %d: exit %d, %q %q", round, i, r.Code, r.Out, r.Err)
				}
			})
		}
		wg.Wait()
	}
	e.Must("run", "-d", "--name", "box", "busybox", "sleep", "1000")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if r := e.Hoy("exec", "box", "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i)); r.Code != i || r.Out != fmt.Sprintln(i) {
				t.Errorf("exec %d: exit %d, %q %q", i, r.Code, r.Out, r.Err)
			}
		})
	}
	wg.Wait()
	after := pss(t, monitor)
	t.Logf("monitor PSS: %d KiB before, %d after 160 containers and 100 execs", before, after)
	if after-before > 16<<10 {
		t.Error("the monitor keeps what it used")
	}
}

// TestKilledDaemonInAStorm kills the daemon while containers start: what it
// knows afterwards is what runs.
func TestKilledDaemonInAStorm(t *testing.T) {
	e := start(t)
	for range 3 {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() { e.Hoy("run", "-d", "busybox", "sleep", "1000") })
		}
		engine.Eventually(t, "some run", func() bool { return len(strings.Fields(e.Hoy("ps", "-q").Out)) > 3 })
		e.Kill()
		wg.Wait()
		e.Up()
		for _, id := range strings.Fields(e.Must("ps", "-q")) {
			e.Must("exec", id, "true")
		}
		if ids := strings.Fields(e.Must("ps", "-aq")); len(ids) > 0 {
			e.Must(append([]string{"rm", "-f"}, ids...)...)
		}
	}
	alive(t, e)
}

// TestInit has an init process in the container.
func TestInit(t *testing.T) {
	e := start(t)
	for want, script := range map[int]string{0: "true", 7: "exit 7", 137: "kill -9 $$", 143: "kill -TERM $$"} {
		if r := e.Hoy("run", "--rm", "--init", "busybox", "sh", "-c", script); r.Code != want {
			t.Errorf("--init %s: exit %d, %q", script, r.Code, r.Err)
		}
	}
	e.Hoy("run", "--rm", "--init", "busybox", "/no/such").Refused(t, 127, "no such")
	e.Must("run", "-d", "--name", "init", "--init", "busybox", "sh", "-c", "trap 'echo got TERM; exit 3' TERM; trap 'echo got USR1' USR1; (sleep 0 & exec sleep 0) & while :; do usleep 50000; done")
	e.Must("kill", "-s", "USR1", "init")
	engine.Eventually(t, "the signal arrives", func() bool { return strings.Contains(e.Must("logs", "init"), "got USR1") })
	e.Must("exec", "init", "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0 &) ; done")
	engine.Eventually(t, "orphans are reaped", func() bool {
		return e.Must("exec", "init", "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z '; true") == "0"
	})
	e.Must("stop", "init")
	if got := e.Must("inspect", "-f", "{{.State.ExitCode}}", "init"); got != "3" {
		t.Errorf("stop gave exit code %s", got)
	}
	if got := e.Must("logs", "init"); !strings.HasSuffix(got, "got TERM") {
		t.Errorf("logs: %q", got)
	}
	term := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "run", "--rm", "-it", "--init", "busybox", "sh")
	term.Type("tty; echo $((40+2))\n")
	term.Expect("/dev/pts/0", 1e10)
	term.Expect("42", 1e10)
	term.Type("exit 5\n")
	if code := term.Wait(1e10); code != 5 {
		t.Errorf("a terminal with --init: exit %d", code)
	}
}
