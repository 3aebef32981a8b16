package engine

import (
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/test/e2e/engine/audit"
)

// settleTime is how long the background of an engine at rest may take: files of
// removed containers, links of namespaces that have ended.
const settleTime = 15 * time.Second

// Place is where the engine's things are.
func (e *Engine) Place() audit.Place {
	return audit.Place{Data: e.Dir + "/data", Exec: e.Dir + "/run", Socket: e.Dir + "/hoy.sock", Name: e.Name, Temporary: e.Dir}
}

// Check compares what the engine says with what the kernel and the disk have.
// Nobody may be changing anything meanwhile. It returns the containers by name.
func (e *Engine) Check() map[string]container.InspectResponse {
	e.tb.Helper()
	all, wrong := e.Settle(settleTime)
	if len(wrong) > 0 {
		e.tb.Errorf("the engine and the machine differ:\n%s", strings.Join(wrong, "\n"))
	}
	return all
}

// Settle waits until there is no difference, for as long as the limit, and
// returns what is different then.
func (e *Engine) Settle(limit time.Duration) (all map[string]container.InspectResponse, wrong []string) {
	deadline := time.Now().Add(limit)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		if all, wrong = audit.Compare(e.Place()); len(wrong) == 0 || time.Now().After(deadline) {
			return all, wrong
		}
		<-time.After(pause)
	}
}
