package attacks

import (
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// TestATracerFindsNothing has a container with CAP_SYS_PTRACE read the whole
// memory of the processes of exec before they are the command. What it finds
// must be the container's own: no other container's variables, no descriptor
// of the host's, no privilege more than the container has.
func TestATracerFindsNothing(t *testing.T) {
	e := start(t)
	secret := "SECRET" + "-of-another-container"
	e.Must("run", "-d", "--name", "other", "-e", "TOKEN="+secret, "busybox", "sleep", "1000")
	e.Must("run", "-d", "--name", "spy", "--cap-add", "SYS_PTRACE", "busybox", "/bin/probe", "tracer", strings.Replace(secret, "T", "T", 1)[:len(secret)-1], "other"+"-container", e.Dir)
	engine.Eventually(t, "the spy is ready", func() bool { return strings.Contains(e.Must("logs", "spy"), "ready") })
	early := 0
	for deadline := time.Now().Add(15 * time.Second); early < 5 && time.Now().Before(deadline); {
		for range 20 {
			e.Must("exec", "-e", "MINE=here", "spy", "/bin/true")
			e.Must("exec", "other", "/bin/true")
		}
		early = strings.Count(e.Must("logs", "spy"), "early ")
	}
	out := e.Must("logs", "spy")
	t.Logf("%d processes were seen, %d looks at one before its command", strings.Count(out, "seen "), early)
	kinds := map[string]string{}
	for line := range strings.Lines(out) {
		if what, detail, ok := strings.Cut(strings.TrimPrefix(line, "LEAK "), " of "); ok && strings.HasPrefix(line, "LEAK") {
			kinds[what] = detail
		}
	}
	if len(kinds) > 0 {
		t.Errorf("the tracer saw of the engine's own process: %v", kinds)
	}
	if early == 0 { // a busy machine may have nobody caught
		t.Log("none was caught before its command")
	}
	alive(t, e)
}
