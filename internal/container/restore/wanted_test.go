package restore

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/record"
)

// TestWhatADaemonsStartStarts has each policy with each way that a container may
// have ended.
func TestWhatADaemonsStartStarts(t *testing.T) {
	type end struct {
		phase         record.Phase
		code, count   int
		lost, stopped bool
		never         bool
	}
	ends := map[string]end{
		"ended well": {phase: record.Exited}, "failed": {phase: record.Exited, code: 3}, "lost": {phase: record.Exited, code: lostCode, lost: true},
		"lost after 2 restarts": {phase: record.Exited, code: lostCode, lost: true, count: 2},
		"stopped":               {phase: record.Exited, code: 137, stopped: true}, "stopped and lost": {phase: record.Exited, code: lostCode, lost: true, stopped: true},
		"created": {phase: record.Created, never: true}, "runs": {phase: record.Running}, "paused": {phase: record.Paused},
		"removing": {phase: record.Removing}, "dead": {phase: record.Dead}, "never started": {phase: record.Exited, code: 127, never: true},
	}
	started := map[string][]string{
		"no":             nil,
		"always":         {"ended well", "failed", "lost", "lost after 2 restarts", "stopped", "stopped and lost"},
		"unless-stopped": {"ended well", "failed", "lost", "lost after 2 restarts"},
		"on-failure":     {"lost", "lost after 2 restarts"},
		"on-failure:2":   {"lost"},
	}
	for policy, list := range started {
		p := container.RestartPolicy{Name: container.RestartPolicyMode(policy)}
		if policy == "on-failure:2" {
			p = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 2}
		}
		want := map[string]bool{}
		for _, name := range list {
			want[name] = true
		}
		for name, e := range ends {
			r := &record.Record{HostConfig: &container.HostConfig{RestartPolicy: p}, RestartCount: e.count}
			r.State = record.State{Phase: e.phase, ExitCode: e.code, Stopped: e.stopped, StartedAt: time.Now()}
			if e.never {
				r.State.StartedAt = time.Time{}
			}
			if e.lost {
				r.State.Error = "exit status unknown"
			}
			if got := wanted(r); got != want[name] {
				t.Errorf("%s, %s: %v", policy, name, got)
			}
		}
	}
}
