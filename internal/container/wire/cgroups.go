package wire

import (
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/deps"
	"hoy/internal/container/stats"
	"hoy/internal/runtime/cgroup"
)

// Cgroups gives the control groups of the engine.
func Cgroups(m cgroup.Manager) deps.Cgroups { return groups{m} }

type groups struct{ m cgroup.Manager }

type group struct{ cgroup.Group }

func (g group) Sample(pid int) (*container.StatsResponse, error) { return stats.Sample(g.Group, pid) }

func (g groups) Create(id string, r *specs.LinuxResources) (deps.Group, error) {
	made, err := g.m.Create(id, r)
	if err != nil {
		return nil, err
	}
	return group{made}, nil
}

func (g groups) Open(id string) (deps.Group, error) {
	found, err := g.m.Open(id)
	if err != nil {
		return nil, err
	}
	return group{found}, nil
}

func (g groups) List() ([]string, error) { return g.m.List() }
func (g groups) Driver() string          { return g.m.Driver() }
func (g groups) Version() string         { return g.m.Version() }
