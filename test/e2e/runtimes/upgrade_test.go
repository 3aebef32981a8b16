package runtimes

import (
	"strconv"
	"strings"
	"testing"

	"hoy/internal/monitor"
	"hoy/test/e2e/engine"
)

// TestMonitorReplaced: the containers of every runtime go on in the monitor's
// next program, and end as if nothing had been.
func TestMonitorReplaced(t *testing.T) {
	e := engineWith(t)
	ids := map[string]string{}
	for _, name := range all {
		ids[name] = e.Must("run", "-d", "--runtime", name, "busybox", "sh", "-c", "trap 'echo ended; exit 9' TERM; while :; do sleep 0.05; done")
	}
	orphans := e.Must("run", "-d", "--runtime", "runc", "--pid", "host", "busybox", "sh", "-c", "while :; do (sleep 0.2 &); sleep 0.1; done")
	pid := monitorPid(t, e)
	e.Kill()
	c, err := monitor.Dial(t.Context(), monitor.Options{Socket: e.Dir + "/run/monitor.sock", ExecRoot: e.Dir + "/run", Binary: engine.Bin(t, "hoy-run")})
	if err != nil {
		t.Fatal(err)
	}
	if strconv.Itoa(c.Pid()) != pid {
		t.Errorf("monitor %d, was %s", c.Pid(), pid)
	}
	if err := c.Upgrade(t.Context(), engine.Bin(t, "hoy-run")); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	e.Up()
	if now := monitorPid(t, e); now != pid {
		t.Errorf("monitor %s, was %s", now, pid)
	}
	for name, id := range ids {
		if got := e.Must("exec", id, "echo", "alive"); got != "alive" {
			t.Errorf("%s: %s", name, got)
		}
		e.Must("stop", id)
		if got := e.Must("wait", id) + e.Must("logs", id); got != "9ended" {
			t.Errorf("%s: exit code and log are %q", name, got)
		}
		e.Must("start", id)
	}
	engine.Eventually(t, "orphans are reaped", func() bool { return len(zombies(pid)) < 3 })
	e.Must("rm", "-f", orphans)
	if log := e.Log(); strings.Contains(log, "level=ERROR") {
		t.Error(log)
	}
	clean(t, e)
}
