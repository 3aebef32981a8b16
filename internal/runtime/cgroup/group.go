package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/kernfs"
	"hoy/internal/runtime/cgroup/limit"
	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/runtime/cgroup/unit"
)

type group struct {
	t    *tree.Tree
	name string
	// paths are the directories by controller.
	paths map[string]string
	// below are the groups that name begins at, by controller; nil is the roots.
	below map[string]string
	ready *parents
	// whole says that paths are all that there is.
	whole bool
	// unit is the systemd scope that the group is; nil with the driver cgroupfs.
	unit *unit.Scope
	// killed is what watch has counted.
	killed atomic.Uint64
}

func (g *group) Path() string { return g.name }

func (g *group) Paths() map[string]string { return g.paths }

func (g *group) Procs() []string {
	files := dirs(g.paths)
	for i, dir := range files {
		files[i] = filepath.Join(dir, "cgroup.procs")
	}
	return files
}

func (g *group) Joined() {
	if g.unit != nil {
		g.watch(&g.killed)
		g.unit.Joined()
	}
}

func (g *group) Exists() bool {
	for _, dir := range g.paths {
		if tree.File(dir, "") {
			return true
		}
	}
	return false
}

// widen adds the hierarchies that limits need beyond the usual ones.
func (g *group) widen(controllers []string) {
	for _, c := range controllers {
		if _, ok := g.paths[c]; ok {
			continue
		}
		base := g.t.V1[c].Dir
		if g.below != nil {
			base = g.below[c]
		}
		g.paths[c] = base + g.name
	}
}

// Make makes the group in each hierarchy and limits it.
func (g *group) Make(r *specs.LinuxResources) (err error) {
	plan, err := limit.Of(r, g.t)
	if err != nil {
		return err
	}
	g.widen(plan.Needs)
	g.whole = true
	defer func() {
		if err != nil && !errdefs.IsAlreadyExists(err) {
			err = errors.Join(err, g.Remove())
		}
	}()
	if g.unit != nil {
		if err := g.unit.Start(r); err != nil {
			return err
		}
	}
	for controller, dir := range g.paths {
		if err := g.mkdir(controller, dir); err != nil {
			return err
		}
	}
	if err := g.enable(plan.Needs2); err != nil {
		return err
	}
	if r != nil {
		if err := g.devices(r.Devices, true); err != nil {
			return fmt.Errorf("limit the devices of cgroup %s: %w", g.name, err)
		}
	}
	if err := g.apply(plan.Writes, nil); err != nil {
		return fmt.Errorf("limit cgroup %s: %w", g.name, err)
	}
	return nil
}

// mkdir makes the group's directory of one controller. A group that is there
// already, from before, is removed first where nobody is in it.
func (g *group) mkdir(controller, dir string) error {
	parent := filepath.Dir(dir)
	for try := 0; ; try++ {
		inherits, err := g.ready.make(controller, parent)
		if err != nil {
			return fmt.Errorf("make cgroup %s: %w", g.name, err)
		}
		err = unix.Mkdir(dir, 0o755)
		switch {
		case err == nil:
			if controller == "cpuset" && !inherits {
				return copyCPUs(dir)
			}
			return nil
		case errors.Is(err, unix.EEXIST) && (shared(g.paths, controller, dir) || g.unit != nil):
			return nil
		case errors.Is(err, unix.EEXIST) && try < maxTries:
			if err := clearLeft(g.name, dir); err != nil {
				return err
			}
		case errors.Is(err, unix.ENOENT) && try < maxTries:
			// The parent went with the last group below it.
			g.ready.lose(parent)
		default:
			return &os.PathError{Op: "mkdir", Path: dir, Err: err}
		}
	}
}

const maxTries = 8

// shared says whether another controller has the same directory.
func shared(paths map[string]string, controller, dir string) bool {
	for c, d := range paths {
		if c != controller && d == dir {
			return true
		}
	}
	return false
}

// clearLeft removes a group of the same name that nobody is in any more.
func clearLeft(name, dir string) error {
	pids, err := cgroups.GetAllPids(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(pids) > 0 {
		return errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("cgroup %s exists and has %d processes in it", name, len(pids)))
	}
	return kernfs.RemoveTree(dir)
}

// enable turns version 2 controllers on for the group of a hybrid machine,
// where they are not on for all. (On version 2 parents have them on.)
func (g *group) enable(controllers []string) error {
	if len(controllers) == 0 || g.t.Unified() {
		return nil
	}
	// From the root down, since a group can only hand on what it has.
	var above []string
	for dir := filepath.Dir(g.paths[""]); len(dir) >= len(g.t.V2.Dir); dir = filepath.Dir(dir) {
		above = append(above, dir)
	}
	slices.Reverse(above)
	for _, dir := range above {
		if err := g.ready.enable(dir, controllers); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) Update(r *specs.LinuxResources) error {
	plan, err := limit.Of(r, g.t)
	if err != nil {
		return err
	}
	g.found()
	for _, c := range plan.Needs {
		if _, ok := g.paths[c]; !ok {
			return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("cgroup %s was made without %s: its limits cannot be set now", g.name, c))
		}
	}
	if err := g.checkUsage(r); err != nil {
		return err
	}
	if g.unit != nil {
		if err := g.unit.Update(r); err != nil {
			return fmt.Errorf("limit cgroup %s: %w", g.name, err)
		}
	}
	if err := g.enable(plan.Needs2); err != nil {
		return err
	}
	if r != nil {
		if err := g.devices(r.Devices, false); err != nil {
			return fmt.Errorf("limit the devices of cgroup %s: %w", g.name, err)
		}
	}
	var old []limit.Write
	if err := g.apply(plan.Writes, &old); err != nil {
		slices.Reverse(old)
		_ = g.apply(old, nil)
		return fmt.Errorf("limit cgroup %s: %w", g.name, err)
	}
	return nil
}

// Remove stops the unit, deletes the directories and what was made above them.
func (g *group) Remove() error {
	var errs []error
	if g.unit != nil {
		errs = append(errs, g.unit.Stop())
	}
	g.found()
	for controller, dir := range g.paths {
		if err := kernfs.RemoveTree(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", g.name, err))
			continue
		}
		if g.ready.keep != filepath.Dir(g.name) {
			g.ready.prune(controller, dir)
		}
	}
	return errors.Join(errs...)
}

// found adds the directories that only some groups have, and that are there. A
// group that was opened by name does not know what limits it was made with.
func (g *group) found() {
	if g.whole {
		return
	}
	g.whole = true
	for controller, m := range g.t.V1 {
		if _, ok := g.paths[controller]; ok {
			continue
		}
		base := m.Dir
		if g.below != nil {
			base = g.below[controller]
		}
		if dir := base + g.name; tree.File(dir, "") {
			g.paths[controller] = dir
		}
	}
}
