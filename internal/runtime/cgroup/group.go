package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

type group struct {
	name    string
	unified bool
	paths   map[string]string
	mgr     cgroups.Manager
}

func (g *group) Path() string { return g.name }

func (g *group) Procs() []string {
	seen := map[string]bool{}
	var files []string
	for _, dir := range g.paths {
		// Controllers that share a hierarchy share the directory.
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		files = append(files, filepath.Join(real, "cgroup.procs"))
	}
	slices.Sort(files)
	return files
}

// clear removes a group of the same name that nobody is in any more.
func (g *group) clear() error {
	for _, dir := range g.paths {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		pids, err := g.Pids()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if len(pids) > 0 {
			return errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("cgroup %s exists and has %d processes in it", g.name, len(pids)))
		}
		return g.Remove()
	}
	return nil
}

func (g *group) Update(r *specs.LinuxResources) error {
	res, err := resources(r)
	if err != nil {
		return err
	}
	// An update without device rules leaves those of the start.
	res.SkipDevices = len(res.Devices) == 0
	if err := g.set(res); err != nil {
		return fmt.Errorf("limit cgroup %s: %w", g.name, err)
	}
	return nil
}

// set applies limits, unless there are none that the machine must know.
func (g *group) set(res *cgroups.Resources) error { return g.mgr.Set(res) }

func (g *group) Freeze() error { return g.freeze(cgroups.Frozen) }

func (g *group) Thaw() error { return g.freeze(cgroups.Thawed) }

func (g *group) freeze(state cgroups.FreezerState) error {
	if err := g.mgr.Freeze(state); err != nil {
		return fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	return nil
}

func (g *group) Pids() ([]int, error) {
	dir := g.paths["devices"]
	if g.unified {
		dir = g.paths[""]
	}
	return cgroups.GetAllPids(dir)
}

func (g *group) OOMKills() (uint64, error) {
	if !g.unified && g.paths["memory"] == "" {
		return 0, nil
	}
	n, err := g.mgr.OOMKillCount()
	if err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	return n, nil
}

// killTime bounds how long Kill waits for processes to end.
const killTime = 2 * time.Second

func (g *group) Kill() error {
	deadline := time.Now().Add(killTime)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left, err := g.killOnce()
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: %d processes do not end", g.name, left)
		}
		// Nothing tells when the last process of a group is gone; the kernel needs a moment.
		time.Sleep(pause) //nolint:forbidigo // there is nothing to wait for
	}
}

// killOnce signals all processes and says how many there were.
func (g *group) killOnce() (int, error) {
	pids, err := g.Pids()
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(pids) == 0) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	if g.unified {
		err := os.WriteFile(filepath.Join(g.paths[""], "cgroup.kill"), []byte("1"), 0) //nolint:forbidigo // a file of the kernel
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return len(pids), err
		}
	}
	if err := g.signalAll(pids); err != nil {
		return 0, err
	}
	return len(pids), g.Thaw()
}

// signalAll kills those of pids that still are in the group. A number may have
// gone to another process since it was read, so processes are held by pidfds,
// and only those whose number is in the group after that are signalled.
func (g *group) signalAll(pids []int) error {
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	now, err := g.Pids()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	for _, pid := range now {
		fd, ok := held[pid]
		if !ok {
			continue
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	return nil
}

func (g *group) Remove() error {
	if err := g.mgr.Destroy(); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", g.name, err)
	}
	return nil
}
