// Package restore brings what the records say and what the kernel shows into
// agreement after the daemon's start: it adopts what runs, records what ended,
// finishes what was begun, and sweeps what nobody owns.
package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/life"
	"hoy/internal/container/record"
	"hoy/internal/container/remove"
	"hoy/internal/container/start"
	"hoy/internal/monitor"
	"hoy/internal/store"
)

// Restorer restores once, before the API answers.
type Restorer struct {
	*core.Core
	Life    *life.Life
	Remover *remove.Remover
	// told answers what the former daemon has told.
	told func(actor string, action events.Action, since time.Time) bool
}

// lostCode is what a container gets that ran and that nobody saw end.
const lostCode = 255

// Report is what was found and done.
type Report struct {
	Adopted, Ended, Lost, Restarted, Finished int
	// Swept names what nobody owned: "cgroup ID", "snapshot ID", "directory ID", "process ID".
	Swept []string
}

// Restore of the engine's containers. What fails for one container is logged and costs that one.
func (x *Restorer) Restore(ctx context.Context) (Report, error) {
	var rep Report
	x.told = x.Told()
	records, err := x.Ledger.Load()
	if err != nil {
		return rep, err
	}
	states, err := x.Monitor.List(ctx)
	if err != nil {
		return rep, fmt.Errorf("ask the monitor what runs: %w", err)
	}
	procs := map[string]monitor.ProcessState{}
	for _, s := range states {
		if s.ID.Exec == "" {
			procs[s.ID.Container] = s
		}
	}
	var removing []*record.Record
	for _, r := range records {
		if r.FirstID != 0 {
			if err := x.Blocks.Hold(r.ID, r.FirstID); err != nil {
				x.Log.Error("two containers have the same ids", "container", r.ID, "error", err)
			}
		}
		switch p, known := procs[r.ID]; {
		case r.State.Phase == record.Removing && known && p.Exit == nil:
			x.linger(ctx, r, p)
		case r.State.Phase == record.Removing:
			removing = append(removing, r)
		default:
			x.adopt(ctx, r, procs)
		}
	}
	for _, r := range removing {
		if err := x.Remover.Finish(ctx, r); err != nil {
			x.Log.Error("removal not finished", "container", r.ID, "error", err)
			continue
		}
		if !x.told(r.ID, events.ActionDestroy, time.Time{}) {
			x.Event(r, events.ActionDestroy, nil)
		}
		rep.Finished++
	}
	for _, s := range states {
		if s.ID.Exec != "" && s.Exit != nil {
			x.Life.ExecExited(*s.Exit) // who asked for it has gone with the old daemon; who reads the events has not
		}
	}
	x.refs(ctx)
	if err := x.Networks.Restore(ctx, x.held(procs)); err != nil {
		x.Log.Error("networks of running containers not restored", "error", err)
	}
	x.settle(ctx, procs, &rep)
	x.sweep(ctx, states, &rep)
	x.restart(ctx, &rep)
	x.Log.Info("containers restored", "known", len(records), "adopted", rep.Adopted, "ended", rep.Ended,
		"lost", rep.Lost, "restarted", rep.Restarted, "removed", rep.Finished, "swept", rep.Swept)
	return rep, nil
}

