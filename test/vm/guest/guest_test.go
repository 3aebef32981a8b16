package guest

import (
	"flag"
	"os"
	"testing"

	"hoy/test/e2e/engine"
)

var driver = flag.String("driver", "cgroupfs", "how the engine makes cgroups: cgroupfs or systemd")

// TestEngine runs everything against one engine: its start is the dearest part.
func TestEngine(t *testing.T) {
	var args []string
	if *driver != "cgroupfs" {
		args = []string{"--exec-opt", "native.cgroupdriver=" + *driver, "--cgroup-parent", slice}
	}
	e := engine.Start(t, args...)
	e.Busybox()
	for _, c := range []struct {
		name string
		test func(*testing.T, *box)
	}{
		{"memory", limitMemory}, {"processor", limitProcessor}, {"processes", limitProcesses}, {"io", limitIO},
		{"devices", devices}, {"pause", pause}, {"stats", stats}, {"oom", oom}, {"swap", swap}, {"kill", kill}, {"exec", execs},
		{"view", view}, {"nested", nested}, {"parent", parent}, {"restart", restart}, {"scopes", scopes}, {"AppArmor", profiles},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, &box{e, t}) })
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}
