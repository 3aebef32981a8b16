// Package cgroup makes the control groups of containers, limits them, reads
// their counters and removes them, on version 1, hybrid and version 2 machines.
// A container's group is PARENT/ID in every hierarchy that is used.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	// Teaches the library device rules.
	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Manager makes and finds the groups below one parent.
type Manager interface {
	// Create makes the group of id with limits. One left over from before is
	// removed first; where processes still are in it, the error is AlreadyExists.
	Create(id string, r *specs.LinuxResources) (Group, error)
	// Open finds the group of id. The error is NotFound where there is none.
	Open(id string) (Group, error)
	// List gives the ids that have a group in any hierarchy.
	List() ([]string, error)
	// Clear removes the parent itself, where no group is left below it.
	Clear() error
	// Driver is how groups are made: "cgroupfs".
	Driver() string
	// Version is "1" (also for a hybrid machine) or "2".
	Version() string
}

// Group is one container's control group.
type Group interface {
	// Procs are the cgroup.procs files that a first process is written to.
	Procs() []string
	// Path is the group's name below each hierarchy's root.
	Path() string
	// Update changes those limits that r names.
	Update(r *specs.LinuxResources) error
	Freeze() error
	Thaw() error
	// Pids are the host's numbers of all processes in the group and below.
	Pids() ([]int, error)
	Stats() (*Stats, error)
	// OOMKills counts processes that were killed for want of memory.
	OOMKills() (uint64, error)
	// Kill sends SIGKILL to all processes, frozen ones too, and waits until
	// they are gone, for two seconds at most.
	Kill() error
	// Remove deletes the group; it tries for a moment while the kernel still
	// lets go of ended processes. A group that is gone is no error.
	Remove() error
}

// controllers are the version 1 hierarchies that a container's limits, counters
// and freezer need. Each costs a directory per container.
var controllers = []string{"devices", "memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "freezer", "hugetlb"}

// groups is the Manager; roots maps a controller to the parent's directory,
// with the one key "" on version 2.
type groups struct {
	parent  string
	unified bool
	roots   map[string]string
}

// unifiedRoot is where systemd, and every distribution with it, mounts version 2.
const unifiedRoot = "/sys/fs/cgroup"

// New returns the manager of the groups below parent, an absolute path in each
// hierarchy such as "/hoy". Nothing is made yet.
func New(parent string) (Manager, error) {
	parent = path.Clean("/" + parent)
	if parent == "/" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("the cgroup parent must be below /")
	}
	g := &groups{parent: parent, unified: cgroups.IsCgroup2UnifiedMode(), roots: map[string]string{}}
	if g.unified {
		g.roots[""] = filepath.Join(unifiedRoot, parent)
		return g, nil
	}
	for _, name := range controllers {
		mount, err := cgroups.FindCgroupMountpoint("", name)
		if cgroups.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find cgroup hierarchy %s: %w", name, err)
		}
		g.roots[name] = filepath.Join(mount, parent)
	}
	if g.roots["devices"] == "" {
		return nil, errors.New("no cgroup hierarchy for devices is mounted: containers could not be kept from the host's devices")
	}
	return g, nil
}

func (g *groups) Driver() string { return "cgroupfs" }

func (g *groups) Version() string {
	if g.unified {
		return "2"
	}
	return "1"
}

func (g *groups) List() ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, dir := range g.roots {
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
	var errs []error
	for _, dir := range g.roots {
		// A directory with a group below is busy and stays.
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (g *groups) Open(id string) (Group, error) {
	gr, err := g.group(id, &cgroups.Resources{})
	if err != nil {
		return nil, err
	}
	for _, dir := range gr.paths {
		if _, err := os.Stat(dir); err == nil {
			return gr, nil
		}
	}
	return nil, errdefs.ErrNotFound.WithMessage("no cgroup " + gr.Path())
}

func (g *groups) Create(id string, r *specs.LinuxResources) (Group, error) {
	res, err := resources(r)
	if err != nil {
		return nil, err
	}
	gr, err := g.group(id, res)
	if err != nil {
		return nil, err
	}
	if err := gr.clear(); err != nil {
		return nil, err
	}
	if err := gr.mgr.Apply(-1); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup %s: %w", gr.Path(), err), gr.Remove())
	}
	if err := gr.set(res); err != nil {
		return nil, errors.Join(fmt.Errorf("limit cgroup %s: %w", gr.Path(), err), gr.Remove())
	}
	return gr, nil
}

// group describes the group of id, whether or not it is there.
func (g *groups) group(id string, res *cgroups.Resources) (*group, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q is not a cgroup name", id))
	}
	paths := make(map[string]string, len(g.roots))
	for name, dir := range g.roots {
		paths[name] = filepath.Join(dir, id)
	}
	cg := &cgroups.Cgroup{Path: path.Join(g.parent, id), Resources: res}
	mgr, err := manager.NewWithPaths(cg, paths)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", cg.Path, err)
	}
	return &group{name: cg.Path, unified: g.unified, paths: paths, mgr: mgr}, nil
}
