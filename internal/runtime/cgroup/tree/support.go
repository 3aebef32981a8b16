package tree

import (
	"os"
	"path/filepath"
	"strings"
)

// Support says which limits the kernel can give a container here. A false
// field is a warning at create, not an error.
type Support struct {
	Memory, Reservation, Swap, Swappiness, OOMDisable, KernelMemory, KernelTCP bool
	CPUShares, CPUQuota, CPURealtime, CPUSet                                   bool
	BlkioWeight, BlkioWeightDevice                                             bool
	BlkioReadBps, BlkioWriteBps, BlkioReadIOPS, BlkioWriteIOPS                 bool
	Pids, Hugetlb                                                              bool
	// CPUs and Mems are the processors and memory nodes that may be given, as a list like "0-3".
	CPUs, Mems string
}

// Support looks at the kernel's files, once.
func (t *Tree) Support() *Support {
	t.once.Do(func() { t.support = t.look() })
	return &t.support
}

func (t *Tree) look() Support {
	var s Support
	for _, c := range []struct {
		name string
		one  func(dir string)
		two  func(dir string)
	}{
		{"memory", s.memory1, s.memory2}, {"cpu", s.cpu1, s.cpu2}, {"cpuset", s.cpuset1, s.cpuset2}, {"blkio", s.blkio1, s.io2},
		{"pids", func(string) { s.Pids = true }, func(string) { s.Pids = true }},
		{"hugetlb", func(string) { s.Hugetlb = true }, func(string) { s.Hugetlb = true }},
	} {
		if v1, v2 := t.Has(c.name); v1 {
			c.one(t.V1[c.name].Dir)
		} else if v2 {
			c.two(t.V2.Dir)
		}
	}
	return s
}

func (s *Support) memory1(dir string) {
	s.Memory, s.Reservation = true, File(dir, "memory.soft_limit_in_bytes")
	s.Swap, s.Swappiness = File(dir, "memory.memsw.limit_in_bytes"), File(dir, "memory.swappiness")
	s.OOMDisable = File(dir, "memory.oom_control")
	s.KernelMemory, s.KernelTCP = File(dir, "memory.kmem.limit_in_bytes"), File(dir, "memory.kmem.tcp.limit_in_bytes")
}

func (s *Support) memory2(dir string) {
	s.Memory, s.Reservation = true, true
	// /proc/swaps is there where the kernel can swap; groups with the controller know for sure.
	if s.Swap = below(dir, "memory.max", "memory.swap.max"); s.Swap {
		s.Swap = File("/proc", "swaps")
	}
}

func (s *Support) cpu1(dir string) {
	s.CPUShares, s.CPUQuota, s.CPURealtime = File(dir, "cpu.shares"), File(dir, "cpu.cfs_quota_us"), File(dir, "cpu.rt_runtime_us")
}

func (s *Support) cpu2(string) { s.CPUShares, s.CPUQuota = true, true }

func (s *Support) cpuset1(dir string) {
	s.CPUSet, s.CPUs, s.Mems = true, line(dir, "cpuset.cpus"), line(dir, "cpuset.mems")
}

func (s *Support) cpuset2(dir string) {
	s.CPUSet, s.CPUs, s.Mems = true, line(dir, "cpuset.cpus.effective"), line(dir, "cpuset.mems.effective")
}

func (s *Support) blkio1(dir string) {
	// Weights are no files of the root; the counters of the schedulers that have weights are.
	s.BlkioWeight = File(dir, "blkio.bfq.io_serviced") || File(dir, "blkio.weight") || File(dir, "blkio.leaf_weight")
	s.BlkioWeightDevice = s.BlkioWeight
	s.BlkioReadBps, s.BlkioWriteBps = File(dir, "blkio.throttle.read_bps_device"), File(dir, "blkio.throttle.write_bps_device")
	s.BlkioReadIOPS, s.BlkioWriteIOPS = File(dir, "blkio.throttle.read_iops_device"), File(dir, "blkio.throttle.write_iops_device")
}

func (s *Support) io2(dir string) {
	s.BlkioWeight = below(dir, "io.max", "io.weight") || below(dir, "io.max", "io.bfq.weight")
	s.BlkioWeightDevice = s.BlkioWeight
	s.BlkioReadBps, s.BlkioWriteBps, s.BlkioReadIOPS, s.BlkioWriteIOPS = true, true, true, true
}

// below says whether groups below root, those that have the file sign, have
// file. Where no group has sign nothing is known, and the answer is yes.
func below(root, sign, file string) bool {
	entries, err := os.ReadDir(root)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if dir := filepath.Join(root, e.Name()); e.IsDir() && File(dir, sign) {
			return File(dir, file)
		}
	}
	return true
}

func line(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
