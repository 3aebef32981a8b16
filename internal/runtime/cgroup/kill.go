package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/kernfs"
)

func (g *group) Freeze() error { return g.freeze(true) }

func (g *group) Thaw() error { return g.freeze(false) }

func (g *group) freeze(on bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cgroup %s: %w", g.name, err)
		}
	}()
	dir, two := g.freezer()
	if dir == "" {
		return errors.New("no freezer is mounted")
	}
	if !two {
		state := cgroups.Thawed
		if on {
			state = cgroups.Frozen
		}
		return (&fs.FreezerGroup{}).Set(dir, &cgroups.Resources{Freezer: state})
	}
	if !on {
		return kernfs.Write(dir, "cgroup.freeze", "0")
	}
	if err := kernfs.Write(dir, "cgroup.freeze", "1"); err != nil {
		return err
	}
	if err := kernfs.WaitEvent(dir, "frozen 1", freezeTime); err != nil {
		return errors.Join(err, kernfs.Write(dir, "cgroup.freeze", "0"))
	}
	return nil
}

// freezeTime bounds how long processes may take to reach a point where they
// can be stopped: one that waits for a disk takes its time.
const freezeTime = 10 * time.Second

func (g *group) Frozen() (bool, error) {
	dir, two := g.freezer()
	if dir == "" {
		return false, nil
	}
	if two {
		text, err := kernfs.Read(dir, "cgroup.freeze")
		return text == "1", err
	}
	text, err := kernfs.Read(dir, "freezer.state")
	return text == "FROZEN", err
}

func (g *group) Pids() ([]int, error) {
	dir := g.paths[""]
	if dir == "" {
		dir = g.paths["devices"]
	}
	return g.pids(dir)
}

// pids are the processes in dir and below, without our own that holds a scope.
func (g *group) pids(dir string) ([]int, error) {
	pids, err := cgroups.GetAllPids(dir)
	if g.unit != nil {
		pids = slices.DeleteFunc(pids, g.unit.Holds)
	}
	return pids, err
}

// killTime bounds how long Kill waits for processes to end.
const killTime = 2 * time.Second

// Kill of version 2 ends all at once. Who could leave its group in one
// hierarchy, as the root of a privileged container can, still is in the others:
// each is looked at.
func (g *group) Kill() error {
	if dir := g.paths[""]; dir != "" && kernfs.Write(dir, "cgroup.kill", "1") == nil {
		if err := kernfs.WaitEvent(dir, "populated 0", killTime); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cgroup %s: processes do not end: %w", g.name, err)
		}
	}
	deadline := time.Now().Add(killTime)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left, err := g.killOnce()
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: %d processes do not end", g.name, left)
		}
		// Nothing tells when the last process of a version 1 group is gone; the kernel needs a moment.
		time.Sleep(pause) //nolint:forbidigo // there is nothing to wait for
	}
}

// killOnce signals the processes of all hierarchies and says how many there were.
func (g *group) killOnce() (int, error) {
	found := map[int]bool{}
	for _, dir := range dirs(g.paths) {
		pids, err := g.pids(dir)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || len(pids) == 0 && err == nil {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cgroup %s: %w", g.name, err)
		}
		for _, pid := range pids {
			found[pid] = true
		}
		if err := g.signalAll(dir, pids); err != nil {
			return 0, err
		}
	}
	if len(found) == 0 {
		return 0, nil
	}
	if err := g.Thaw(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	return len(found), nil
}

// signalAll kills those of pids that still are in dir. A number may have gone
// to another process since it was read, so processes are held by pidfds, and
// only those whose number is in the group after that are signalled.
func (g *group) signalAll(dir string, pids []int) error {
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
	now, err := g.pids(dir)
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
