package cgroup

import (
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// resources puts the OCI form of limits into the library's.
func resources(r *specs.LinuxResources) (*cgroups.Resources, error) {
	res := &cgroups.Resources{SkipFreezeOnSet: true}
	if r == nil {
		res.SkipDevices = true
		return res, nil
	}
	for _, d := range r.Devices {
		rule, err := deviceRule(d)
		if err != nil {
			return nil, err
		}
		res.Devices = append(res.Devices, rule)
	}
	// No rule at all means that nobody asked; an empty list for the library
	// would forbid every device.
	res.SkipDevices = len(r.Devices) == 0
	if m := r.Memory; m != nil {
		set(&res.Memory, m.Limit)
		set(&res.MemoryReservation, m.Reservation)
		set(&res.MemorySwap, m.Swap)
		set(&res.OomKillDisable, m.DisableOOMKiller)
		res.MemorySwappiness = m.Swappiness
		set(&res.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
	}
	if c := r.CPU; c != nil {
		set(&res.CpuShares, c.Shares)
		set(&res.CpuQuota, c.Quota)
		set(&res.CpuPeriod, c.Period)
		set(&res.CpuRtRuntime, c.RealtimeRuntime)
		set(&res.CpuRtPeriod, c.RealtimePeriod)
		res.CpuBurst, res.CPUIdle = c.Burst, c.Idle
		res.CpusetCpus, res.CpusetMems = c.Cpus, c.Mems
		// Version 2 has weights in the place of shares.
		res.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(res.CpuShares)
	}
	if r.Pids != nil {
		res.PidsLimit = r.Pids.Limit
	}
	if r.BlockIO != nil {
		blockIO(res, r.BlockIO)
	}
	for _, h := range r.HugepageLimits {
		res.HugetlbLimit = append(res.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	if cgroups.IsCgroup2UnifiedMode() {
		res.Unified = r.Unified
	} else if len(r.Unified) > 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage("this machine has version 1 cgroups: parameters of version 2 cannot be set")
	}
	return res, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func deviceRule(d specs.LinuxDeviceCgroup) (*devices.Rule, error) {
	rule := &devices.Rule{
		Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard,
		Permissions: devices.Permissions(d.Access), Allow: d.Allow,
	}
	switch d.Type {
	case "", "a":
	case "c", "u":
		rule.Type = devices.CharDevice
	case "b":
		rule.Type = devices.BlockDevice
	default:
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid device type %q", d.Type))
	}
	set(&rule.Major, d.Major)
	set(&rule.Minor, d.Minor)
	if rule.Permissions == "" {
		rule.Permissions = "rwm"
	}
	if !rule.Permissions.IsValid() {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid device access " + strconv.Quote(d.Access))
	}
	return rule, nil
}

func blockIO(res *cgroups.Resources, b *specs.LinuxBlockIO) {
	set(&res.BlkioWeight, b.Weight)
	set(&res.BlkioLeafWeight, b.LeafWeight)
	for _, w := range b.WeightDevice {
		var weight, leaf uint16
		set(&weight, w.Weight)
		set(&leaf, w.LeafWeight)
		res.BlkioWeightDevice = append(res.BlkioWeightDevice, cgroups.NewWeightDevice(w.Major, w.Minor, weight, leaf))
	}
	for _, l := range []struct {
		to   *[]*cgroups.ThrottleDevice
		from []specs.LinuxThrottleDevice
	}{
		{&res.BlkioThrottleReadBpsDevice, b.ThrottleReadBpsDevice}, {&res.BlkioThrottleWriteBpsDevice, b.ThrottleWriteBpsDevice},
		{&res.BlkioThrottleReadIOPSDevice, b.ThrottleReadIOPSDevice}, {&res.BlkioThrottleWriteIOPSDevice, b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range l.from {
			*l.to = append(*l.to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}
