package limit

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/cgroup/tree"
)

func ptr[T any](v T) *T { return &v }

var (
	v1 = &tree.Tree{V1: map[string]tree.Mount{
		"memory": {}, "cpu": {}, "cpuset": {}, "pids": {}, "blkio": {}, "hugetlb": {}, "rdma": {}, "net_cls": {}, "net_prio": {},
	}}
	v2 = &tree.Tree{
		V2:          tree.Mount{Dir: "/sys/fs/cgroup", Root: "/"},
		Controllers: strings.Fields("cpu cpuset io memory pids hugetlb rdma misc"),
	}
	// hybrid has hugetlb in the version 2 tree alone.
	hybrid = &tree.Tree{
		V1: map[string]tree.Mount{"memory": {}, "cpu": {}, "cpuset": {}, "pids": {}, "blkio": {}},
		V2: tree.Mount{Dir: "/sys/fs/cgroup/unified", Root: "/"}, Controllers: []string{"hugetlb"},
	}
)

// text writes a plan down as "controller/file=value" lines; a leading slash is version 2.
func text(t *testing.T, r *specs.LinuxResources, on *tree.Tree) string {
	t.Helper()
	p, err := Of(r, on)
	if err != nil {
		return "error: " + err.Error()
	}
	var lines []string
	for _, w := range p.Writes {
		l := w.Controller + "/" + w.File + "=" + w.Value
		if w.Or != nil {
			l += " or " + w.Or.File + "=" + w.Or.Value
		}
		if w.Again {
			l += " again"
		}
		if w.Pass != nil {
			l += " if there"
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "; ")
}

func TestConversions(t *testing.T) {
	type mem = specs.LinuxMemory
	type cpu = specs.LinuxCPU
	m := func(v mem) *specs.LinuxResources { return &specs.LinuxResources{Memory: &v} }
	c := func(v cpu) *specs.LinuxResources { return &specs.LinuxResources{CPU: &v} }
	io := func(v specs.LinuxBlockIO) *specs.LinuxResources { return &specs.LinuxResources{BlockIO: &v} }
	rate := func(n uint64) []specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: n}
		d.Major, d.Minor = 8, 16
		return []specs.LinuxThrottleDevice{d}
	}
	weight := specs.LinuxWeightDevice{Weight: ptr(uint16(500))}
	weight.Major = 8
	for _, x := range []struct {
		name   string
		r      *specs.LinuxResources
		v1, v2 string
	}{
		{"nothing", &specs.LinuxResources{Memory: &mem{}, CPU: &cpu{}, BlockIO: &specs.LinuxBlockIO{}, Pids: &specs.LinuxPids{}, Network: &specs.LinuxNetwork{}}, "", ""},
		{"memory", m(mem{Limit: ptr(int64(100))}), "memory/memory.limit_in_bytes=100", "/memory.max=100"},
		{
			"memory and swap", m(mem{Limit: ptr(int64(100)), Swap: ptr(int64(300))}),
			"memory/memory.limit_in_bytes=100 again; memory/memory.memsw.limit_in_bytes=300 again", "/memory.swap.max=200; /memory.max=100",
		},
		{
			"no swap", m(mem{Limit: ptr(int64(100)), Swap: ptr(int64(100))}),
			"memory/memory.limit_in_bytes=100 again; memory/memory.memsw.limit_in_bytes=100 again", "/memory.swap.max=0 if there; /memory.max=100",
		},
		{
			"swap without end", m(mem{Limit: ptr(int64(100)), Swap: ptr(int64(-1))}),
			"memory/memory.limit_in_bytes=100 again; memory/memory.memsw.limit_in_bytes=-1 again if there", "/memory.swap.max=max if there; /memory.max=100",
		},
		{
			"no limit again", m(mem{Limit: ptr(int64(-1))}),
			"memory/memory.limit_in_bytes=-1 again; memory/memory.memsw.limit_in_bytes=-1 if there", "/memory.swap.max=max if there; /memory.max=max",
		},
		{"swap below memory", m(mem{Limit: ptr(int64(100)), Swap: ptr(int64(50))}), "memory/memory.limit_in_bytes=100 again; memory/memory.memsw.limit_in_bytes=50 again", "error: the limit of memory and swap (50) needs a limit of memory that is not above it, not 100"},
		{"swap alone", m(mem{Swap: ptr(int64(50))}), "memory/memory.memsw.limit_in_bytes=50", "error: the limit of memory and swap (50) needs a limit of memory that is not above it, not 0"},
		{"reservation", m(mem{Reservation: ptr(int64(7))}), "memory/memory.soft_limit_in_bytes=7", "/memory.low=7"},
		{"swappiness", m(mem{Swappiness: ptr(uint64(0))}), "memory/memory.swappiness=0", ""},
		{"swappiness 101", m(mem{Swappiness: ptr(uint64(101))}), "error: memory swappiness is 0 to 100, not 101", ""},
		{"oom killer off", m(mem{DisableOOMKiller: ptr(true)}), "memory/memory.oom_control=1", ""},
		{"hierarchy", m(mem{UseHierarchy: ptr(true)}), "memory/memory.use_hierarchy=1 if there", ""},
		{"kernel memory", m(mem{Kernel: ptr(int64(5)), KernelTCP: ptr(int64(6))}), "memory/memory.kmem.limit_in_bytes=5 if there; memory/memory.kmem.tcp.limit_in_bytes=6", ""},
		{"shares", c(cpu{Shares: ptr(uint64(1024))}), "cpu/cpu.shares=1024", "/cpu.weight=100"},
		{"too few shares", c(cpu{Shares: ptr(uint64(1))}), "error: the minimum allowed cpu-shares is 2", "/cpu.weight=1"},
		{"too many shares", c(cpu{Shares: ptr(uint64(262145))}), "error: the maximum allowed cpu-shares is 262144", "/cpu.weight=10000"},
		{"quota", c(cpu{Quota: ptr(int64(50)), Period: ptr(uint64(100))}), "cpu/cpu.cfs_period_us=100 again; cpu/cpu.cfs_quota_us=50 again", "/cpu.max=50 100 again"},
		{"quota alone", c(cpu{Quota: ptr(int64(50))}), "cpu/cpu.cfs_quota_us=50 again", "/cpu.max=50 again"},
		{"quota off", c(cpu{Quota: ptr(int64(-1))}), "cpu/cpu.cfs_quota_us=-1 again", "/cpu.max=max again"},
		{"period alone", c(cpu{Period: ptr(uint64(100))}), "cpu/cpu.cfs_period_us=100 again", "/cpu.max=keep 100 again"},
		{"burst", c(cpu{Burst: ptr(uint64(9))}), "cpu/cpu.cfs_burst_us=9 again", "/cpu.max.burst=9 again"},
		{"idle", c(cpu{Idle: ptr(int64(1)), Shares: ptr(uint64(2))}), "cpu/cpu.shares=2; cpu/cpu.idle=1", "/cpu.idle=1"},
		{"realtime", c(cpu{RealtimeRuntime: ptr(int64(3)), RealtimePeriod: ptr(uint64(4))}), "cpu/cpu.rt_period_us=4 again; cpu/cpu.rt_runtime_us=3 again", "error: realtime CPU limits are not to be had with version 2 cgroups"},
		{"cpuset", c(cpu{Cpus: "0-1", Mems: "0"}), "cpuset/cpuset.cpus=0-1; cpuset/cpuset.mems=0", "/cpuset.cpus=0-1; /cpuset.mems=0"},
		{"pids", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(9))}}, "pids/pids.max=9", "/pids.max=9"},
		{"no pids limit", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, "pids/pids.max=max", "/pids.max=max"},
		{"pids 0", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(0))}}, "pids/pids.max=1", "/pids.max=1"},
		{"io weight", io(specs.LinuxBlockIO{Weight: ptr(uint16(1000))}), "blkio/blkio.weight=1000 or blkio.bfq.weight=1000", "/io.bfq.weight=1000 or io.weight=10000"},
		{"leaf weight", io(specs.LinuxBlockIO{LeafWeight: ptr(uint16(10))}), "blkio/blkio.leaf_weight=10", "error: leaf weights are not to be had with version 2 cgroups"},
		{"device weight", io(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{weight}}), "blkio/blkio.weight_device=8:0 500 or blkio.bfq.weight_device=8:0 500", "/io.bfq.weight=8:0 500 or io.weight=8:0 4950"},
		{
			"rates", io(specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(1), ThrottleWriteBpsDevice: rate(2), ThrottleReadIOPSDevice: rate(3), ThrottleWriteIOPSDevice: rate(0)}),
			"blkio/blkio.throttle.read_bps_device=8:16 1; blkio/blkio.throttle.write_bps_device=8:16 2; blkio/blkio.throttle.read_iops_device=8:16 3; blkio/blkio.throttle.write_iops_device=8:16 0",
			"/io.max=8:16 rbps=1; /io.max=8:16 wbps=2; /io.max=8:16 riops=3; /io.max=8:16 wiops=max",
		},
		{"huge pages", &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}}}, "hugetlb/hugetlb.2MB.limit_in_bytes=4; hugetlb/hugetlb.2MB.rsvd.limit_in_bytes=4 if there", "/hugetlb.2MB.max=4; /hugetlb.2MB.rsvd.max=4 if there"},
		{"a page size that is a path", &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../x"}}}, `error: invalid huge page size "../x"`, `error: invalid huge page size "../x"`},
		{"rdma", &specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5": {HcaHandles: ptr(uint32(2)), HcaObjects: ptr(uint32(3))}}}, "rdma/rdma.max=mlx5 hca_handle=2 hca_object=3", "/rdma.max=mlx5 hca_handle=2 hca_object=3"},
		{"class", &specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(5))}}, "net_cls/net_cls.classid=5", "error: no net_cls cgroup controller is mounted: its limits cannot be set"},
		{"priority", &specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 5}}}}, "net_prio/net_prio.ifpriomap=eth0 5", "error: no net_prio cgroup controller is mounted: its limits cannot be set"},
		{"raw", &specs.LinuxResources{Unified: map[string]string{"memory.high": "9"}}, `error: unified resource "memory.high": this machine has no version 2 cgroups`, "/memory.high=9"},
		{"raw path", &specs.LinuxResources{Unified: map[string]string{"memory.high/../x": "9"}}, `error: unified resource "memory.high/../x" must be in the form CONTROLLER.PARAMETER`, `error: unified resource "memory.high/../x" must be in the form CONTROLLER.PARAMETER`},
		{"raw procs", &specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}, `error: unified resource "cgroup.procs": this machine has no version 2 cgroups`, `error: unified resource "cgroup.procs" is not a limit`},
	} {
		if got := text(t, x.r, v1); got != x.v1 {
			t.Errorf("%s, version 1:\ngot  %s\nwant %s", x.name, got, x.v1)
		}
		if got := text(t, x.r, v2); got != x.v2 {
			t.Errorf("%s, version 2:\ngot  %s\nwant %s", x.name, got, x.v2)
		}
	}
}

