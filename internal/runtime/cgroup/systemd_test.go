package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/cgroup/unit"
)

func testSlice(t *testing.T) (Manager, string) {
	t.Helper()
	if os.Geteuid() != 0 || !unit.Running() {
		t.Skip("needs root and systemd as init: it makes scopes")
	}
	slice := fmt.Sprintf("hoytest-%d.slice", os.Getpid())
	m, err := New(Systemd, slice)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range []string{slice, "hoytest.slice"} {
			_ = exec.Command("systemctl", "stop", s).Run()
		}
	})
	return m, slice
}

// show gives a unit's properties as systemctl prints them.
func show(t *testing.T, unitName string, names ...string) map[string]string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", unitName, "-p", strings.Join(names, ",")).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl show: %v: %s", err, out)
	}
	got := map[string]string{}
	for l := range strings.Lines(string(out)) {
		k, v, _ := strings.Cut(strings.TrimSpace(l), "=")
		got[k] = v
	}
	return got
}

func join(t *testing.T, g Group) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, file := range g.Procs() {
		if err := os.WriteFile(file, []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
			t.Error(err)
		}
	}
	g.Joined()
	return cmd
}

// values are what the kernel holds of the limits in TestScope.
func values(g *group) map[string]string {
	files := map[string]string{"memory.max": "", "memory.low": "", "cpu.max": "", "cpu.weight": "", "pids.max": ""}
	if !g.t.Unified() {
		files = map[string]string{
			"memory.limit_in_bytes": "memory", "memory.soft_limit_in_bytes": "memory", "cpu.cfs_quota_us": "cpu",
			"cpu.cfs_period_us": "cpu", "cpu.shares": "cpu", "pids.max": "pids", "devices.list": "devices",
		}
	}
	got := map[string]string{}
	for file, controller := range files {
		b, err := os.ReadFile(filepath.Join(g.paths[controller], file))
		if err != nil {
			b = []byte(err.Error())
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		slices.Sort(lines) // systemd has an order of its own for device rules
		got[file] = strings.Join(lines, "\n")
	}
	return got
}

func TestScope(t *testing.T) {
	m, slice := testSlice(t)
	limits := &specs.LinuxResources{
		Devices: dockerRules(),
		Memory:  &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Reservation: ptr(int64(32 << 20))},
		CPU:     &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
		Pids:    &specs.LinuxPids{Limit: ptr(int64(33))},
	}
	made, err := m.Create("", "one", limits)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = made.Remove() }()
	g := made.(*group)
	if want := "hoy-one.scope"; filepath.Base(g.Path()) != want || !strings.Contains(g.Path(), "/"+slice+"/") {
		t.Errorf("the group is %s", g.Path())
	}
	cmd := join(t, g)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if pids, err := g.Pids(); err != nil || len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Errorf("pids: %v, %v; want %d alone", pids, err, cmd.Process.Pid)
	}
	got := show(t, "hoy-one.scope", "ActiveState", "Slice", "TasksMax", "MemoryMax", "MemoryLimit", "CPUQuotaPerSecUSec", "DevicePolicy", "Delegate")
	for k, want := range map[string]string{"ActiveState": "active", "Slice": slice, "TasksMax": "33", "CPUQuotaPerSecUSec": "500ms", "DevicePolicy": "strict", "Delegate": "yes"} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
	if got["MemoryMax"] != "67108864" && got["MemoryLimit"] != "67108864" {
		t.Errorf("systemd's memory limit: %v", got)
	}
	before := values(g)
	t.Logf("in the kernel: %v", before)
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		t.Fatalf("daemon-reload: %v: %s", err, out)
	}
	for file, want := range before {
		if now := values(g)[file]; now != want {
			t.Errorf("after daemon-reload %s is %q, was %q", file, now, want)
		}
	}
	if err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(128 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(44))}}); err != nil {
		t.Fatal(err)
	}
	if got := show(t, "hoy-one.scope", "TasksMax"); got["TasksMax"] != "44" || values(g)["pids.max"] != "44" {
		t.Errorf("after update: %v, %v", got, values(g))
	}
	if _, err := m.Create("", "one", limits); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second of the same name: %v", err)
	}
	if ids, err := m.List(); err != nil || len(ids) != 1 || ids[0] != "one" {
		t.Errorf("list: %v, %v", ids, err)
	}
	again, err := m.Open("", "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Freeze(); err != nil {
		t.Errorf("freeze: %v", err)
	}
	if on, err := again.Frozen(); err != nil || !on {
		t.Errorf("frozen: %v, %v", on, err)
	}
	if err := again.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
	<-ended
	if err := again.Remove(); err != nil {
		t.Errorf("remove: %v", err)
	}
	if again.(*group).Exists() {
		t.Error("directories stay")
	}
	if state := show(t, "hoy-one.scope", "LoadState")["LoadState"]; state != "not-found" {
		t.Errorf("the unit is %s after it", state)
	}
}

func TestScopeIsGoneWithAFailedStart(t *testing.T) {
	m, _ := testSlice(t)
	_, err := m.Create("", "bad", &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "999"}})
	if err == nil {
		t.Fatal("processor 999 was given")
	}
	if state := show(t, "hoy-bad.scope", "LoadState")["LoadState"]; state != "not-found" {
		t.Errorf("the unit is %s after %v", state, err)
	}
}

// TestScopeOOM looks for the count after systemd has removed the scope. On a
// busy machine systemd may be quicker than the kernel's word to us, and nobody
// can ask any more: so one of a few must be counted.
func TestScopeOOM(t *testing.T) {
	m, _ := testSlice(t)
	for i := range 4 {
		if oomInScope(t, m, fmt.Sprint("oom", i)) {
			return
		}
		t.Logf("kill %d was not counted", i)
	}
	t.Error("no kill for want of memory was counted")
}

// oomInScope has a process killed in a scope, and says whether it was counted.
func oomInScope(t *testing.T, m Manager, id string) bool {
	t.Helper()
	g, err := m.Create("", id, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(20 << 20)), Swap: ptr(int64(20 << 20))}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Remove() }()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInside$")
	cmd.Env = []string{insideEnv + "=memory"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, file := range g.Procs() {
		if err := os.WriteFile(file, []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
			t.Error(err)
		}
	}
	g.Joined()
	_, _ = in.Write([]byte("go\n"))
	if err := cmd.Wait(); err == nil {
		t.Fatal("200 MB went into 20")
	}
	// As after any exit: the engine asks a moment later, the group may be gone.
	for range 100 {
		if n, err := g.OOMKills(); err != nil {
			t.Fatal(err)
		} else if n > 0 {
			return true
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the kernel's word comes when it comes
	}
	return false
}

func TestScopePlace(t *testing.T) {
	_, slice := testSlice(t)
	p, err := ForPath(slice+":pre:fix", "id", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Make(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(9))}}); err != nil {
		t.Fatal(err)
	}
	if got := show(t, "pre-fix.scope", "TasksMax", "ActiveState"); got["TasksMax"] != "9" || got["ActiveState"] != "active" {
		t.Errorf("%v", got)
	}
	p.Joined() // nobody has: the scope ends
	if err := p.Remove(); err != nil || p.Exists() {
		t.Errorf("remove: %v", err)
	}
	for _, bad := range []string{"a:b", "a.slice:b:c.slice", "a/b.slice:x:y", "a.slice:x:y/z"} {
		if _, err := ForPath(bad, "id", true); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
