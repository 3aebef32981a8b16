package guest

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
	"hoy/test/vm/plan"
)

var reboot = flag.String("reboot", "", "which half of TestReboot to run: before or after the power goes")

// TestReboot leaves a container running when its machine goes off, and looks for
// it in the next boot.
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
		unix.Sync()
	case "after":
		hoy := engineOnState(t)
		if got := hoy("inspect", "--format", "{{.State.Status}} {{.State.Running}}", "kept"); got != "exited false" {
			t.Errorf("a container that ran when the power went is %q", got)
		}
		if got := hoy("logs", "kept"); got != "out" {
			t.Errorf("its log is %q", got)
		}
		hoy("start", "kept")
		if got := hoy("exec", "kept", "cat", "/word"); got != "first" {
			t.Errorf("its file is %q", got)
		}
		hoy("rm", "-f", "kept")
	default:
		t.Skip("needs a machine whose power goes: test/vm runs it in two halves")
	}
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
