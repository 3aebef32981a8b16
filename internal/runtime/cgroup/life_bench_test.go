package cgroup

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkLife is what a container's group costs: made, limited, joined by a
// process, empty again, removed.
func BenchmarkLife(b *testing.B) {
	m, _ := testManager(b)
	res := &specs.LinuxResources{
		Devices: dockerRules(), Pids: &specs.LinuxPids{Limit: ptr(int64(100))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(128 << 20))},
		CPU:    &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
	}
	for i := 0; b.Loop(); i++ {
		g, err := m.Create("", "life"+strconv.Itoa(i), res)
		if err != nil {
			b.Fatal(err)
		}
		procs := g.Procs()
		b.StopTimer()
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for _, file := range procs {
			_ = os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)), 0)
		}
		_ = cmd.Wait()
		b.StartTimer()
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBare is BenchmarkLife without a process: what strace counts.
func BenchmarkBare(b *testing.B) {
	m, _ := testManager(b)
	res := &specs.LinuxResources{
		Devices: dockerRules(), Pids: &specs.LinuxPids{Limit: ptr(int64(100))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(128 << 20))},
		CPU:    &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
	}
	for i := 0; b.Loop(); i++ {
		g, err := m.Create("", "bare"+strconv.Itoa(i), res)
		if err != nil {
			b.Fatal(err)
		}
		_ = g.Procs()
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
	}
}
