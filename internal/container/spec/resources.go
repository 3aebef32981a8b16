package spec

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/config"
)

// cpuPeriod in microseconds, against which a number of CPUs becomes a quota.
const cpuPeriod = 100000

// Resources are the limits of the container's cgroup.
func Resources(hc *container.HostConfig, dev Devices) (*specs.LinuxResources, error) {
	r := Limits(&hc.Resources)
	if hc.Privileged {
		r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	} else {
		rules, err := config.DeviceRules(hc.DeviceCgroupRules)
		if err != nil {
			return nil, err
		}
		r.Devices = append(append(defaultRules(), dev.Rules...), rules...)
	}
	if err := blockIO(r, &hc.Resources); err != nil {
		return nil, err
	}
	return r, nil
}

// Limits are what update changes: memory, cpu, pids and the weight of block devices.
func Limits(c *container.Resources) *specs.LinuxResources {
	r := &specs.LinuxResources{Memory: memory(c), CPU: cpu(c)}
	if c.PidsLimit != nil {
		limit := *c.PidsLimit
		if limit == 0 {
			limit = -1
		}
		r.Pids = &specs.LinuxPids{Limit: &limit}
	}
	if c.BlkioWeight > 0 {
		r.BlockIO = &specs.LinuxBlockIO{Weight: &c.BlkioWeight}
	}
	return r
}

func memory(c *container.Resources) *specs.LinuxMemory {
	m := &specs.LinuxMemory{}
	if c.Memory > 0 {
		m.Limit = &c.Memory
	}
	if c.MemorySwap != 0 {
		m.Swap = &c.MemorySwap
	}
	if c.MemoryReservation > 0 {
		m.Reservation = &c.MemoryReservation
	}
	if s := c.MemorySwappiness; s != nil && *s >= 0 {
		v := uint64(*s)
		m.Swappiness = &v
	}
	if c.OomKillDisable != nil && *c.OomKillDisable {
		m.DisableOOMKiller = c.OomKillDisable
	}
	if *m == (specs.LinuxMemory{}) {
		return nil
	}
	return m
}

func cpu(c *container.Resources) *specs.LinuxCPU {
	p := &specs.LinuxCPU{Cpus: c.CpusetCpus, Mems: c.CpusetMems}
	if c.CPUShares > 0 {
		p.Shares = unsigned(c.CPUShares)
	}
	quota, period := c.CPUQuota, c.CPUPeriod
	if c.NanoCPUs > 0 {
		period, quota = cpuPeriod, c.NanoCPUs*cpuPeriod/1e9
	}
	if quota != 0 {
		p.Quota = &quota
	}
	if period != 0 {
		p.Period = unsigned(period)
	}
	if c.CPURealtimePeriod != 0 {
		p.RealtimePeriod = unsigned(c.CPURealtimePeriod)
	}
	if c.CPURealtimeRuntime != 0 {
		p.RealtimeRuntime = &c.CPURealtimeRuntime
	}
	if *p == (specs.LinuxCPU{}) {
		return nil
	}
	return p
}

func unsigned(v int64) *uint64 {
	u := uint64(v)
	return &u
}

func blockIO(r *specs.LinuxResources, c *container.Resources) error {
	b, used := r.BlockIO, r.BlockIO != nil
	if !used {
		b = &specs.LinuxBlockIO{}
	}
	for _, w := range c.BlkioWeightDevice {
		major, minor, err := blockDevice(w.Path)
		if err != nil {
			return err
		}
		d := specs.LinuxWeightDevice{Weight: &w.Weight}
		d.Major, d.Minor = major, minor
		b.WeightDevice, used = append(b.WeightDevice, d), true
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{c.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {c.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{c.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {c.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, dev := range t.from {
			major, minor, err := blockDevice(dev.Path)
			if err != nil {
				return err
			}
			d := specs.LinuxThrottleDevice{Rate: dev.Rate}
			d.Major, d.Minor = major, minor
			*t.to, used = append(*t.to, d), true
		}
	}
	if used {
		r.BlockIO = b
	}
	return nil
}

// defaultRules withhold every device but those that each container has; making
// nodes is a capability's matter.
func defaultRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{
		{Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range [][2]int64{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, {136, -1}, // tty, console, ptmx, pts/*
	} {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d[0], Access: "rwm"}
		if d[1] >= 0 {
			r.Minor = &d[1]
		}
		rules = append(rules, r)
	}
	return rules
}