func TestHybrid(t *testing.T) {
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(1))}, HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}},
		Unified: map[string]string{"hugetlb.1GB.max": "0"},
	}
	if got, want := text(t, r, hybrid), "memory/memory.limit_in_bytes=1; /hugetlb.2MB.max=4; /hugetlb.2MB.rsvd.max=4 if there; /hugetlb.1GB.max=0"; got != want {
		t.Errorf("got %s", got)
	}
	if p, _ := Of(r, hybrid); len(p.Needs2) != 2 || p.Needs2[0] != "hugetlb" {
		t.Errorf("controllers to enable: %v", p.Needs2)
	}
	if _, err := Of(&specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, hybrid); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a key of a controller in version 1: %v", err)
	}
	if _, err := Of(&specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"x": {}}}, hybrid); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a controller that is nowhere: %v", err)
	}
}

func TestWeights(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 0, 2: 1, 10: 4, 100: 17, 512: 59, 1024: 100, 2048: 174, 10000: 627, 262144: 10000, 1 << 40: 10000} {
		if got := Weight(shares); got != want {
			t.Errorf("weight of %d shares is %d, want %d", shares, got, want)
		}
	}
	for shares := uint64(1); shares < 300000; shares += 7 {
		if got, want := Weight(shares), cgroups.ConvertCPUSharesToCgroupV2Value(shares); got != want {
			t.Fatalf("weight of %d shares is %d, runc's %d", shares, got, want)
		}
	}
	for w, want := range map[uint16]uint64{0: 1, 10: 1, 100: 910, 500: 4950, 1000: 10000} {
		if got := IOWeight(w); got != want {
			t.Errorf("io weight of %d is %d, want %d", w, got, want)
		}
	}
}

