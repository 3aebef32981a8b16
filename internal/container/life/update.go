package life

import (
	"context"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/names"
	"hoy/internal/container/record"
	"hoy/internal/container/spec"
)

// Rename of api/containers.
func (l *Life) Rename(ctx context.Context, ref, name string) error {
	if ref == "" || name == "" {
		return core.Invalid("Neither old nor new names may be empty")
	}
	e, err := l.Index.Find(ref)
	if err != nil {
		return err
	}
	if err := names.Check(name); err != nil {
		return err
	}
	if name[0] == '/' {
		name = name[1:]
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := e.Record()
	if r.State.Phase == record.Removing || r.State.Phase == record.Dead {
		return core.Conflict("container %s is being removed", r.ID)
	}
	if r.Name == name {
		return core.Invalid("Renaming a container with the same name as its current name")
	}
	if err := l.Index.Reserve(name, r.ID); err != nil {
		return err
	}
	next := r.With(func(n *record.Record) { n.Name = name })
	if err := l.Ledger.SaveNow(next); err != nil {
		l.Index.Free(name, r.ID)
		return err
	}
	e.Publish(next)
	l.Index.Free(r.Name, r.ID)
	l.Event(next, events.ActionRename, map[string]string{"oldName": "/" + r.Name})
	return nil
}

// Update of api/containers.
func (l *Life) Update(ctx context.Context, ref string, cfg container.UpdateConfig) (container.UpdateResponse, error) {
	var resp container.UpdateResponse
	e, err := l.Index.Find(ref)
	if err != nil {
		return resp, err
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return resp, err
	}
	defer done()
	r := e.Record()
	if r.State.Phase == record.Removing || r.State.Phase == record.Dead {
		return resp, core.Conflict("Cannot update container %s: Container is marked for removal and cannot be \"update\".", r.ID)
	}
	hc, err := merged(r.HostConfig, cfg)
	if err != nil {
		return resp, err
	}
	resp.Warnings, err = config.CheckResources(&hc.Resources, config.Host{CPUs: l.CPUs, Kernel: l.Cgroups.Support()})
	if err != nil {
		return resp, err
	}
	if run := e.Run(); run != nil {
		if err := run.Group.Update(spec.Limits(&hc.Resources)); err != nil {
			return resp, core.Invalid("Cannot update container %s: %v", r.ID, err)
		}
	}
	next := r.With(func(n *record.Record) { n.HostConfig = hc })
	if err := l.Ledger.SaveNow(next); err != nil {
		return resp, err
	}
	e.Publish(next)
	l.Event(next, events.ActionUpdate, nil)
	return resp, nil
}

// merged lays what an update names over the old configuration.
func merged(old *container.HostConfig, u container.UpdateConfig) (*container.HostConfig, error) {
	hc := *old
	if u.NanoCPUs > 0 && hc.CPUPeriod > 0 && u.CPUPeriod == 0 {
		return nil, core.Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	}
	if u.NanoCPUs > 0 && hc.CPUQuota > 0 && u.CPUQuota == 0 {
		return nil, core.Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	}
	if (u.CPUQuota > 0 || u.CPUPeriod > 0) && hc.NanoCPUs > 0 {
		return nil, core.Conflict("Conflicting options: CPU Quota and CPU Period cannot be updated as NanoCPUs has already been set")
	}
	if u.Memory != 0 && u.MemorySwap == 0 && hc.MemorySwap > 0 && u.Memory > hc.MemorySwap {
		return nil, core.Invalid("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	for _, f := range []struct{ to, from *int64 }{
		{&hc.CPUShares, &u.CPUShares}, {&hc.Memory, &u.Memory}, {&hc.MemorySwap, &u.MemorySwap},
		{&hc.MemoryReservation, &u.MemoryReservation}, {&hc.NanoCPUs, &u.NanoCPUs}, {&hc.CPUPeriod, &u.CPUPeriod},
		{&hc.CPUQuota, &u.CPUQuota}, {&hc.CPURealtimePeriod, &u.CPURealtimePeriod}, {&hc.CPURealtimeRuntime, &u.CPURealtimeRuntime},
	} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	if u.CpusetCpus != "" {
		hc.CpusetCpus = u.CpusetCpus
	}
	if u.CpusetMems != "" {
		hc.CpusetMems = u.CpusetMems
	}
	if u.BlkioWeight != 0 {
		hc.BlkioWeight = u.BlkioWeight
	}
	if u.PidsLimit != nil {
		hc.PidsLimit = u.PidsLimit
	}
	if u.RestartPolicy.Name != "" {
		if old.AutoRemove && !u.RestartPolicy.IsNone() {
			return nil, core.Invalid("Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		if err := config.CheckRestart(u.RestartPolicy, old.AutoRemove); err != nil {
			return nil, err
		}
		hc.RestartPolicy = u.RestartPolicy
	}
	return &hc, nil
}
