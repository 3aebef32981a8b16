// Package cgroup makes the control groups of containers, limits them, reads
// their counters and removes them, on version 1, hybrid and version 2 machines,
// by its own hand (driver cgroupfs) or through systemd. A container's group is
// PARENT/ID in every hierarchy that is used.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/cgroup/kernfs"
	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/runtime/cgroup/unit"
)

// Manager makes and finds an engine's groups. A parent of "" is the engine's own.
type Manager interface {
	// Create makes the group of id below parent with limits. One left over from
	// before is removed first; where processes still are in it, the error is
	// AlreadyExists.
	Create(parent, id string, r *specs.LinuxResources) (Group, error)
	// Open finds the group of id. The error is NotFound where there is none.
	Open(parent, id string) (Group, error)
	// List gives the ids that have a group below the engine's own parent.
	List() ([]string, error)
	// Clear removes the engine's own parent, where no group is left below it.
	Clear() error
	// Check says whether parent can be one. The error is InvalidArgument.
	Check(parent string) error
	// Support is what the kernel can limit.
	Support() *tree.Support
	// Driver is how groups are made: "cgroupfs" or "systemd".
	Driver() string
	// Version is "1" (also for a hybrid machine) or "2".
	Version() string
}

// Group is one container's control group.
type Group interface {
	// Procs are the cgroup.procs files that a first process is written to.
	Procs() []string
	// Joined says that the container's first process is in the group.
	Joined()
	// Path is the group's name below each hierarchy's root.
	Path() string
	// Update changes those limits that r names; where one is refused the
	// others are put back.
	Update(r *specs.LinuxResources) error
	Freeze() error
	Thaw() error
	Frozen() (bool, error)
	// Pids are the host's numbers of all processes in the group and below.
	Pids() ([]int, error)
	Stats() (*Stats, error)
	// OOMKills counts processes that were killed for want of memory.
	OOMKills() (uint64, error)
	// Kill sends SIGKILL to all processes, frozen ones too, and waits until
	// they are gone, for two seconds at most.
	Kill() error
	// Remove deletes the group, and parents made for it that are empty now; it
	// tries for a moment while the kernel still lets go of ended processes. A
	// group that is gone is no error.
	Remove() error
}

// Place is the group that an OCI specification names, made or not.
type Place interface {
	Group
	// Make makes the group with limits. The error is AlreadyExists where
	// processes are in it.
	Make(r *specs.LinuxResources) error
	Exists() bool
	// Paths are its directories by controller; version 2 has the key "".
	Paths() map[string]string
}

// Drivers.
const (
	Cgroupfs = "cgroupfs"
	Systemd  = "systemd"
)

// usual are the version 1 hierarchies that every container is in (systemd's has
// no controller; a systemd inside a container looks for itself there); others only
// where a limit asks. Each costs a directory per container. The freezer is
// version 2's where that is mounted.
var usual = []string{"devices", "memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "name=systemd"}

// groups is the Manager of the driver cgroupfs.
type groups struct {
	t      *tree.Tree
	parent string
	ready  parents
}

// New returns the manager of the groups below parent, an absolute path in each
// hierarchy such as "/hoy" or, with systemd, a slice. Nothing is made yet.
func New(driver, parent string) (Manager, error) {
	t, err := tree.Find()
	if err != nil {
		return nil, err
	}
	if one, _ := t.Has("devices"); !one && t.V2.Dir == "" {
		return nil, errors.New("no cgroup hierarchy for devices is mounted: containers could not be kept from the host's devices")
	}
	switch driver {
	case Systemd:
		return newScopes(t, parent)
	case Cgroupfs, "":
	default:
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unknown cgroup driver %q", driver))
	}
	g := &groups{t: t, parent: path.Clean("/" + parent), ready: parents{t: t}}
	if err := g.Check(g.parent); err != nil {
		return nil, err
	}
	g.ready.keep = g.parent
	return g, nil
}

func (g *groups) Driver() string { return Cgroupfs }

func (g *groups) Support() *tree.Support { return g.t.Support() }

func (g *groups) Version() string { return g.t.Version() }

func (g *groups) Check(parent string) error {
	switch {
	case strings.ContainsAny(parent, "\x00\n") || len(parent) > 1024:
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("cgroup-parent %q is not a path", parent))
	case path.Clean("/"+parent) == "/" && parent != "":
		return errdefs.ErrInvalidArgument.WithMessage("the cgroup parent must be below /")
	}
	return nil
}

func (g *groups) List() ([]string, error) { return list(g.t, g.parent) }

// list gives the groups below parent in any hierarchy.
func list(t *tree.Tree, parent string) ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, dir := range dirs(layout(t, parent, true)) {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && !seen[e.Name()] {
				seen[e.Name()] = true
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (g *groups) Clear() error {
	g.ready.forget()
	var errs []error
	for _, dir := range dirs(layout(g.t, g.parent, true)) {
		// A directory with a group below is busy and stays.
		if err := kernfs.Rmdir(dir); err != nil && !kernfs.Busy(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (g *groups) Open(parent, id string) (Group, error) {
	gr, err := g.group(parent, id)
	if err != nil {
		return nil, err
	}
	if gr.Exists() {
		return gr, nil
	}
	// A container may run from before the driver was changed.
	if other, err := scopeGroup(g.t, defaultSlice, scopePrefix, id, &g.ready); err == nil && parent == "" && unit.Running() && other.Exists() {
		return other, nil
	}
	return nil, errdefs.ErrNotFound.WithMessage("no cgroup " + gr.Path())
}

func (g *groups) Create(parent, id string, r *specs.LinuxResources) (Group, error) {
	gr, err := g.group(parent, id)
	if err != nil {
		return nil, err
	}
	return gr, gr.Make(r)
}

// group describes the group of id, whether or not it is there.
func (g *groups) group(parent, id string) (*group, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := g.Check(parent); err != nil {
		return nil, err
	}
	if parent == "" {
		parent = g.parent
	}
	name := path.Join("/", parent, id)
	return &group{t: g.t, name: name, paths: layout(g.t, name, false), ready: &g.ready}, nil
}

func checkID(id string) error {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00\n") {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q is not a cgroup name", id))
	}
	return nil
}