// adopt puts a record into the index, as running where the monitor says so.
func (x *Restorer) adopt(ctx context.Context, r *record.Record, procs map[string]monitor.ProcessState) {
	if err := x.Index.Reserve(r.Name, r.ID); err != nil {
		// Only a damaged store has two of one name; the container stays reachable by its id.
		x.Log.Error("container renamed, its name is another's", "container", r.ID, "name", r.Name)
		name := r.Name + "_" + core.Short(store.NewID())
		r = r.With(func(n *record.Record) { n.Name = name })
		if err := x.Index.Reserve(name, r.ID); err != nil {
			x.Log.Error("container left out", "container", r.ID, "error", err)
			return
		}
	}
	e := x.Index.Add(r)
	p, known := procs[r.ID]
	if !known || r.State.Phase == record.Dead {
		return
	}
	if p.Exit != nil && !r.State.Phase.HasProcess() && !r.State.FinishedAt.Before(p.Exit.At.UTC()) {
		// The former daemon recorded this exit and died before it said so.
		if !x.told(r.ID, events.ActionDie, r.State.FinishedAt) {
			x.VolumesUnmounted(r)
			x.Died(r)
		}
		if err := x.Monitor.Forget(ctx, p.ID); err != nil && !errdefs.IsNotFound(err) {
			x.Log.Warn("monitor keeps an exit that is recorded", "container", r.ID, "error", err)
		}
		return
	}
	// The monitor's word on what runs is newer than a record whose last change was lost.
	if !r.State.Phase.HasProcess() || r.State.Pid != p.Started.Pid || r.State.StartTicks != p.Started.StartTime {
		r = r.With(func(n *record.Record) {
			n.State.Phase = record.Running
			n.State.Pid, n.State.StartTicks = p.Started.Pid, p.Started.StartTime
			n.State.StartedAt, n.State.BootID = p.Started.At.UTC(), x.BootID
			n.State.ExitCode, n.State.Error, n.State.Stopped = 0, "", false
			n.Net = x.place(r, p)
		})
		x.Publish(e, r)
	}
	if next, err := r.Move(record.Running, nil); r.State.Held && err == nil {
		r = next // what it was paused for died with the former daemon
		x.Publish(e, r)
		x.Event(r, events.ActionUnPause, nil)
	}
	if !x.told(r.ID, events.ActionStart, r.State.StartedAt) {
		x.VolumesMounted(r)
		x.EventAt(r, events.ActionStart, r.State.StartedAt, nil)
	}
	g, err := x.Cgroups.Open(r.HostConfig.CgroupParent, r.ID)
	if err != nil {
		if p.Exit == nil {
			x.Log.Error("cgroup of a running container not found", "container", r.ID, "error", err)
		}
		g = goneGroup{}
	} else if p.Exit == nil {
		x.freezeAsTold(r, g)
	}
	e.SetRun(&index.Run{Group: g, Ended: make(chan struct{})})
}

// freezeAsTold finishes a pause, or takes one back, that the former daemon did
// not live to record.
func (x *Restorer) freezeAsTold(r *record.Record, g deps.Group) {
	do := g.Thaw
	if r.State.Phase == record.Paused {
		do = g.Freeze
	}
	if err := do(); err != nil {
		x.Log.Error("cgroup not as its container's state", "container", r.ID, "phase", r.State.Phase, "error", err)
	}
}

// linger goes on waiting for the process of a container that was removed while
// it hung in the kernel. Its name is free.
func (x *Restorer) linger(ctx context.Context, r *record.Record, p monitor.ProcessState) {
	g, err := x.Cgroups.Open(r.HostConfig.CgroupParent, r.ID)
	if err != nil {
		x.Log.Error("cgroup of a container that lingers not found", "container", r.ID, "error", err)
		g = goneGroup{}
	}
	if err := x.Monitor.Signal(ctx, p.ID, syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		x.Log.Warn("a container that lingers is not killed", "container", r.ID, "error", err)
	}
	e := x.Index.Add(r)
	run := &index.Run{Group: g, Ended: make(chan struct{})}
	e.SetRun(run)
	x.Remover.Await(e, run)
}

// place is what the starter of a process told the monitor of its networks.
func (x *Restorer) place(r *record.Record, p monitor.ProcessState) (n record.Net) {
	if len(p.Note) == 0 {
		return n
	}
	if err := json.Unmarshal(p.Note, &n); err != nil {
		x.Log.Error("network of a running container not known", "container", r.ID, "error", err)
	}
	return n
}

