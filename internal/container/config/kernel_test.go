package config

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"hoy/internal/runtime/cgroup/tree"
)

// TestWhatTheKernelLacks asks for everything of a kernel that has nothing, one
// thing at a time.
func TestWhatTheKernelLacks(t *testing.T) {
	on, ten, pids := true, int64(10), int64(5)
	rate := []*blkiodev.ThrottleDevice{{Path: "/dev/x"}}
	type res = container.Resources
	for _, c := range []struct {
		asked res
		has   tree.Support
		want  string
		left  func(r *res) bool
	}{
		{res{Memory: 8 << 20, MemorySwap: 9 << 20}, tree.Support{}, "memory limit capabilities or the cgroup is not mounted. Limitation discarded.", func(r *res) bool { return r.Memory == 0 && r.MemorySwap == -1 }},
		{res{Memory: 8 << 20, MemorySwap: 9 << 20}, tree.Support{Memory: true}, "swap limit capabilities or the cgroup is not mounted. Memory limited without swap.", func(r *res) bool { return r.Memory == 8<<20 && r.MemorySwap == -1 }},
		{res{MemorySwappiness: &ten}, tree.Support{}, "memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.", func(r *res) bool { return r.MemorySwappiness == nil }},
		{res{MemoryReservation: 8 << 20}, tree.Support{}, "memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.", func(r *res) bool { return r.MemoryReservation == 0 }},
		{res{OomKillDisable: &on}, tree.Support{}, "OomKillDisable. OomKillDisable discarded.", func(r *res) bool { return r.OomKillDisable == nil }},
		{res{PidsLimit: &pids}, tree.Support{}, "PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.", func(r *res) bool { return r.PidsLimit == nil }},
		{res{CPUShares: 5}, tree.Support{}, "CPU shares or the cgroup is not mounted. Shares discarded.", func(r *res) bool { return r.CPUShares == 0 }},
		{res{CPUQuota: 5000, CPUPeriod: 5000}, tree.Support{}, "CPU CFS scheduler. CPU period/quota discarded.", func(r *res) bool { return r.CPUQuota == 0 && r.CPUPeriod == 0 }},
		{res{CpusetCpus: "0", CpusetMems: "0"}, tree.Support{}, "cpuset or the cgroup is not mounted. Cpuset discarded.", func(r *res) bool { return r.CpusetCpus+r.CpusetMems == "" }},
		{res{BlkioWeight: 20}, tree.Support{}, "Block I/O weight or the cgroup is not mounted. Weight discarded.", func(r *res) bool { return r.BlkioWeight == 0 }},
		{res{BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/x", Weight: 20}}}, tree.Support{}, "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.", func(r *res) bool { return r.BlkioWeightDevice == nil }},
		{res{BlkioDeviceReadBps: rate}, tree.Support{}, "BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.", func(r *res) bool { return r.BlkioDeviceReadBps == nil }},
		{res{BlkioDeviceWriteBps: rate}, tree.Support{}, "BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.", func(r *res) bool { return r.BlkioDeviceWriteBps == nil }},
		{res{BlkioDeviceReadIOps: rate}, tree.Support{}, "IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.", func(r *res) bool { return r.BlkioDeviceReadIOps == nil }},
		{res{BlkioDeviceWriteIOps: rate}, tree.Support{}, "IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.", func(r *res) bool { return r.BlkioDeviceWriteIOps == nil }},
	} {
		r := c.asked
		got, err := CheckResources(&r, Host{CPUs: 1, Kernel: &c.has})
		if err != nil || len(got) != 1 || got[0] != "Your kernel does not support "+c.want {
			t.Errorf("%+v: %q, %v; want %q", c.asked, got, err, c.want)
		}
		if !c.left(&r) {
			t.Errorf("%s is still asked for", c.want)
		}
	}
	for want, r := range map[string]res{
		"kernel does not support CPU real-time scheduler":                                                         {CPURealtimeRuntime: 5},
		"NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted": {NanoCPUs: 1e9},
	} {
		if _, err := CheckResources(&r, Host{CPUs: 1, Kernel: &tree.Support{}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	all := tree.Support{CPUSet: true, CPURealtime: true, CPUs: "0-1,3", Mems: "0"}
	for want, r := range map[string]res{
		"Requested CPUs are not available - requested 2, available: 0-1,3":     {CpusetCpus: "2"},
		"Requested memory nodes are not available - requested 1, available: 0": {CpusetMems: "1"},
		"cpu real-time runtime cannot be higher than cpu real-time period":     {CPURealtimeRuntime: 5, CPURealtimePeriod: 4},
	} {
		if _, err := CheckResources(&r, Host{CPUs: 4, Kernel: &all}); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCgroupNamespaceDefault(t *testing.T) {
	for _, c := range []struct {
		v2, privileged bool
		set, want      container.CgroupnsMode
	}{
		{false, false, "", "host"},
		{true, false, "", "private"},
		{true, true, "", "private"},
		{false, true, "private", "host"},
		{true, true, "host", "host"},
		{false, false, "private", "private"},
	} {
		hc := FillHost(&container.HostConfig{Privileged: c.privileged}, Host{CgroupV2: c.v2, CgroupnsMode: c.set})
		if hc.CgroupnsMode != c.want {
			t.Errorf("%+v: %s", c, hc.CgroupnsMode)
		}
	}
}
