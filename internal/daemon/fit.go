package daemon

import (
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/deps"
	"hoy/internal/container/stats"
	"hoy/internal/runtime/cgroup"
	"hoy/internal/runtime/seccomp"
)

// cgroups is the cgroup tree as the containers see it.
type cgroups struct{ cgroup.Manager }

func (c cgroups) Create(parent, id string, r *specs.LinuxResources) (deps.Group, error) {
	g, err := c.Manager.Create(parent, id, r)
	if err != nil {
		return nil, err
	}
	return group{g}, nil
}

func (c cgroups) Open(parent, id string) (deps.Group, error) {
	g, err := c.Manager.Open(parent, id)
	if err != nil {
		return nil, err
	}
	return group{g}, nil
}

// group is one container's cgroup, with its counters as clients read them.
type group struct{ cgroup.Group }

func (g group) Sample(pid int) (*container.StatsResponse, error) { return stats.Sample(g.Group, pid) }

// filters compiles system call filters.
type filters struct{}

func (filters) Default(capabilities []string) (*specs.LinuxSeccomp, error) {
	return seccomp.Default(capabilities)
}

func (filters) Parse(profile string, capabilities []string) (*specs.LinuxSeccomp, error) {
	return seccomp.Parse(profile, capabilities)
}

func (filters) Compile(s *specs.LinuxSeccomp) ([]byte, error) { return seccomp.Compile(s) }
