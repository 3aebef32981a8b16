package cgroup

import (
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/cgroup/tree"
)

type scope struct{}

func (*scope) joined()                                   {}
func (*scope) holds(int) bool                            { return false }
func (*scope) start(*group, *specs.LinuxResources) error { return nil }
func (*scope) update(*specs.LinuxResources) error        { return nil }
func (*scope) stop() error                               { return nil }

func newSlices(*tree.Tree, string) (Manager, error) {
	return nil, errdefs.ErrNotImplemented.WithMessage("the systemd cgroup driver is not available")
}

func scopePlace(*tree.Tree, string, string) (Place, error) {
	return nil, errdefs.ErrNotImplemented.WithMessage("the systemd cgroup driver is not available")
}
