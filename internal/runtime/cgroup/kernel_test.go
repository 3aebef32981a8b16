package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/tree"
)

// disk is a block device that limits can name.
func disk(t *testing.T) (major, minor int64) {
	t.Helper()
	all, _ := filepath.Glob("/sys/block/*/dev")
	for _, file := range all {
		b, err := os.ReadFile(file)
		if err != nil || strings.Contains(file, "/ram") || strings.Contains(file, "/loop") {
			continue
		}
		if _, err := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err == nil {
			return major, minor
		}
	}
	t.Skip("this machine has no block device")
	return 0, 0
}

// hugePage is the name of a size that the kernel has, as control groups spell it.
func hugePage() string {
	for name, size := range map[string]string{"hugepages-2048kB": "2MB", "hugepages-1048576kB": "1GB", "hugepages-64kB": "64KB"} {
		if tree.File("/sys/kernel/mm/hugepages", name) {
			return size
		}
	}
	return ""
}

// TestEveryLimit sets one limit at a time and reads it back from the kernel.
func TestEveryLimit(t *testing.T) {
	m, _ := testManager(t)
	tr := m.(*groups).t
	major, minor := disk(t)
	rate := []specs.LinuxThrottleDevice{{Rate: 1 << 20}}
	rate[0].Major, rate[0].Minor = major, minor
	dev := fmt.Sprintf("%d:%d ", major, minor)
	weight := specs.LinuxWeightDevice{Weight: ptr(uint16(300))}
	weight.Major, weight.Minor = major, minor
	page := hugePage()
	type res = specs.LinuxResources
	for _, c := range []struct {
		name, controller string
		r                *res
		// file=value of version 1, then of version 2. A list of values is those the kernel may show.
		v1, v2 string
	}{
		{"memory", "memory", &res{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20))}}, "memory.memsw.limit_in_bytes=100663296", "memory.swap.max=33554432"},
		{"reservation", "memory", &res{Memory: &specs.LinuxMemory{Reservation: ptr(int64(32 << 20))}}, "memory.soft_limit_in_bytes=33554432", "memory.low=33554432"},
		{"swappiness", "memory", &res{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(7))}}, "memory.swappiness=7", ""},
		{"oom killer", "memory", &res{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, "memory.oom_control=oom_kill_disable 1", ""},
		{"kernel tcp memory", "memory", &res{Memory: &specs.LinuxMemory{KernelTCP: ptr(int64(8 << 20))}}, "memory.kmem.tcp.limit_in_bytes=8388608", ""},
		{"shares", "cpu", &res{CPU: &specs.LinuxCPU{Shares: ptr(uint64(512))}}, "cpu.shares=512", "cpu.weight=59"},
		{"quota", "cpu", &res{CPU: &specs.LinuxCPU{Quota: ptr(int64(5000)), Period: ptr(uint64(20000)), Burst: ptr(uint64(1000))}}, "cpu.cfs_period_us=20000", "cpu.max=5000 20000"},
		{"burst", "cpu", &res{CPU: &specs.LinuxCPU{Quota: ptr(int64(5000)), Burst: ptr(uint64(1000))}}, "cpu.cfs_burst_us=1000", "cpu.max.burst=1000"},
		{"idle", "cpu", &res{CPU: &specs.LinuxCPU{Idle: ptr(int64(1))}}, "cpu.idle=1", "cpu.idle=1"},
		{"cpus", "cpuset", &res{CPU: &specs.LinuxCPU{Cpus: "0", Mems: "0"}}, "cpuset.cpus=0", "cpuset.cpus=0"},
		{"pids", "pids", &res{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, "pids.max=max", "pids.max=max"},
		{"read bps", "blkio", &res{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: rate}}, "blkio.throttle.read_bps_device=" + dev + "1048576", "io.max=" + dev + "rbps=1048576"},
		{"write bps", "blkio", &res{BlockIO: &specs.LinuxBlockIO{ThrottleWriteBpsDevice: rate}}, "blkio.throttle.write_bps_device=" + dev + "1048576", "io.max=wbps=1048576"},
		{"read iops", "blkio", &res{BlockIO: &specs.LinuxBlockIO{ThrottleReadIOPSDevice: rate}}, "blkio.throttle.read_iops_device=" + dev + "1048576", "io.max=riops=1048576"},
		{"write iops", "blkio", &res{BlockIO: &specs.LinuxBlockIO{ThrottleWriteIOPSDevice: rate}}, "blkio.throttle.write_iops_device=" + dev + "1048576", "io.max=wiops=1048576"},
		{"weight", "blkio", &res{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(200))}}, "blkio.bfq.weight=200", "io.weight=default 1920|io.bfq.weight=default 200"},
		{"huge pages", "hugetlb", &res{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: page, Limit: 4 << 30}}}, "hugetlb." + page + ".limit_in_bytes=4294967296", "hugetlb." + page + ".max=4294967296"},
		{"raw", "", &res{Unified: map[string]string{"hugetlb." + page + ".max": "2147483648"}}, "", "hugetlb." + page + ".max=2147483648"},
	} {
		t.Run(c.name, func(t *testing.T) {
			controller := c.controller
			if controller == "" {
				controller = "hugetlb"
			}
			one, two := tr.Has(controller)
			want := c.v2
			if one && c.controller != "" {
				want = c.v1
			} else if !two {
				t.Skipf("the controller %s is not mounted", controller)
			} else {
				controller = ""
			}
			if want == "" {
				t.Skip("this version has no such limit")
			}
			g, err := m.Create("", "limit", c.r)
			if err != nil {
				if errdefs.IsFailedPrecondition(err) && c.name == "weight" {
					t.Skipf("no scheduler with weights: %v", err)
				}
				if errors.Is(err, unix.EBUSY) {
					t.Skipf("this test is a process of the tree's root itself: %v", err)
				}
				t.Fatal(err)
			}
			defer func() {
				if err := g.Remove(); err != nil {
					t.Error(err)
				}
			}()
			seen := ""
			for alternative := range strings.SplitSeq(want, "|") {
				file, value, _ := strings.Cut(alternative, "=")
				b, err := os.ReadFile(filepath.Join(g.(*group).paths[controller], file))
				if err == nil && strings.Contains(string(b), value) {
					return
				}
				seen += fmt.Sprintf("%s: %q %v; ", file, b, err)
			}
			t.Errorf("want %s, the kernel has %s", want, seen)
		})
	}
}

