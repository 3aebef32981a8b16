package daemon

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

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

// Compile refuses what a container of the engine cannot have, and leaves the
// rest to the runtime's default.
func (filters) Compile(s *specs.LinuxSeccomp) ([]byte, error) {
	listens, err := seccomp.Listens(s)
	if err != nil {
		return nil, err
	}
	if listens {
		return nil, errdefs.ErrInvalidArgument.WithMessage("a profile with SCMP_ACT_NOTIFY is only supported by the command line of hoy-run")
	}
	if flags, err := seccomp.Flags(s); err != nil || s != nil && len(s.Flags) > 0 && flags != unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW {
		return nil, errors.Join(err, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("a profile with the flags %v is only supported by the command line of hoy-run", s.Flags)))
	}
	return seccomp.Compile(s)
}
