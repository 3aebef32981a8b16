package config

import (
	"github.com/moby/moby/api/types/container"

	"hoy/internal/runtime/cgroup/tree"
)

// discard takes limits away that the kernel cannot give, with a warning for each
// as Docker words it. Without k nothing is known, and all is left.
func discard(r *container.Resources, k *tree.Support) (warnings []string, err error) {
	if k == nil {
		return nil, nil
	}
	if (r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0) && !k.CPURealtime {
		return nil, invalid("kernel does not support CPU real-time scheduler")
	}
	if r.NanoCPUs > 0 && !k.CPUQuota {
		return nil, invalid("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
	}
	for _, c := range []struct {
		asked, has bool
		text       string
		drop       func()
	}{
		{
			r.Memory > 0, k.Memory, "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
			func() { r.Memory, r.MemorySwap = 0, -1 },
		},
		{
			r.Memory > 0 && k.Memory && r.MemorySwap != -1, k.Swap,
			"Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
			func() { r.MemorySwap = -1 },
		},
		{
			r.MemorySwappiness != nil && *r.MemorySwappiness != -1, k.Swappiness,
			"Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
			func() { r.MemorySwappiness = nil },
		},
		{
			r.MemoryReservation > 0, k.Reservation,
			"Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
			func() { r.MemoryReservation = 0 },
		},
		{
			r.OomKillDisable != nil && *r.OomKillDisable, k.OOMDisable, "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
			func() { r.OomKillDisable = nil },
		},
		{
			r.PidsLimit != nil && *r.PidsLimit > 0, k.Pids,
			"Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
			func() { r.PidsLimit = nil },
		},
		{
			r.CPUShares > 0, k.CPUShares, "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
			func() { r.CPUShares = 0 },
		},
		{
			r.CPUPeriod != 0 || r.CPUQuota != 0, k.CPUQuota, "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
			func() { r.CPUPeriod, r.CPUQuota = 0, 0 },
		},
		{
			r.CpusetCpus != "" || r.CpusetMems != "", k.CPUSet, "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
			func() { r.CpusetCpus, r.CpusetMems = "", "" },
		},
		{r.CPUPercent > 0, false, "linux does not support CPU percent. Percent discarded.", func() { r.CPUPercent = 0 }},
	} {
		if c.asked && !c.has {
			warnings = append(warnings, c.text)
			c.drop()
		}
	}
	return append(warnings, discardBlkio(r, k)...), nil
}

func discardBlkio(r *container.Resources, k *tree.Support) (warnings []string) {
	for _, c := range []struct {
		asked, has bool
		what       string
		drop       func()
	}{
		{r.BlkioWeight > 0, k.BlkioWeight, "Block I/O weight or the cgroup is not mounted. Weight discarded.", func() { r.BlkioWeight = 0 }},
		{
			len(r.BlkioWeightDevice) > 0, k.BlkioWeightDevice, "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
			func() { r.BlkioWeightDevice = nil },
		},
		{
			len(r.BlkioDeviceReadBps) > 0, k.BlkioReadBps, "BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
			func() { r.BlkioDeviceReadBps = nil },
		},
		{
			len(r.BlkioDeviceWriteBps) > 0, k.BlkioWriteBps, "BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
			func() { r.BlkioDeviceWriteBps = nil },
		},
		{
			len(r.BlkioDeviceReadIOps) > 0, k.BlkioReadIOPS, "IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
			func() { r.BlkioDeviceReadIOps = nil },
		},
		{
			len(r.BlkioDeviceWriteIOps) > 0, k.BlkioWriteIOPS, "IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
			func() { r.BlkioDeviceWriteIOps = nil },
		},
	} {
		if c.asked && !c.has {
			warnings = append(warnings, "Your kernel does not support "+c.what)
			c.drop()
		}
	}
	return warnings
}
