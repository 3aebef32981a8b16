package guest

import (
	"testing"

	"hoy/test/e2e/engine"
)

func TestRun(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	if got := e.Must("run", "--rm", "busybox", "cat", "/proc/self/cgroup"); got == "" {
		t.Error("no")
	} else {
		t.Log(got)
	}
}