// held is what running containers hold of the networks.
func (x *Restorer) held(procs map[string]monitor.ProcessState) []deps.Held {
	var held []deps.Held
	for _, e := range x.Index.All() {
		r := e.Record()
		if p, ok := procs[r.ID]; ok && p.Exit == nil && r.State.Phase.HasProcess() {
			held = append(held, deps.Held{ContainerID: r.ID, Name: r.Name, Networks: r.Net.Networks, Ports: r.Net.Ports})
		}
	}
	return held
}

// refs tells the volumes who uses them.
func (x *Restorer) refs(ctx context.Context) {
	for _, e := range x.Index.All() {
		for _, m := range e.Record().Mounts {
			if m.Type != mount.TypeVolume {
				continue
			}
			if _, err := x.Volumes.Acquire(ctx, m.Name, e.ID); err != nil {
				x.Log.Error("volume of a container not found", "container", e.ID, "volume", m.Name, "error", err)
			}
		}
	}
}

// settle records the ends that happened while no daemon looked.
func (x *Restorer) settle(ctx context.Context, procs map[string]monitor.ProcessState, rep *Report) {
	for _, e := range x.Index.All() {
		r := e.Record()
		p, known := procs[r.ID]
		switch {
		case !r.State.Phase.HasProcess():
		case known && p.Exit != nil:
			rep.Ended++
			x.Life.End(ctx, *p.Exit)
		case known:
			rep.Adopted++
		default:
			rep.Lost++
			x.lost(ctx, e)
		}
	}
}

// lost records the end of a container that ran and whose monitor has gone, with
// the host or without it.
func (x *Restorer) lost(ctx context.Context, e *index.Entry) {
	done, err := e.Turn(ctx)
	if err != nil {
		return
	}
	defer done()
	r := e.Record()
	why := "exit status unknown: the monitor of the container went away"
	if r.State.BootID != x.BootID {
		why = "exit status unknown: the host was restarted"
	}
	x.killLost(r)
	if err := x.Networks.Detach(ctx, r.ID); err != nil {
		x.Log.Error("network of a lost container not freed", "container", r.ID, "error", err)
	}
	start.ReleaseShm(x.Ledger.Dir(r.ID))
	next, err := r.Move(record.Exited, func(n *record.Record) {
		n.State.ExitCode, n.State.Error, n.State.FinishedAt = lostCode, why, x.Now().UTC()
		n.Net = record.Net{}
	})
	if err != nil {
		x.Log.Error("lost container not recorded", "container", r.ID, "error", err)
		return
	}
	x.Publish(e, next)
	x.VolumesUnmounted(next)
	x.Died(next)
}

// killLost ends what is left of a container without a monitor: nobody holds its
// streams and nobody could report its end.
func (x *Restorer) killLost(r *record.Record) {
	g, err := x.Cgroups.Open(r.HostConfig.CgroupParent, r.ID)
	if err != nil {
		return
	}
	if err := errors.Join(g.Kill(), g.Remove()); err != nil {
		x.Log.Warn("cgroup of a lost container not removed", "container", r.ID, "error", err)
	}
}

// sweep removes processes, cgroups, snapshots and directories that no container owns.
func (x *Restorer) sweep(ctx context.Context, states []monitor.ProcessState, rep *Report) {
	// What cannot be read is not swept: whoever puts its record right has it back.
	known := x.known
	for _, s := range states {
		if known(s.ID.Container) {
			continue
		}
		if s.Exit == nil {
			_ = x.Monitor.Signal(ctx, s.ID, syscall.SIGKILL) // its exit is forgotten when it arrives
		} else {
			_ = x.Monitor.Forget(ctx, s.ID)
		}
		rep.Swept = append(rep.Swept, "process "+s.ID.Container)
	}
	x.sweepGroups(known, rep)
	keys, err := x.Images.Snapshots(ctx)
	if err != nil {
		x.Log.Error("snapshots not listed", "error", err)
	}
	for _, key := range keys {
		if !isID(key) || known(key) {
			continue
		}
		if err := x.Images.RemoveSnapshot(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			x.Log.Warn("orphaned snapshot not removed", "snapshot", key, "error", err)
			continue
		}
		rep.Swept = append(rep.Swept, "snapshot "+key)
	}
	orphans, err := x.Ledger.Orphans(known)
	if err != nil {
		x.Log.Error("container directories not listed", "error", err)
	}
	for _, id := range orphans {
		if !isID(id) {
			continue
		}
		start.ReleaseShm(x.Ledger.Dir(id))
		if err := x.Ledger.Delete(id); err != nil {
			x.Log.Warn("orphaned container directory not removed", "directory", id, "error", err)
			continue
		}
		rep.Swept = append(rep.Swept, "directory "+id)
	}
}