// TestUpdateOrder goes up and down, where each value would be refused before the other.
func TestUpdateOrder(t *testing.T) {
	m, _ := testManager(t)
	g, err := m.Create("", "order", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Remove() }()
	for _, v := range [][2]int64{{256, 300}, {32, 40}, {-1, 0}, {16, 16}, {16, -1}, {128, 128}, {-1, -1}} {
		limit, swap := v[0], v[1]
		if limit > 0 {
			limit <<= 20
		}
		if swap > 0 {
			swap <<= 20
		}
		if err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap}}); err != nil {
			t.Errorf("to %v: %v", v, err)
		}
	}
	for _, v := range [][2]int64{{1000, 100000}, {500000, 1000000}, {2000, 2000}, {-1, 50000}} {
		if err := g.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &v[0], Period: ptr(uint64(v[1]))}}); err != nil {
			t.Errorf("to quota %v: %v", v, err)
		}
	}
	if err := g.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(20000))}}); err != nil {
		t.Error(err)
	}
	if err := g.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr(uint64(80000))}}); err != nil {
		t.Error(err)
	}
	if v := values(g.(*group)); v["cpu.max"] != "20000 80000" && v["cpu.cfs_quota_us"]+" "+v["cpu.cfs_period_us"] != "20000 80000" {
		t.Errorf("a period alone made of the quota: %v", v)
	}
}

