package limit

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func hasBlockIO(b *specs.LinuxBlockIO) bool {
	return b.Weight != nil || b.LeafWeight != nil || len(b.WeightDevice)+len(b.ThrottleReadBpsDevice)+len(b.ThrottleWriteBpsDevice)+
		len(b.ThrottleReadIOPSDevice)+len(b.ThrottleWriteIOPSDevice) > 0
}

func passIf(yes bool) []unix.Errno {
	if yes {
		return lacks
	}
	return nil
}

func device(major, minor int64, value string) string {
	return fmt.Sprintf("%d:%d %s", major, minor, value)
}

// throttles are the four limits by device, with their names in both versions.
func throttles(b *specs.LinuxBlockIO) []throttle {
	return []throttle{
		{"blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	}
}

type throttle struct {
	file, key string
	devices   []specs.LinuxThrottleDevice
}

// blkio1 writes weights to the files of CFQ, which old kernels have, or of BFQ.
func (p *planner) blkio1(b *specs.LinuxBlockIO) {
	const c = "blkio"
	if v := deref(b.Weight); v != 0 {
		p.add(Write{Controller: c, File: "blkio.weight", Value: num(v), Or: &Write{Controller: c, File: "blkio.bfq.weight", Value: num(v)}})
	}
	if v := deref(b.LeafWeight); v != 0 {
		p.one(c, "blkio.leaf_weight", num(v))
	}
	for _, w := range b.WeightDevice {
		if v := deref(w.Weight); v != 0 {
			value := device(w.Major, w.Minor, num(v))
			p.add(Write{Controller: c, File: "blkio.weight_device", Value: value, Keyed: true, Or: &Write{Controller: c, File: "blkio.bfq.weight_device", Value: value}})
		}
		if v := deref(w.LeafWeight); v != 0 {
			p.add(Write{Controller: c, File: "blkio.leaf_weight_device", Value: device(w.Major, w.Minor, num(v)), Keyed: true})
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			p.add(Write{Controller: c, File: t.file, Value: device(d.Major, d.Minor, num(d.Rate)), Keyed: true})
		}
	}
}

// io2 writes weights to BFQ's file, which takes version 1's values, or to that
// of the cost controller, whose scale is another.
func (p *planner) io2(b *specs.LinuxBlockIO) {
	if v := deref(b.Weight); v != 0 {
		p.add(Write{File: "io.bfq.weight", Value: num(v), Or: &Write{File: "io.weight", Value: num(IOWeight(v))}})
	}
	for _, w := range b.WeightDevice {
		if v := deref(w.Weight); v != 0 {
			p.add(Write{
				File: "io.bfq.weight", Value: device(w.Major, w.Minor, num(v)), Keyed: true,
				Or: &Write{File: "io.weight", Value: device(w.Major, w.Minor, num(IOWeight(v)))},
			})
		}
	}
	if deref(b.LeafWeight) != 0 {
		p.invalid("leaf weights are not to be had with version 2 cgroups")
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			value := t.key + "=" + num(d.Rate)
			if d.Rate == 0 {
				value = t.key + "=max"
			}
			p.add(Write{File: "io.max", Value: device(d.Major, d.Minor, value), Keyed: true})
		}
	}
}

// IOWeight puts 10 to 1000 on the scale of 1 to 10000.
func IOWeight(v uint16) uint64 {
	if v < 10 {
		return 1
	}
	return 1 + (uint64(v)-10)*9999/990
}
