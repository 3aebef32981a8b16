package container_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"pgregory.net/rapid"

	"hoy/internal/monitor"
	"hoy/internal/request"
)

// TestRandomLives does random things to a few containers, with restarts of the
// daemon in between, and checks after each that nothing is lost or left over.
func TestRandomLives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		defer w.close()
		s := w.service()
		defer func() { s.Close() }()
		ctx, zero := context.Background(), 0
		names := rapid.SampledFrom([]string{"aa", "bb", "cc"})
		policies := rapid.SampledFrom([]container.RestartPolicyMode{"no", "no", "on-failure"})
		settle := func() {
			eventually(rt2{t, rt}, "nothing is under way", func() bool {
				list, _ := s.List(ctx, request.List{All: true})
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, c := range list {
					up := c.State == container.StateRunning || c.State == container.StatePaused
					p := w.procs[monitor.ProcessID{Container: c.ID}]
					if c.State == container.StateRestarting || up != (p != nil && p.state.Exit == nil) || p != nil && p.state.Exit != nil || up != (w.groups[c.ID] != nil) {
						return false
					}
				}
				return true
			})
			s.Drain()
			w.check(rt2{t, rt}, s)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				_, _ = s.Create(ctx, request.Create{Name: names.Draw(rt, "name"), Config: &container.Config{Image: "volumes"},
					HostConfig: &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: policies.Draw(rt, "policy")}}})
			},
			"start":   func(rt *rapid.T) { _ = s.Start(ctx, names.Draw(rt, "name")) },
			"stop":    func(rt *rapid.T) { _ = s.Stop(ctx, names.Draw(rt, "name"), request.Stop{Timeout: &zero}) },
			"restart": func(rt *rapid.T) { _ = s.Restart(ctx, names.Draw(rt, "name"), request.Stop{Timeout: &zero}) },
			"pause":   func(rt *rapid.T) { _ = s.Pause(ctx, names.Draw(rt, "name")) },
			"unpause": func(rt *rapid.T) { _ = s.Unpause(ctx, names.Draw(rt, "name")) },
			"kill":    func(rt *rapid.T) { _ = s.Kill(ctx, names.Draw(rt, "name"), "KILL") },
			"rename":  func(rt *rapid.T) { _ = s.Rename(ctx, names.Draw(rt, "name"), names.Draw(rt, "new")) },
			"remove": func(rt *rapid.T) {
				_ = s.Remove(ctx, names.Draw(rt, "name"), request.Remove{Force: rapid.Bool().Draw(rt, "force"), Volumes: true})
			},
			"exit": func(rt *rapid.T) {
				if c, err := s.Inspect(ctx, names.Draw(rt, "name"), false); err == nil {
					w.exit(monitor.ProcessID{Container: c.ID}, 0)
				}
			},
			"daemon restarts": func(rt *rapid.T) {
				s.Close()
				s = w.service()
			},
			"": func(*rapid.T) { settle() },
		})
	})
}

// rt2 reports to rapid, so that it can shrink.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (r rt2) Fatalf(format string, args ...any) { r.rt.Fatalf(format, args...) }
func (r rt2) Helper()                           {}

func TestManyAtOnce(t *testing.T) {
	w, s := setup(t)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			name := fmt.Sprintf("c%d", i%6)
			zero := 0
			for range 8 {
				_, _ = s.Create(t.Context(), request.Create{Name: name, Config: &container.Config{Image: "busybox"}})
				_ = s.Start(t.Context(), name)
				_, _ = s.List(t.Context(), request.List{All: true})
				_ = s.Pause(t.Context(), name)
				_ = s.Stop(t.Context(), name, request.Stop{Timeout: &zero})
				err := s.Remove(t.Context(), name, request.Remove{Force: true})
				if err != nil && strings.Contains(err.Error(), "state transition") {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range []string{"c0", "c1", "c2", "c3", "c4", "c5"} {
		_ = s.Remove(t.Context(), c, request.Remove{Force: true})
	}
	s.Drain()
	w.check(t, s)
}
