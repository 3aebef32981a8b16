package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// slice is where the scopes of this test's containers are.
const slice = "hoyvm.slice"

// property is what systemd says of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return engine.Run(t, "", "systemctl", "show", unit, "--value", "-p", name).Must(t)
}

// scopes looks at a container with systemd's eyes.
func scopes(t *testing.T, e *box) {
	if *driver != "systemd" {
		t.Skip("only systemd has scopes")
	}
	name, g := run(t, e, "--memory", "64m", "--pids-limit", "23", "--cpus", "0.5", "--cpu-shares", "2048")
	unit := filepath.Base(g.paths[""])
	e.sub(t, "are units of a slice", func(t *testing.T, e *box) {
		if want := "hoy-" + inspect(e, name).ID + ".scope"; unit != want {
			t.Errorf("the group is %s, want %s", unit, want)
		}
		if got := property(t, unit, "Slice") + " " + property(t, unit, "ActiveState"); got != slice+" active" {
			t.Errorf("slice and state: %s", got)
		}
		if list := engine.Run(t, "", "systemctl", "--no-legend", "list-units", "hoy-*.scope").Must(t); !strings.Contains(list, unit) {
			t.Errorf("list-units has no %s:\n%s", unit, list)
		}
	})
	for _, p := range []struct{ what, name, want string }{
		{"memory", "MemoryMax", "67108864"}, {"processes", "TasksMax", "23"}, {"quota", "CPUQuotaPerSecUSec", "500ms"}, {"weight", "CPUWeight", weight(2048)},
	} {
		e.sub(t, p.what+" is a property", func(t *testing.T, _ *box) {
			got := property(t, unit, p.name)
			if got != p.want {
				t.Errorf("%s=%s, want %s", p.name, got, p.want)
			}
			says(t, "`%s=%s`", p.name, got)
		})
	}
	e.Must("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "24", name)
	e.sub(t, "an update is a property, too", func(t *testing.T, _ *box) {
		if got := property(t, unit, "MemoryMax") + " " + property(t, unit, "TasksMax"); got != "100663296 24" {
			t.Error(got)
		}
	})
	engine.Run(t, "", "systemctl", "daemon-reload").Must(t)
	g.expect(t, value{"memory after a reload", memoryMax, "", "100663296"}, value{"processes after a reload", pidsMax, "", "24"}, value{"quota after a reload", cpuQuota, "", "50000 100000"})
	e.sub(t, "devices after a reload", func(t *testing.T, e *box) {
		_, numbers := openable(t)
		major, minor, _ := strings.Cut(numbers, ":")
		attempt(t, e, name, "mknod /node b "+major+" "+minor+" && dd if=/node of=/dev/null bs=512 count=1", "not permitted")
		attempt(t, e, name, "echo x >/dev/null", "")
	})
	e.sub(t, "go with the container", func(t *testing.T, e *box) {
		dir := filepath.Dir(g.path(procs))
		e.Must("rm", "-f", name)
		engine.Eventually(t, "systemd has let the scope go", func() bool { return property(t, unit, "LoadState") == "not-found" })
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	})
}
