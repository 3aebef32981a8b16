package cgroup

import (
	"fmt"
	"sync/atomic"

	"hoy/internal/runtime/cgroup/counter"
	"hoy/internal/runtime/cgroup/oom"
)

// Stats and its parts are a group's counters at one moment.
type (
	Stats   = counter.Stats
	CPU     = counter.CPU
	Memory  = counter.Memory
	Pids    = counter.Pids
	IO      = counter.IO
	IOEntry = counter.IOEntry
)

func (g *group) Stats() (*Stats, error) {
	g.found()
	s, err := counter.Read(g.t, g.paths)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	return s, nil
}

// memory is where the group's memory is counted, and whether by version 1.
func (g *group) memory() (dir string, one bool) {
	one, two := g.t.Has("memory")
	switch {
	case one:
		return g.paths["memory"], true
	case two:
		return g.paths[""], false
	}
	return "", false
}

// OOMKills of the kernel's counter. systemd removes a scope, counters and all,
// as soon as its last process has ended: what was seen until then counts.
func (g *group) OOMKills() (uint64, error) {
	dir, one := g.memory()
	if dir == "" {
		return 0, nil
	}
	n, err := oom.Kills(dir, one)
	if g.unit != nil {
		return max(n, g.killed.Load()), nil
	}
	if err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	return n, nil
}

// watch counts, until the group is gone, what the kernel tells of its memory.
func (g *group) watch(killed *atomic.Uint64) {
	if dir, one := g.memory(); dir != "" {
		oom.Watch(dir, one, killed)
	}
}
