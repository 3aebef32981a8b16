package unit

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/cgroups"
	// Teaches the library device rules.
	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/cgroup/limit"
	"hoy/internal/runtime/cgroup/tree"
)

func prop(name string, value any) sd.Property {
	return sd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// infinity is systemd's "no limit".
const infinity = math.MaxUint64

func limitOf(v int64) uint64 {
	if v < 0 {
		return infinity
	}
	return uint64(v)
}

// properties collects.
type properties struct {
	list    []sd.Property
	v2      bool
	version int
	err     error
}

func (p *properties) add(name string, value any) { p.list = append(p.list, prop(name, value)) }

func (p *properties) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Properties are a unit's form of limits, as far as systemd of this version has
// one. The same limits are written to the group itself as well; systemd has to
// know them so that a daemon-reload does not put others in their place.
func Properties(r *specs.LinuxResources, t *tree.Tree, version int) ([]sd.Property, error) {
	if r == nil {
		return nil, nil
	}
	p := &properties{v2: t.Unified(), version: version}
	p.devices(r.Devices)
	p.memory(r.Memory)
	p.cpu(r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		p.add("TasksMax", max(limitOf(*r.Pids.Limit), 1))
	}
	if b := r.BlockIO; b != nil && b.Weight != nil && *b.Weight != 0 {
		if p.v2 {
			p.add("IOWeight", limit.IOWeight(*b.Weight))
		} else {
			p.add("BlockIOWeight", uint64(*b.Weight))
		}
	}
	if p.v2 {
		p.raw(r.Unified)
	}
	return p.list, p.err
}

func (p *properties) devices(rules []specs.LinuxDeviceCgroup) {
	if len(rules) == 0 {
		return
	}
	res := &cgroups.Resources{}
	for _, r := range rules {
		rule, err := limit.DeviceRule(r)
		if err != nil {
			p.fail(err)
			return
		}
		res.Devices = append(res.Devices, rule)
	}
	list, err := systemd.GenerateDeviceProps(res, p.version)
	if err != nil {
		p.fail(fmt.Errorf("device rules for systemd: %w", err))
	}
	p.list = append(p.list, list...)
}

func (p *properties) memory(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	var bytes, both int64
	if m.Limit != nil {
		bytes = *m.Limit
	}
	if m.Swap != nil {
		both = *m.Swap
	}
	if bytes != 0 {
		p.add(map[bool]string{true: "MemoryMax", false: "MemoryLimit"}[p.v2], limitOf(bytes))
	}
	if !p.v2 {
		return
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		p.add("MemoryLow", limitOf(*m.Reservation))
	}
	switch swap, ok := limit.Swap2(both, bytes); {
	case !ok:
		p.fail(errdefs.ErrInvalidArgument.WithMessage("the limit of memory and swap needs a limit of memory that is not above it"))
	case swap == "max":
		p.add("MemorySwapMax", uint64(infinity))
	case swap != "":
		n, _ := strconv.ParseUint(swap, 10, 64)
		p.add("MemorySwapMax", n)
	}
}

// Versions of systemd that first knew a property.
const (
	knowsPeriod  = 242
	knowsCPUSet  = 244
	knowsCPUIdle = 252
)

func (p *properties) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	switch {
	case !p.v2:
		if c.Shares != nil && *c.Shares != 0 {
			p.add("CPUShares", *c.Shares)
		}
	case c.Idle != nil && *c.Idle == 1:
		if p.version >= knowsCPUIdle {
			p.add("CPUWeight", uint64(0))
		}
	case c.Shares != nil && *c.Shares != 0:
		p.add("CPUWeight", limit.Weight(*c.Shares))
	}
	var quota int64
	var period uint64
	if c.Quota != nil {
		quota = *c.Quota
	}
	if c.Period != nil {
		period = *c.Period
	}
	p.quota(quota, period)
	p.cpuset("AllowedCPUs", c.Cpus)
	p.cpuset("AllowedMemoryNodes", c.Mems)
}

// quota is microseconds a second. systemd keeps whole percents: others are
// rounded up, so that it takes nothing away when it writes them again.
func (p *properties) quota(quota int64, period uint64) {
	if period != 0 && p.version >= knowsPeriod {
		p.add("CPUQuotaPeriodUSec", period)
	}
	if period == 0 {
		period = 100000
	}
	switch {
	case quota > 0:
		const percent = 10000
		perSec := (uint64(quota)*1000000/period + percent - 1) / percent * percent
		p.add("CPUQuotaPerSecUSec", perSec)
	case quota < 0:
		p.add("CPUQuotaPerSecUSec", uint64(infinity))
	}
}

func (p *properties) cpuset(name, list string) {
	if list == "" || !p.v2 || p.version < knowsCPUSet {
		return
	}
	bits, err := systemd.RangeToBits(list)
	if err != nil {
		p.fail(errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid list of processors or memory nodes %q: %v", list, err)))
		return
	}
	p.add(name, bits)
}

// raw are those of version 2's keys that systemd has a property for.
func (p *properties) raw(keys map[string]string) {
	for key, name := range map[string]string{
		"memory.max": "MemoryMax", "memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
		"memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight", "io.weight": "IOWeight",
	} {
		value, ok := keys[key]
		if !ok {
			continue
		}
		value = strings.TrimPrefix(strings.TrimSpace(value), "default ")
		n := uint64(infinity)
		if value != "max" {
			var err error
			if n, err = strconv.ParseUint(value, 10, 64); err != nil {
				if key == "io.weight" {
					continue // of one device
				}
				p.fail(errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unified resource %q: %q is not a number", key, value)))
				return
			}
		}
		p.add(name, n)
	}
	if value, ok := keys["cpu.max"]; ok {
		f := strings.Fields(value)
		if len(f) == 0 || len(f) > 2 {
			p.fail(errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unified resource %q: %q is not QUOTA PERIOD", "cpu.max", value)))
			return
		}
		quota, period := int64(-1), uint64(0)
		if f[0] != "max" {
			quota, _ = strconv.ParseInt(f[0], 10, 64)
		}
		if len(f) == 2 {
			period, _ = strconv.ParseUint(f[1], 10, 64)
		}
		p.quota(quota, period)
	}
	p.cpuset("AllowedCPUs", keys["cpuset.cpus"])
	p.cpuset("AllowedMemoryNodes", keys["cpuset.mems"])
}