func (x *Restorer) sweepGroups(known func(string) bool, rep *Report) {
	ids, err := x.Cgroups.List()
	if err != nil {
		x.Log.Error("cgroups not listed", "error", err)
	}
	type place struct{ parent, id string }
	var all []place
	for _, id := range ids {
		all = append(all, place{"", id})
	}
	// Below parents of their own there are groups only of containers with a
	// record: it is written first and deleted last.
	for _, e := range x.Index.All() {
		if parent := e.Record().HostConfig.CgroupParent; parent != "" {
			all = append(all, place{parent, e.ID})
		}
	}
	for _, at := range all {
		id := at.id
		if e, ok := x.Index.Get(id); ok && e.Run() != nil || !isID(id) || x.Ledger.Damaged(id) {
			continue
		}
		g, err := x.Cgroups.Open(at.parent, id)
		if err != nil {
			continue
		}
		if !known(id) {
			if err := g.Kill(); err != nil {
				x.Log.Warn("processes in an orphaned cgroup not killed", "cgroup", id, "error", err)
			}
		}
		if err := g.Remove(); err != nil {
			x.Log.Warn("orphaned cgroup not removed", "cgroup", id, "error", err)
			continue
		}
		rep.Swept = append(rep.Swept, "cgroup "+id)
	}
}

// isID says whether a name has the form of a container's id; nothing else is swept.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// restart starts what its restart policy wants to run.
func (x *Restorer) restart(ctx context.Context, rep *Report) {
	for _, e := range x.Index.All() {
		r := e.Record()
		switch {
		case r.State.Phase == record.Restarting:
			if e.Backoff == 0 {
				x.Life.Resume(ctx, e)
			}
		case r.State.Phase == record.Exited && r.HostConfig.AutoRemove:
			x.Life.AutoRemove(e)
			continue
		case !wanted(r):
			continue
		default:
			go x.start(ctx, e)
		}
		rep.Restarted++
	}
}

func (x *Restorer) start(ctx context.Context, e *index.Entry) {
	if err := x.Life.Start(ctx, e.ID); err != nil && !errdefs.IsNotModified(err) {
		x.Log.Error("container not started by its restart policy", "container", e.ID, "error", err)
	}
}

// wanted says whether a container that does not run is to be started with the
// daemon: always, unless a person stopped one of unless-stopped, and on-failure
// where its end was lost.
func wanted(r *record.Record) bool {
	if r.State.Phase != record.Exited || r.State.StartedAt.IsZero() {
		return false
	}
	switch r.HostConfig.RestartPolicy.Name {
	case container.RestartPolicyAlways:
		return true
	case container.RestartPolicyUnlessStopped:
		return !r.State.Stopped
	case container.RestartPolicyOnFailure:
		most := r.HostConfig.RestartPolicy.MaximumRetryCount
		return r.State.ExitCode == lostCode && r.State.Error != "" && !r.State.Stopped && (most == 0 || r.RestartCount < most)
	}
	return false
}

// BootID reads which boot of the host this is.
func BootID() string {
	b, err := os.ReadFile(filepath.Clean("/proc/sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
