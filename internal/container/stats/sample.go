package stats

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup"
)

// Sample reads what the group uses now, and the network devices of pid where
// that is not 0. ID, Name and the previous sample's fields are the caller's to fill.
func Sample(g cgroup.Group, pid int) (*container.StatsResponse, error) {
	s, err := g.Stats()
	if err != nil {
		return nil, err
	}
	total, online, err := system()
	if err != nil {
		return nil, fmt.Errorf("processor time of the machine: %w", err)
	}
	r := &container.StatsResponse{
		Read:   time.Now().UTC(),
		OSType: "linux",
		CPUStats: container.CPUStats{
			CPUUsage: container.CPUUsage{
				TotalUsage: s.CPU.Total, PercpuUsage: s.CPU.PerCPU, UsageInKernelmode: s.CPU.Kernel, UsageInUsermode: s.CPU.User,
			},
			SystemUsage: total, OnlineCPUs: online,
			ThrottlingData: container.ThrottlingData{
				Periods: s.CPU.Periods, ThrottledPeriods: s.CPU.ThrottledPeriods, ThrottledTime: s.CPU.ThrottledTime,
			},
		},
		MemoryStats: container.MemoryStats{
			Usage: s.Memory.Usage, MaxUsage: s.Memory.MaxUsage, Limit: memoryLimit(s.Memory.Limit, machineMemory()),
			Failcnt: s.Memory.Failcnt, Stats: s.Memory.Detail,
		},
		PidsStats: container.PidsStats{Current: s.Pids.Current, Limit: s.Pids.Limit},
		BlkioStats: container.BlkioStats{
			IoServiceBytesRecursive: blkio(s.IO.ServiceBytes), IoServicedRecursive: blkio(s.IO.Serviced),
			IoQueuedRecursive: blkio(s.IO.Queued), IoServiceTimeRecursive: blkio(s.IO.ServiceTime),
			IoWaitTimeRecursive: blkio(s.IO.WaitTime), IoMergedRecursive: blkio(s.IO.Merged),
			IoTimeRecursive: blkio(s.IO.Time), SectorsRecursive: blkio(s.IO.Sectors),
		},
	}
	if pid == 0 {
		return r, nil
	}
	// Between the group's counters and here the process may have ended.
	r.Networks, err = networks(pid)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("network counters: %w", err)
	}
	return r, nil
}

func blkio(list []cgroup.IOEntry) []container.BlkioStatEntry {
	if list == nil {
		return nil
	}
	out := make([]container.BlkioStatEntry, 0, len(list))
	for _, e := range list {
		out = append(out, container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value})
	}
	return out
}

// memoryLimit is the machine's memory where the group has no limit: the kernel
// then says 0 or a number larger than any memory.
func memoryLimit(limit, machine uint64) uint64 {
	if machine > 0 && (limit == 0 || limit > machine) {
		return machine
	}
	return limit
}

// machineMemory is MemTotal of /proc/meminfo in bytes, 0 where it cannot be
// read. It is read once: a sample is taken for each container every second.
var machineMemory = sync.OnceValue(func() uint64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
})
