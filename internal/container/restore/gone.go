package restore

import (
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// goneGroup stands for the cgroup of a running container that someone else has removed.
type goneGroup struct{}

var errGone = errdefs.ErrNotFound.WithMessage("the container's cgroup was removed by someone else")

func (goneGroup) Procs() []string                              { return nil }
func (goneGroup) Joined()                                      {}
func (goneGroup) Path() string                                 { return "" }
func (goneGroup) Update(*specs.LinuxResources) error           { return errGone }
func (goneGroup) Freeze() error                                { return errGone }
func (goneGroup) Thaw() error                                  { return errGone }
func (goneGroup) Frozen() (bool, error)                        { return false, nil }
func (goneGroup) Pids() ([]int, error)                         { return nil, errGone }
func (goneGroup) OOMKills() (uint64, error)                    { return 0, errGone }
func (goneGroup) Kill() error                                  { return errGone }
func (goneGroup) Remove() error                                { return nil }
func (goneGroup) Sample(int) (*container.StatsResponse, error) { return nil, errGone }
