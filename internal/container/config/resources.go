package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/runtime/cgroup/tree"
)

const minMemory = 6 << 20

// CheckResources checks limits, of a new container or of an update, and takes
// away what the kernel cannot give, with a warning.
func CheckResources(r *container.Resources, h Host) (warnings []string, err error) {
	if r.Memory < 0 || r.Memory > 0 && r.Memory < minMemory {
		return nil, invalid("Minimum memory limit allowed is 6MB")
	}
	if warnings, err = discard(r, h.Kernel); err != nil {
		return nil, err
	}
	more, err := checkMemory(r)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, more...)
	if err := checkCPU(r, h); err != nil {
		return nil, err
	}
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return nil, invalid("Range of blkio weight is from 10 to 1000")
	}
	for _, w := range r.BlkioWeightDevice {
		if w == nil || w.Weight > 0 && (w.Weight < 10 || w.Weight > 1000) {
			return nil, invalid("Range of blkio weight is from 10 to 1000")
		}
	}
	if r.IOMaximumBandwidth != 0 || r.IOMaximumIOps != 0 {
		return nil, invalid("Invalid QoS settings: Linux does not support Maximum IO Bandwidth or Maximum IO IOps")
	}
	if r.PidsLimit != nil && *r.PidsLimit < -1 {
		return nil, invalid("Invalid value %d for the pids limit: set 0 or -1 for unlimited", *r.PidsLimit)
	}
	if _, err := DeviceRules(r.DeviceCgroupRules); err != nil {
		return nil, err
	}
	for _, d := range r.Devices {
		if err := checkDevice(d); err != nil {
			return nil, err
		}
	}
	return warnings, nil
}

func checkMemory(r *container.Resources) ([]string, error) {
	var warnings []string
	switch {
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return nil, invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.MemorySwap < -1:
		return nil, invalid("Invalid value: %d, memoryswap is -1 for unlimited or a number of bytes", r.MemorySwap)
	case r.Memory == 0 && r.MemorySwap > 0:
		return nil, invalid("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemoryReservation < 0 || r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return nil, invalid("Minimum memory reservation allowed is 6MB")
	case r.MemoryReservation > 0 && r.Memory > 0 && r.Memory < r.MemoryReservation:
		return nil, invalid("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	if s := r.MemorySwappiness; s != nil && *s != -1 && (*s < 0 || *s > 100) {
		return nil, invalid("Invalid value: %d, valid memory swappiness range is 0-100", *s)
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	return warnings, nil
}

func checkCPU(r *container.Resources, h Host) error {
	cpus := h.CPUs
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(cpus)*1e9:
		return invalid("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.CPUShares < 0:
		return invalid("Invalid value %d for CPU shares: cannot be negative", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return invalid("CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return invalid("cpu real-time runtime cannot be higher than cpu real-time period")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return invalid("CPU cfs quota cannot be less than 1ms (i.e. 1000)")
	}
	there := tree.Support{CPUs: fmt.Sprintf("0-%d", cpus-1)}
	if h.Kernel != nil {
		there = *h.Kernel
	}
	for _, set := range []struct{ kind, what, value, there string }{
		{"cpus", "CPUs", r.CpusetCpus, there.CPUs}, {"mems", "memory nodes", r.CpusetMems, there.Mems},
	} {
		asked, ok := parseSet(set.value)
		if !ok {
			return invalid("Invalid value %s for cpuset %s", set.value, set.kind)
		}
		has, ok := parseSet(set.there)
		if !ok || set.there == "" {
			continue
		}
		for n := range asked {
			if !has[n] {
				return invalid("Requested %s are not available - requested %s, available: %s", set.what, set.value, set.there)
			}
		}
	}
	return nil
}

// parseSet reads a list such as "0-2,5".
func parseSet(s string) (members map[uint64]bool, ok bool) {
	members = map[uint64]bool{}
	if s == "" {
		return members, true
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.ParseUint(first, 10, 13)
		if err != nil {
			return nil, false
		}
		b := a
		if isRange {
			if b, err = strconv.ParseUint(last, 10, 13); err != nil || b < a {
				return nil, false
			}
		}
		for n := a; n <= b; n++ {
			members[n] = true
		}
	}
	return members, true
}
