package cgroup

import (
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/runtime/cgroup/unit"
)

// scopes is the Manager of the driver systemd: a container's group is the scope
// hoy-ID.scope in a slice.
type scopes struct {
	t      *tree.Tree
	parent string
	ready  parents
}

// scopePrefix and scopeSuffix stand around the id in a scope's name.
const scopePrefix, scopeSuffix = "hoy", ".scope"

// Where groups are when nothing else is said.
const (
	defaultSlice  = "system.slice"
	defaultParent = "/hoy"
)

var errNoSystemd = errdefs.ErrFailedPrecondition.WithMessage("systemd not running on this host, cannot use systemd cgroups manager")

func newScopes(t *tree.Tree, parent string) (Manager, error) {
	if !unit.Running() {
		return nil, errNoSystemd
	}
	s := &scopes{t: t, parent: parent, ready: parents{t: t}}
	if parent == "" {
		s.parent = defaultSlice
	}
	return s, s.Check(s.parent)
}

func (s *scopes) Driver() string { return Systemd }

func (s *scopes) Version() string { return s.t.Version() }

func (s *scopes) Support() *tree.Support { return s.t.Support() }

func (s *scopes) Check(parent string) error {
	if parent == "" {
		return nil
	}
	if _, err := systemd.ExpandSlice(parent); err != nil || len(parent) > 255 || strings.ContainsAny(parent, "\x00\n") {
		return errdefs.ErrInvalidArgument.WithMessage(`cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"`)
	}
	return nil
}

func (s *scopes) List() ([]string, error) {
	dir, err := systemd.ExpandSlice(s.parent)
	if err != nil {
		return nil, err
	}
	names, err := list(s.t, dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, n := range names {
		if id, ok := strings.CutSuffix(strings.TrimPrefix(n, scopePrefix+"-"), scopeSuffix); ok && strings.HasPrefix(n, scopePrefix+"-") {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Clear has nothing to do: what was made in slices goes with the last scope,
// and the slices are systemd's.
func (s *scopes) Clear() error { return nil }

func (s *scopes) Create(parent, id string, r *specs.LinuxResources) (Group, error) {
	g, err := s.group(parent, id)
	if err != nil {
		return nil, err
	}
	return g, g.Make(r)
}

func (s *scopes) Open(parent, id string) (Group, error) {
	g, err := s.group(parent, id)
	if err != nil {
		return nil, err
	}
	if g.Exists() {
		g.watch(&g.killed)
		return g, nil
	}
	// A container may run from before the driver was changed.
	name := path.Join(defaultParent, id)
	if old := (&group{t: s.t, name: name, paths: layout(s.t, name, false), ready: &s.ready}); parent == "" && old.Exists() {
		return old, nil
	}
	return nil, errdefs.ErrNotFound.WithMessage("no cgroup " + g.Path())
}

func (s *scopes) group(parent, id string) (*group, error) {
	if err := s.Check(parent); err != nil {
		return nil, err
	}
	if parent == "" {
		parent = s.parent
	}
	return scopeGroup(s.t, parent, scopePrefix, id, &s.ready)
}

func scopeGroup(t *tree.Tree, slice, prefix, id string, ready *parents) (*group, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	dir, err := systemd.ExpandSlice(slice)
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	unitName := id + scopeSuffix
	if prefix != "" {
		unitName = prefix + "-" + unitName
	}
	if len(unitName) > 255 || strings.Trim(unitName, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@") != "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q is not a unit's name", unitName))
	}
	name := path.Join(dir, unitName)
	return &group{t: t, name: name, paths: layout(t, name, false), ready: ready, unit: &unit.Scope{Name: unitName, Slice: slice, Tree: t}}, nil
}

// scopePlace reads "slice:prefix:name".
func scopePlace(t *tree.Tree, cgroupsPath, id string) (Place, error) {
	if !unit.Running() {
		return nil, errNoSystemd
	}
	slice, prefix, name := defaultSlice, scopePrefix, id
	if cgroupsPath != "" {
		parts := strings.Split(cgroupsPath, ":")
		if len(parts) != 3 || strings.HasSuffix(parts[2], ".slice") {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", cgroupsPath))
		}
		prefix, name = parts[1], parts[2]
		if parts[0] != "" {
			slice = parts[0]
		}
	}
	return scopeGroup(t, slice, prefix, name, &parents{t: t})
}
