package cgroup

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func testManager(tb testing.TB) (Manager, string) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: it makes cgroups")
	}
	parent := fmt.Sprintf("/hoytest-%d-%s", os.Getpid(), strings.ReplaceAll(tb.Name(), "/", "_"))
	m, err := New(Cgroupfs, parent)
	if err != nil {
		tb.Skipf("needs cgroups: %v", err)
	}
	tb.Cleanup(func() {
		if err := m.Clear(); err != nil {
			tb.Errorf("clear: %v", err)
		}
		for _, dir := range dirs(layout(m.(*groups).t, parent, true)) {
			if _, err := os.Stat(dir); err == nil {
				tb.Errorf("%s is left behind", dir)
			}
		}
	})
	return m, parent
}

func ptr[T any](v T) *T { return &v }

// dockerRules are the device rules of a default container.
func dockerRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range [][2]int64{{1, 5}, {1, 3}, {1, 9}, {1, 8}, {5, 0}, {5, 1}, {1, 7}, {5, 2}} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(d[0]), Minor: ptr(d[1]), Access: "rwm"})
	}
	return append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(136)), Access: "rwm"})
}

func TestLimitsReachTheKernel(t *testing.T) {
	m, _ := testManager(t)
	if m.Version() != "1" {
		t.Skip("needs version 1 hierarchies: it reads their files")
	}
	g, err := m.Create("", "limits", &specs.LinuxResources{
		Devices: dockerRules(),
		Memory:  &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Reservation: ptr(int64(32 << 20)), Swappiness: ptr(uint64(10))},
		CPU:     &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Cpus: "0"},
		Pids:    &specs.LinuxPids{Limit: ptr(int64(33))},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Remove()
	read := func(controller, file string) string {
		data, err := os.ReadFile(filepath.Join(g.(*group).paths[controller], file))
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(data))
	}
	for _, want := range [][3]string{
		{"memory", "memory.limit_in_bytes", "67108864"}, {"memory", "memory.soft_limit_in_bytes", "33554432"},
		{"memory", "memory.swappiness", "10"}, {"cpu", "cpu.shares", "512"}, {"cpu", "cpu.cfs_quota_us", "50000"},
		{"cpuset", "cpuset.cpus", "0"}, {"pids", "pids.max", "33"},
	} {
		if got := read(want[0], want[1]); got != want[2] {
			t.Errorf("%s is %q, want %q", want[1], got, want[2])
		}
	}
	if list := read("devices", "devices.list"); !strings.Contains(list, "c 1:3 rwm") || strings.Contains(list, "a *:*") {
		t.Errorf("devices.list is %q", list)
	}
	if err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(128 << 20))}}); err != nil {
		t.Fatal(err)
	}
	if got := read("memory", "memory.limit_in_bytes"); got != "134217728" {
		t.Errorf("limit after update is %s", got)
	}
	if list := read("devices", "devices.list"); strings.Contains(list, "a *:*") {
		t.Errorf("an update opened all devices: %q", list)
	}
}

func TestLife(t *testing.T) {
	m, parent := testManager(t)
	if _, err := m.Open("", "one"); !errdefs.IsNotFound(err) {
		t.Errorf("open of none: %v", err)
	}
	g, err := m.Create("", "one", &specs.LinuxResources{Devices: dockerRules()})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Path(); got != parent+"/one" {
		t.Errorf("path %s", got)
	}
	ids, err := m.List()
	if err != nil || !slices.Equal(ids, []string{"one"}) {
		t.Errorf("list: %v, %v", ids, err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, file := range g.Procs() {
		if err := os.WriteFile(file, []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
			t.Errorf("%v", err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if pids, err := g.Pids(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("pids: %v, %v", pids, err)
	}
	if _, err := m.Create("", "one", nil); !errdefs.IsAlreadyExists(err) {
		t.Errorf("create over a living one: %v", err)
	}
	if s, err := g.Stats(); err != nil || s.Pids.Current != 1 || s.Memory.Limit == 0 {
		t.Errorf("stats: %+v, %v", s, err)
	}
	if n, err := g.OOMKills(); err != nil || n != 0 {
		t.Errorf("oom kills: %d, %v", n, err)
	}
	if err := g.Freeze(); err != nil {
		t.Errorf("freeze: %v", err)
	}
	again, err := m.Open("", "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Kill(); err != nil {
		t.Errorf("kill of a frozen group: %v", err)
	}
	<-ended
	if err := again.Remove(); err != nil {
		t.Errorf("remove: %v", err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("second remove: %v", err)
	}
}

func TestNames(t *testing.T) {
	m, _ := testManager(t)
	for _, id := range []string{"", ".", "..", "a/b", "../x"} {
		if _, err := m.Create("", id, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("create %q: %v", id, err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	m, _ := testManager(b)
	res := &specs.LinuxResources{Devices: dockerRules(), Pids: &specs.LinuxPids{Limit: ptr(int64(100))}}
	for i := 0; b.Loop(); i++ {
		g, err := m.Create("", fmt.Sprint("b", i), res)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestForPath(t *testing.T) {
	m, parent := testManager(t)
	_ = m
	for _, name := range []string{parent + "/deep/place", strings.TrimPrefix(parent, "/") + "-relative", ""} {
		id := strings.TrimPrefix(parent, "/") + "-id"
		p, err := ForPath(name, id, false)
		if err != nil {
			t.Fatal(err)
		}
		if p.Exists() {
			t.Errorf("%q exists before it is made", name)
		}
		if err := p.Make(&specs.LinuxResources{Devices: dockerRules(), Pids: &specs.LinuxPids{Limit: ptr(int64(7))}}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if !p.Exists() {
			t.Errorf("%q does not exist", name)
		}
		if want := cmp.Or(name, id); !strings.HasSuffix(p.Path(), want) {
			t.Errorf("path of %q is %q", name, p.Path())
		}
		if err := p.Remove(); err != nil || p.Exists() {
			t.Errorf("%q: removed with %v", name, err)
		}
	}
	for _, bad := range [][2]string{{"/", "x"}, {"../..", "x"}, {"a\x00b", "x"}, {"", "a/b"}, {"", ".."}} {
		if p, err := ForPath(bad[0], bad[1], false); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, %v", bad, p, err)
		}
	}
}