// TestRefusedUpdateIsPutBack changes two limits of which the second is refused.
func TestRefusedUpdateIsPutBack(t *testing.T) {
	m, _ := testManager(t)
	g, err := m.Create("", "back", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(10))},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Remove() }()
	before := values(g.(*group))
	err = g.Update(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20))}, CPU: &specs.LinuxCPU{Quota: ptr(int64(30000)), Cpus: "4000"},
	})
	if err == nil {
		t.Fatal("processor 4000 was given")
	}
	for file, want := range before {
		if now := values(g.(*group))[file]; now != want {
			t.Errorf("%s is %q after the refusal, was %q", file, now, want)
		}
	}
}

// TestOwnParents gives a group a parent of its own, and looks who goes when.
func TestOwnParents(t *testing.T) {
	m, parent := testManager(t)
	own := parent + "-own/a/b"
	one, err := m.Create(own, "one", nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := m.Create(own, "two", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(own, "one"); err != nil {
		t.Errorf("open: %v", err)
	}
	if err := one.Remove(); err != nil {
		t.Error(err)
	}
	if !two.(*group).Exists() {
		t.Error("one took two with it")
	}
	if err := two.Remove(); err != nil {
		t.Error(err)
	}
	for _, dir := range dirs(layout(m.(*groups).t, parent+"-own", true)) {
		if tree.File(dir, "") {
			t.Errorf("%s stays", dir)
		}
	}
	// A parent that someone else has made stays.
	others := dirs(layout(m.(*groups).t, parent+"-others", true))
	for _, dir := range others {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(dir) }()
	}
	g, err := m.Create(parent+"-others", "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(); err != nil || !tree.File(others[0], "") {
		t.Errorf("another's parent went: %v", err)
	}
	for _, bad := range []string{"/", "/..", "a\x00"} {
		if _, err := m.Create(bad, "x", nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("parent %q: %v", bad, err)
		}
	}
}

// insideEnv names the device that TestInside opens, or "memory" to fill.
const insideEnv = "HOY_TEST_DEVICE"

// held keeps what TestInside fills.
var held [][]byte

// TestInside is no test but the process that TestDevices puts into a group: it
// waits for a line and then reads a device.
func TestInside(t *testing.T) {
	device := os.Getenv(insideEnv)
	if device == "" {
		t.Skip("is run by TestDevices")
	}
	_, _ = os.Stdin.Read(make([]byte, 3))
	if device == "memory" {
		for range 200 {
			page := make([]byte, 1<<20)
			for i := range page {
				page[i] = byte(i)
			}
			held = append(held, page)
		}
	}
	f, err := os.Open(device)
	if err == nil {
		_, err = f.Read(make([]byte, 1))
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("has read")
}

// TestDevices opens devices from inside groups with rules.
func TestDevices(t *testing.T) {
	m, _ := testManager(t)
	zero := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "r"}
	g, err := m.Create("", "devices", &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}, zero}})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("device rules may not be set here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Remove() }()
	try := func(device string) string {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestInside$")
		cmd.Env = []string{insideEnv + "=" + device}
		in, _ := cmd.StdinPipe()
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, file := range g.Procs() {
			if err := os.WriteFile(file, []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
				t.Error(err)
			}
		}
		_, _ = in.Write([]byte("go\n"))
		_ = cmd.Wait()
		return out.String()
	}
	if got := try("/dev/zero"); !strings.Contains(got, "has read") {
		t.Errorf("an allowed device: %q", got)
	}
	if got := try("/dev/urandom"); !strings.Contains(got, "operation not permitted") {
		t.Errorf("a forbidden device: %q", got)
	}
	if err := g.Update(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}); err != nil {
		t.Fatal(err)
	}
	if got := try("/dev/urandom"); !strings.Contains(got, "has read") {
		t.Errorf("after all are allowed: %q", got)
	}
}
