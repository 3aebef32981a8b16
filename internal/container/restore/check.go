package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/container/spec"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
	"hoy/internal/reconcile"
)

// Check compares the containers with processes, cgroups, directories and mounts.
// It reads single directories and a file a running container, nothing deeper.
func (x *Restorer) Check(ctx context.Context) []reconcile.Finding {
	all := x.checkProcesses(ctx)
	all = append(all, x.checkGroups()...)
	all = append(all, x.checkDirectories(ctx)...)
	return append(all, x.checkMounts()...)
}

// known says whether an id is a container's, or one's that is being made, or one's
// whose record cannot be read.
func (x *Restorer) known(id string) bool {
	_, ok := x.Index.Get(id)
	return ok || x.Ledger.Damaged(id) || x.Index.Reserved(id)
}

func failure(kind string, err error) []reconcile.Finding {
	return []reconcile.Finding{{Kind: kind, Object: "all", Store: "recorded", Machine: "cannot be listed: " + err.Error()}}
}

func (x *Restorer) checkProcesses(ctx context.Context) (all []reconcile.Finding) {
	states, err := x.Monitor.List(ctx)
	if err != nil {
		return failure("process", err)
	}
	alive := map[string]bool{}
	for _, s := range states {
		id := s.ID.Container
		if s.ID.Exec == "" {
			alive[id] = true
		}
		if x.known(id) {
			continue
		}
		f := reconcile.Finding{Kind: "process", Object: core.Short(id), Store: "of no container", Machine: "runs", Repair: "kill it"}
		if s.Exit != nil {
			f.Machine, f.Repair = "its end is not forgotten", "forget it"
		}
		f.Fix = func(ctx context.Context) error { return x.dropProcess(ctx, s) }
		all = append(all, f)
	}
	for _, e := range x.Index.All() {
		r := e.Record()
		if !r.State.Phase.HasProcess() || alive[e.ID] {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "container", Object: r.Name, Store: fmt.Sprintf("%s with process %d", r.State.Phase, r.State.Pid),
			Machine: "the monitor has no such process", Repair: "record its end and follow its restart policy",
			Fix: func(ctx context.Context) error { return x.loseIfGone(ctx, e) },
		})
	}
	return all
}

func (x *Restorer) dropProcess(ctx context.Context, s monitor.ProcessState) error {
	if x.known(s.ID.Container) {
		return nil
	}
	err := x.Monitor.Forget(ctx, s.ID)
	if s.Exit == nil {
		err = x.Monitor.Signal(ctx, s.ID, syscall.SIGKILL) // its exit is forgotten when it arrives
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (x *Restorer) loseIfGone(ctx context.Context, e *index.Entry) error {
	states, err := x.Monitor.List(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(states, func(s monitor.ProcessState) bool { return s.ID == monitor.ProcessID{Container: e.ID} }) {
		return nil
	}
	if e.Record().State.Phase.HasProcess() {
		x.lost(ctx, e)
		e.SetRun(nil)
	}
	if wanted(e.Record()) {
		go x.start(ctx, e)
	}
	return nil
}

func (x *Restorer) checkGroups() (all []reconcile.Finding) {
	ids, err := x.Cgroups.List()
	if err != nil {
		return failure("cgroup", err)
	}
	for _, id := range ids {
		e, ok := x.Index.Get(id)
		if !isID(id) || !ok && x.known(id) || ok && (e.Run() != nil || e.Record().State.Phase == record.Starting) {
			continue
		}
		f := reconcile.Finding{Kind: "cgroup", Object: core.Short(id), Store: "of no container", Machine: "there", Repair: "end what is in it and remove it"}
		if ok {
			f.Object, f.Store = e.Record().Name, "of a container that is "+string(e.Record().State.Phase)
		}
		f.Fix = func(context.Context) error { return x.dropGroup(id) }
		all = append(all, f)
	}
	for _, e := range x.Index.All() {
		r := e.Record()
		if !r.State.Phase.HasProcess() || r.HostConfig.Runtime != "" && r.HostConfig.Runtime != x.Runtimes.Default() || x.inGroup(r) {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "cgroup", Object: r.Name, Store: "of a container that runs", Machine: "its process is in another",
			Repair: "make it with its limits and put the container's processes in it",
			Fix:    func(ctx context.Context) error { return x.regroup(ctx, e) },
		})
	}
	return all
}

// inGroup says whether the first process is in a cgroup of its container's name.
// Of one that cannot be looked at, the monitor will tell.
func (x *Restorer) inGroup(r *record.Record) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(r.State.Pid) + "/cgroup")
	return err != nil || len(text) == 0 || strings.Contains(string(text), r.ID)
}

func (x *Restorer) dropGroup(id string) error {
	if e, ok := x.Index.Get(id); ok {
		done, err := e.Turn(context.Background())
		if err != nil {
			return err
		}
		defer done()
		if e.Run() != nil {
			return nil
		}
	} else if x.known(id) {
		return nil
	}
	g, err := x.Cgroups.Open("", id)
	if err != nil {
		return nil //nolint:nilerr // it is gone
	}
	return errors.Join(g.Kill(), g.Remove())
}

