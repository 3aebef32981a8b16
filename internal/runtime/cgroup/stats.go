package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
)

// Stats are a group's counters at one moment.
type Stats struct {
	CPU    CPU
	Memory Memory
	Pids   Pids
	IO     IO
}

// CPU times are nanoseconds since the group was made.
type CPU struct {
	Total, Kernel, User uint64
	PerCPU              []uint64
	// Periods of the quota: how many there were, in how many the group was
	// held back, and for how long in all.
	Periods, ThrottledPeriods, ThrottledTime uint64
}

// Memory figures are bytes. MaxUsage and Failcnt exist on version 1 only.
type Memory struct {
	Usage, MaxUsage, Limit, Failcnt uint64
	// Detail is memory.stat, by the kernel's names.
	Detail map[string]uint64
}

// Pids counts tasks. Limit is 0 where there is none.
type Pids struct{ Current, Limit uint64 }

// IO lists counters by device and operation.
type IO struct {
	ServiceBytes, Serviced, Queued, ServiceTime, WaitTime, Merged, Time, Sectors []IOEntry
}

// IOEntry is one counter of one block device.
type IOEntry struct {
	Major, Minor uint64
	// Op is "Read", "Write", "Total" and so on, in the kernel's spelling.
	Op    string
	Value uint64
}

func (g *group) Stats() (*Stats, error) {
	s, err := g.mgr.Stats(&cgroups.StatsOptions{Controllers: cgroups.CPU | cgroups.Memory | cgroups.Pids | cgroups.IO})
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", g.name, err)
	}
	cpu, mem, io := s.CpuStats, s.MemoryStats, s.BlkioStats
	return &Stats{
		CPU: CPU{
			Total: cpu.CpuUsage.TotalUsage, Kernel: cpu.CpuUsage.UsageInKernelmode, User: cpu.CpuUsage.UsageInUsermode,
			PerCPU: cpu.CpuUsage.PercpuUsage, Periods: cpu.ThrottlingData.Periods,
			ThrottledPeriods: cpu.ThrottlingData.ThrottledPeriods, ThrottledTime: cpu.ThrottlingData.ThrottledTime,
		},
		Memory: Memory{
			Usage: mem.Usage.Usage, MaxUsage: mem.Usage.MaxUsage, Limit: mem.Usage.Limit, Failcnt: mem.Usage.Failcnt, Detail: mem.Stats,
		},
		Pids: Pids{Current: s.PidsStats.Current, Limit: s.PidsStats.Limit},
		IO: IO{
			ServiceBytes: entries(io.IoServiceBytesRecursive), Serviced: entries(io.IoServicedRecursive),
			Queued: entries(io.IoQueuedRecursive), ServiceTime: entries(io.IoServiceTimeRecursive),
			WaitTime: entries(io.IoWaitTimeRecursive), Merged: entries(io.IoMergedRecursive),
			Time: entries(io.IoTimeRecursive), Sectors: entries(io.SectorsRecursive),
		},
	}, nil
}

func entries(list []cgroups.BlkioStatEntry) []IOEntry {
	out := make([]IOEntry, len(list))
	for i, e := range list {
		out[i] = IOEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value}
	}
	return out
}
