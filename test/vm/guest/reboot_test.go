package guest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
	"hoy/test/vm/plan"
)

var reboot = flag.String("reboot", "", "which half of TestReboot to run: before or after the power goes")

// restarts are containers that run when the power goes, by their policy, and
// what they are in the next boot. Each says "up" to its log at each start.
var restarts = []struct {
	name, policy string
	port         string
	stop         bool
	status       string
	starts       int
}{
	{name: "always", policy: "always", port: "8081", status: "running", starts: 2},
	{name: "unless", policy: "unless-stopped", port: "8082", status: "running", starts: 2},
	{name: "failure", policy: "on-failure", status: "running", starts: 2},
	{name: "no", policy: "no", port: "8083", status: "exited", starts: 1},
	// One that a person has stopped comes back with always alone.
	{name: "always-stopped", policy: "always", stop: true, status: "running", starts: 2},
	{name: "unless-stopped", policy: "unless-stopped", stop: true, status: "exited", starts: 1},
}

// TestReboot leaves containers running when their machine goes off, and looks
// for them in the next boot.
func TestReboot(t *testing.T) {
	switch *reboot {
	case "before":
		hoy := engineOnState(t)
		image := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(image, engine.BusyboxTar(t), 0o600); err != nil {
			t.Fatal(err)
		}
		hoy("import", image, "busybox")
		hoy("run", "-d", "--name", "kept", "--network", "none", "busybox", "sh", "-c", "echo first >/word; echo out; sleep 1000")
		hoy("exec", "kept", "sh", "-c", "sync; cat /word")
		for _, c := range restarts {
			args := []string{"run", "-d", "--name", c.name, "--restart", c.policy}
			if c.port != "" {
				args = append(args, "-p", c.port+":80")
			}
			hoy(append(args, "busybox", "sh", "-c", "echo up; echo $HOSTNAME >/index.html; exec httpd -f -p 80 -h /")...)
			if c.stop {
				hoy("stop", "-t", "0", c.name)
			}
		}
		hoy("run", "-d", "--rm", "--name", "removed", "busybox", "sleep", "1000")
		for _, c := range restarts {
			if got := hoy("logs", c.name); got != "up" {
				t.Errorf("%s: its log is %q", c.name, got)
			}
			answers(t, hoy, c.name, c.port, !c.stop)
		}
		unix.Sync()
	case "after":
		hoy := engineOnState(t)
		if got := hoy("inspect", "--format", "{{.State.Status}} {{.State.Running}}", "kept"); got != "exited false" {
			t.Errorf("a container that ran when the power went is %q", got)
		}
		if got := hoy("inspect", "--format", "{{.State.ExitCode}} {{.State.Error}}", "kept"); got != "255 exit status unknown: the host was restarted" {
			t.Errorf("its end is %q", got)
		}
		if got := hoy("logs", "kept"); got != "out" {
			t.Errorf("its log is %q", got)
		}
		hoy("start", "kept")
		if got := hoy("exec", "kept", "cat", "/word"); got != "first" {
			t.Errorf("its file is %q", got)
		}
		hoy("rm", "-f", "kept")
		restarted(t, hoy)
		if got := hoy("ps", "-aq", "--filter", "name=removed"); got != "" {
			t.Error("a container of --rm is there after its machine went off")
		}
		hoy("system", "check")
	default:
		t.Skip("needs a machine whose power goes: test/vm runs it in two halves")
	}
}

// restarted looks for what the restart policies bring back.
func restarted(t *testing.T, hoy func(args ...string) string) {
	t.Helper()
	addresses := map[string]string{}
	for _, c := range restarts {
		engine.Eventually(t, c.name+" is "+c.status, func() bool {
			return hoy("inspect", "--format", "{{.State.Status}}", c.name) == c.status
		})
		want := strings.TrimSuffix(strings.Repeat("up\n", c.starts), "\n")
		engine.Eventually(t, c.name+" has logged its starts", func() bool { return hoy("logs", c.name) == want })
		answers(t, hoy, c.name, c.port, c.status == "running")
		if c.status != "running" {
			continue
		}
		address := hoy("inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", c.name)
		if other := addresses[address]; other != "" || address == "" {
			t.Errorf("%s has address %q, and so has %q", c.name, address, other)
		}
		addresses[address] = c.name
		// There is no --link yet: what names lead to is the container's own line.
		if hosts := hoy("exec", c.name, "cat", "/etc/hosts"); !strings.Contains(hosts, address+"\t") {
			t.Errorf("%s has address %s, its hosts file says %q", c.name, address, hosts)
		}
	}
}

// answers looks that a published port leads to its container, or to nothing.
func answers(t *testing.T, hoy func(args ...string) string, name, port string, runs bool) {
	t.Helper()
	if port == "" {
		return
	}
	want := ""
	if runs {
		want = hoy("inspect", "--format", "{{.Config.Hostname}}", name) + "\n"
	}
	engine.Eventually(t, fmt.Sprintf("port %s of %s answers %q", port, name, want), func() bool {
		return engine.Get("http://127.0.0.1:"+port+"/index.html") == want
	})
}

// engineOnState starts an engine with its data on the disk that is kept. It is
// not stopped: the power goes.
func engineOnState(t *testing.T) func(args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), engine.Bin(t, "hoyd"), "--data-root", plan.State+"/data") // ends with the machine
	log, err := os.OpenFile(plan.State+"/hoyd.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	t.Cleanup(func() {
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the daemon's log:\n%s", text)
		}
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	engine.Eventually(t, "hoyd answers", func() bool { return engine.Run(t, "", engine.Bin(t, "hoy"), "ps", "-q").Code == 0 })
	return func(args ...string) string {
		t.Helper()
		return engine.Run(t, "", append([]string{engine.Bin(t, "hoy")}, args...)...).Must(t)
	}
}
