// Package counter reads what a group has used, from whichever version counts it.
package counter

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"

	"hoy/internal/runtime/cgroup/tree"
)

// Stats are a group's counters at one moment.
type Stats struct {
	CPU    CPU
	Memory Memory
	Pids   Pids
	IO     IO
	// Hugetlb is by page size, such as "2MB"; groups without such limits may have none.
	Hugetlb map[string]Hugetlb
	// RDMA is by device.
	RDMA []RDMA
}

// Hugetlb figures are bytes; MaxUsage exists on version 1 only.
type Hugetlb struct{ Usage, MaxUsage, Failcnt uint64 }

// RDMA counts a device's objects in use, and their limits.
type RDMA struct {
	Device                                       string
	Handles, Objects, HandlesLimit, ObjectsLimit uint32
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

// Read reads the counters of the group with these directories by controller.
func Read(t *tree.Tree, paths map[string]string) (*Stats, error) {
	s, err := counters(t, paths)
	if err != nil {
		return nil, err
	}
	cpu, mem, io := s.CpuStats, s.MemoryStats, s.BlkioStats
	out := &Stats{
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
		Hugetlb: map[string]Hugetlb{},
	}
	for size, h := range s.HugetlbStats {
		out.Hugetlb[size] = Hugetlb{Usage: h.Usage, MaxUsage: h.MaxUsage, Failcnt: h.Failcnt}
	}
	out.RDMA = rdma(s.RdmaStats)
	return out, nil
}

// counters reads each controller where the machine carries it.
func counters(t *tree.Tree, paths map[string]string) (*cgroups.Stats, error) {
	s := cgroups.NewStats()
	if t.Unified() {
		return counters2(paths[""], cgroups.CPU|cgroups.Memory|cgroups.Pids|cgroups.IO|cgroups.HugeTLB|cgroups.RDMA)
	}
	for _, c := range []struct {
		name  string
		group interface {
			GetStats(path string, stats *cgroups.Stats) error
		}
	}{
		{"cpu", &fs.CpuGroup{}}, {"cpuacct", &fs.CpuacctGroup{}}, {"memory", &fs.MemoryGroup{}}, {"pids", &fs.PidsGroup{}},
		{"blkio", &fs.BlkioGroup{}}, {"hugetlb", &fs.HugetlbGroup{}}, {"rdma", &fs.RdmaGroup{}},
	} {
		if dir := paths[c.name]; dir != "" {
			if err := c.group.GetStats(dir, s); err != nil {
				return nil, err
			}
		}
	}
	if one, two := t.Has("hugetlb"); !one && two {
		two, err := counters2(paths[""], cgroups.HugeTLB)
		if err != nil {
			return nil, err
		}
		s.HugetlbStats = two.HugetlbStats
	}
	return s, nil
}

func counters2(dir string, which cgroups.Controller) (*cgroups.Stats, error) {
	m, err := fs2.NewManager(&cgroups.Cgroup{}, dir)
	if err != nil {
		return nil, err
	}
	return m.Stats(&cgroups.StatsOptions{Controllers: which})
}

func rdma(s cgroups.RdmaStats) []RDMA {
	list := make([]RDMA, 0, len(s.RdmaCurrent))
	for i, c := range s.RdmaCurrent {
		r := RDMA{Device: c.Device, Handles: c.HcaHandles, Objects: c.HcaObjects}
		if i < len(s.RdmaLimit) && s.RdmaLimit[i].Device == c.Device {
			r.HandlesLimit, r.ObjectsLimit = s.RdmaLimit[i].HcaHandles, s.RdmaLimit[i].HcaObjects
		}
		list = append(list, r)
	}
	return list
}

func entries(list []cgroups.BlkioStatEntry) []IOEntry {
	out := make([]IOEntry, len(list))
	for i, e := range list {
		out[i] = IOEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value}
	}
	return out
}
