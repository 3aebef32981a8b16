package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runtime-spec/specs-go"
)

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

// ForPath finds the place of linux.cgroupsPath. An absolute path begins at the
// root of each hierarchy, a relative one at the caller's own group (on version 2
// at that group's parent, which is where a group may have children with
// controllers); an empty one is id, relative.
func ForPath(cgroupsPath, id string, systemd bool) (Place, error) {
	if systemd {
		return nil, errdefs.ErrNotImplemented.WithMessage("the systemd cgroup driver is not available")
	}
	if strings.ContainsRune(cgroupsPath, 0) || id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q, %q: not a cgroup path", cgroupsPath, id))
	}
	if cgroupsPath == "" {
		cgroupsPath = id
	}
	abs := strings.HasPrefix(cgroupsPath, "/")
	rel := path.Clean("/" + cgroupsPath)
	if rel == "/" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("a container cannot be in the root cgroup")
	}
	paths, err := placePaths(rel, abs)
	if err != nil {
		return nil, err
	}
	mgr, err := manager.NewWithPaths(&cgroups.Cgroup{Path: rel, Resources: &cgroups.Resources{}}, paths)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", rel, err)
	}
	return &group{name: rel, unified: cgroups.IsCgroup2UnifiedMode(), paths: paths, mgr: mgr}, nil
}

func placePaths(rel string, abs bool) (map[string]string, error) {
	if cgroups.IsCgroup2UnifiedMode() {
		if abs {
			return map[string]string{"": filepath.Join(unifiedRoot, rel)}, nil
		}
		own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
		if err != nil {
			return nil, err
		}
		return map[string]string{"": filepath.Join(unifiedRoot, path.Dir(own[""]), rel)}, nil
	}
	paths := map[string]string{}
	for _, name := range controllers {
		base, err := cgroups.FindCgroupMountpoint("", name)
		if err == nil && !abs {
			base, err = cgroups.GetOwnCgroupPath(name)
		}
		if cgroups.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find cgroup hierarchy %s: %w", name, err)
		}
		paths[name] = filepath.Join(base, rel)
	}
	if paths["devices"] == "" {
		return nil, errors.New("no cgroup hierarchy for devices is mounted: containers could not be kept from the host's devices")
	}
	return paths, nil
}

func (g *group) Paths() map[string]string { return g.paths }

func (g *group) Exists() bool {
	for _, dir := range g.paths {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	return false
}

func (g *group) Make(r *specs.LinuxResources) error {
	res, err := resources(r)
	if err != nil {
		return err
	}
	if err := g.clear(); err != nil {
		return err
	}
	// The library keeps the limits that it was made with: version 1's cpuset is one.
	cg, err := g.mgr.GetCgroups()
	if err != nil {
		return err
	}
	cg.Resources = res
	if err := g.mgr.Apply(-1); err != nil {
		return errors.Join(fmt.Errorf("make cgroup %s: %w", g.Path(), err), g.Remove())
	}
	if err := g.set(res); err != nil {
		return errors.Join(fmt.Errorf("limit cgroup %s: %w", g.Path(), err), g.Remove())
	}
	return nil
}