func TestAllowList(t *testing.T) {
	deny := specs.LinuxDeviceCgroup{Access: "rwm"}
	null := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(3)), Access: "rw"}
	for _, c := range []struct {
		name  string
		rules []specs.LinuxDeviceCgroup
		want  string
		ok    bool
	}{
		{"none", nil, "", false},
		{"the common form", []specs.LinuxDeviceCgroup{deny, {Allow: true, Type: "b", Access: "m"}, null}, "b *:* m|c 1:3 rw", true},
		{"nothing allowed", []specs.LinuxDeviceCgroup{deny}, "", true},
		{"everything", []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, "", false},
		{"some taken back", []specs.LinuxDeviceCgroup{deny, null, {Type: "c", Major: ptr(int64(1)), Access: "w"}}, "", false},
		{"not all denied", []specs.LinuxDeviceCgroup{{Access: "rw"}, null}, "", false},
		{"all allowed after all", []specs.LinuxDeviceCgroup{deny, {Allow: true, Type: "a", Access: "rwm"}}, "", false},
		{"a bad type", []specs.LinuxDeviceCgroup{deny, {Allow: true, Type: "x"}}, "", false},
	} {
		got, ok := AllowList(c.rules)
		if strings.Join(got, "|") != c.want || ok != c.ok {
			t.Errorf("%s: %q, %v", c.name, got, ok)
		}
	}
	if _, err := DeviceRule(specs.LinuxDeviceCgroup{Type: "c", Access: "q"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("access q: %v", err)
	}
}
