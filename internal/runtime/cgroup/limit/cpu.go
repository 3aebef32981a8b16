package limit

import (
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (p *planner) cpu(c *specs.LinuxCPU) {
	cpuset := c.Cpus != "" || c.Mems != ""
	rest := *c
	rest.Cpus, rest.Mems = "", ""
	if rest != (specs.LinuxCPU{}) {
		p.use("cpu", func() { p.cpu1(c) }, func() { p.cpu2(c) })
	}
	if !cpuset {
		return
	}
	set := func(controller string) func() {
		return func() {
			if c.Cpus != "" {
				p.one(controller, "cpuset.cpus", c.Cpus)
			}
			if c.Mems != "" {
				p.one(controller, "cpuset.mems", c.Mems)
			}
		}
	}
	p.use("cpuset", set("cpuset"), set(""))
}

// Version 1's shares; the kernel takes others and changes them without a word.
const minShares, maxShares = 2, 262144

func (p *planner) cpu1(c *specs.LinuxCPU) {
	const cpu = "cpu"
	switch s := deref(c.Shares); {
	case s == 0:
	case s < minShares:
		p.invalid("the minimum allowed cpu-shares is %d", minShares)
	case s > maxShares:
		p.invalid("the maximum allowed cpu-shares is %d", maxShares)
	default:
		p.one(cpu, "cpu.shares", num(s))
	}
	// Period, burst and quota are checked against each other at each write.
	if v := deref(c.Period); v != 0 {
		p.add(Write{Controller: cpu, File: "cpu.cfs_period_us", Value: num(v), Again: true})
	}
	if c.Burst != nil {
		p.add(Write{Controller: cpu, File: "cpu.cfs_burst_us", Value: num(*c.Burst), Again: true, Pass: passIf(*c.Burst == 0)})
	}
	if v := deref(c.Quota); v != 0 {
		p.add(Write{Controller: cpu, File: "cpu.cfs_quota_us", Value: num(v), Again: true})
	}
	if c.Idle != nil {
		p.one(cpu, "cpu.idle", num(*c.Idle))
	}
	if v := deref(c.RealtimePeriod); v != 0 {
		p.add(Write{Controller: cpu, File: "cpu.rt_period_us", Value: num(v), Again: true})
	}
	if v := deref(c.RealtimeRuntime); v != 0 {
		p.add(Write{Controller: cpu, File: "cpu.rt_runtime_us", Value: num(v), Again: true})
	}
}

func (p *planner) cpu2(c *specs.LinuxCPU) {
	if deref(c.RealtimePeriod) != 0 || deref(c.RealtimeRuntime) != 0 {
		p.invalid("realtime CPU limits are not to be had with version 2 cgroups")
		return
	}
	if c.Idle != nil {
		p.two("cpu.idle", num(*c.Idle))
	}
	// An idle group's weight is the lowest there is, and cannot be set.
	if w := Weight(deref(c.Shares)); w != 0 && deref(c.Idle) != 1 {
		p.two("cpu.weight", num(w))
	}
	if c.Burst != nil {
		p.add(Write{File: "cpu.max.burst", Value: num(*c.Burst), Again: true, Pass: passIf(*c.Burst == 0)})
	}
	quota, period := deref(c.Quota), deref(c.Period)
	switch {
	case quota == 0 && period == 0:
	case period == 0:
		// The kernel keeps the period that there is.
		p.add(Write{File: "cpu.max", Value: maxOr(quota), Again: true})
	case quota == 0:
		// The caller puts the quota that there is in the place of Keep.
		p.add(Write{File: "cpu.max", Value: Keep + " " + num(period), Again: true})
	default:
		p.add(Write{File: "cpu.max", Value: maxOr(quota) + " " + num(period), Again: true})
	}
}

// Keep stands in cpu.max for the quota as it is: a period cannot be written alone.
const Keep = "keep"

// Weight is version 2's cpu.weight for shares: 2, 1024 and 262144 become 1, 100
// and 10000, by the quadratic curve between their logarithms that the runtimes
// agreed upon (crun 1.23, runc 1.3.2).
func Weight(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= minShares:
		return 1
	case shares >= maxShares:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