// regroup makes the cgroup of a running container again, and moves its process
// and all that come from it.
func (x *Restorer) regroup(ctx context.Context, e *index.Entry) error {
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	r, run := e.Record(), e.Run()
	if run == nil || !r.State.Phase.HasProcess() || x.inGroup(r) {
		return nil
	}
	devices, err := spec.HostDevices(r.HostConfig)
	if err != nil {
		return err
	}
	limits, err := spec.Resources(r.HostConfig, devices)
	if err != nil {
		return err
	}
	g, err := x.Cgroups.Create(r.HostConfig.CgroupParent, r.ID, limits)
	if err != nil {
		return err
	}
	for _, pid := range descendants(r.State.Pid) {
		for _, file := range g.Procs() {
			// One that has ended meanwhile needs no group.
			if err := writeProcs(file, pid); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	g.Joined()
	e.Regroup(g)
	x.freezeAsTold(r, g)
	return nil
}

// writeProcs writes to a file of the kernel's; nothing is made.
func writeProcs(path string, pid int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(pid))
	return err
}

// descendants are a process and all that it and they have started, as far as
// their parents live.
func descendants(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all) && len(all) < 1<<16; i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, word := range strings.Fields(string(text)) {
				if n, err := strconv.Atoi(word); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

func (x *Restorer) checkDirectories(ctx context.Context) (all []reconcile.Finding) {
	for _, e := range x.Index.All() {
		r := e.Record()
		if p := r.State.Phase; p == record.Removing || p == record.Dead {
			continue
		}
		if missing(x.Ledger.Dir(e.ID)) {
			all = append(all, reconcile.Finding{
				Kind: "directory", Object: r.Name, Store: x.Ledger.Dir(e.ID), Machine: "not there", Repair: "make it with the record; the log begins anew",
				Fix: func(ctx context.Context) error { return x.rewrite(ctx, e) },
			})
		}
		if dir := filepath.Join(x.Root, "image", "writable", e.ID, "fs"); missing(dir) {
			all = append(all, reconcile.Finding{
				Kind: "layer", Object: r.Name, Store: dir, Machine: "not there", Repair: "none: what it wrote is lost; remove the container",
			})
		}
	}
	keys, err := x.Images.Snapshots(ctx)
	if err != nil {
		return append(all, failure("layer", err)...)
	}
	for _, key := range keys {
		if isID(key) && !x.known(key) {
			all = append(all, reconcile.Finding{
				Kind: "layer", Object: core.Short(key), Store: "of no container", Machine: "there", Repair: "remove it",
				Fix: func(ctx context.Context) error {
					if x.known(key) {
						return nil
					}
					return x.Images.RemoveSnapshot(ctx, key)
				},
			})
		}
	}
	orphans, err := x.Ledger.Orphans(x.known)
	if err != nil {
		return append(all, failure("directory", err)...)
	}
	for _, id := range orphans {
		if !isID(id) {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "directory", Object: core.Short(id), Store: "of no container", Machine: "there", Repair: "remove it",
			Fix: func(context.Context) error {
				if x.known(id) {
					return nil
				}
				start.ReleaseShm(x.Ledger.Dir(id))
				return x.Ledger.Delete(id)
			},
		})
	}
	return all
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

// rewrite makes a container's directory again.
func (x *Restorer) rewrite(ctx context.Context, e *index.Entry) error {
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, ok := x.Index.Get(e.ID); !ok || e.Record().State.Phase == record.Removing {
		return nil
	}
	if err := os.Mkdir(x.Ledger.Dir(e.ID), 0o710); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return x.Ledger.SaveNow(e.Record())
}

// NetNS opens the network namespace of a running container.
func (x *Restorer) NetNS(id string) (*os.File, error) {
	e, ok := x.Index.Get(id)
	if !ok {
		return nil, errdefs.ErrNotFound.WithMessage("no container " + id)
	}
	r := e.Record()
	if !r.State.Phase.HasProcess() {
		return nil, errdefs.ErrNotFound.WithMessage("container " + r.Name + " does not run")
	}
	f, err := os.Open("/proc/" + strconv.Itoa(r.State.Pid) + "/ns/net")
	if err != nil {
		return nil, err
	}
	// Opened first: while the process is still this one, so is the namespace.
	if !x.inGroup(r) || e.Record() != r {
		_ = f.Close()
		return nil, errdefs.ErrConflict.WithMessage("container " + r.Name + " has just changed")
	}
	return f, nil
}

// checkMounts looks for memory that is mounted for containers that do not run.
func (x *Restorer) checkMounts() (all []reconcile.Finding) {
	root, err := filepath.EvalSymlinks(filepath.Join(x.Root, "containers"))
	if err != nil {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return failure("mount", err)
	}
	for _, m := range mounts {
		id, rest, _ := strings.Cut(strings.TrimPrefix(m.Mountpoint, root+"/"), "/")
		e, ok := x.Index.Get(id)
		if rest != "shm" || !isID(id) || ok && (e.Run() != nil || e.Record().State.Phase == record.Starting) {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "mount", Object: m.Mountpoint, Store: "of no container that runs", Machine: "mounted", Repair: "unmount it",
			Fix: func(ctx context.Context) error {
				if ok {
					done, err := e.Turn(ctx)
					if err != nil {
						return err
					}
					defer done()
					if e.Run() != nil {
						return nil
					}
				}
				start.ReleaseShm(x.Ledger.Dir(id))
				return nil
			},
		})
	}
	return all
}
