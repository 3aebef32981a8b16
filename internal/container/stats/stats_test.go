package stats

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/internal/runtime/cgroup"
	"hoy/internal/runtime/cgroup/counter"
)

// group gives fixed counters.
type group struct {
	cgroup.Group
	stats cgroup.Stats
}

func (g group) Stats() (*cgroup.Stats, error) { return &g.stats, nil }

func TestSample(t *testing.T) {
	g := group{stats: cgroup.Stats{
		CPU:    counter.CPU{Total: 10, Kernel: 3, User: 7, PerCPU: []uint64{4, 6}},
		Memory: counter.Memory{Usage: 100, Limit: 1 << 62, Detail: map[string]uint64{"inactive_file": 5}},
		Pids:   counter.Pids{Current: 2},
		IO:     counter.IO{ServiceBytes: []counter.IOEntry{{Major: 8, Op: "Read", Value: 4096}}},
	}}
	s, err := Sample(g, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if s.CPUStats.CPUUsage.TotalUsage != 10 || s.CPUStats.OnlineCPUs == 0 || s.CPUStats.SystemUsage == 0 {
		t.Errorf("cpu: %+v", s.CPUStats)
	}
	if s.MemoryStats.Limit != machineMemory() || machineMemory() < 1<<20 {
		t.Errorf("limit %d, machine %d", s.MemoryStats.Limit, machineMemory())
	}
	if len(s.BlkioStats.IoServiceBytesRecursive) != 1 || s.BlkioStats.IoServiceBytesRecursive[0].Value != 4096 {
		t.Errorf("blkio: %+v", s.BlkioStats)
	}
	if _, ok := s.Networks["lo"]; ok || s.Networks == nil {
		t.Errorf("networks: %v", s.Networks)
	}
	again, err := Sample(g, 0)
	if err != nil || again.Networks != nil {
		t.Errorf("without a process: %v, %v", again, err)
	}
}

func TestParsers(t *testing.T) {
	dev := parseNetDev("Inter-|   Receive |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 20 5 6 7 0 0 0 0\n bad: 1 2\n")
	if len(dev) != 1 || dev["eth0"].RxBytes != 10 || dev["eth0"].TxBytes != 20 || dev["eth0"].TxDropped != 7 {
		t.Errorf("net/dev: %+v", dev)
	}
	total, online, err := parseSystem("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\ncpu1 1\nintr 5\n")
	if err != nil || total != 36*10_000_000 || online != 2 {
		t.Errorf("stat: %d %d %v", total, online, err)
	}
	p, comm, err := parseStat("12 (a) (b) S 1 12 12 34817 12 4194304 1 2 3 4 150 50 0 0 20 0 1 0 777 1 2")
	if err != nil || comm != "a) (b" || p.ppid != "1" || p.cpu != 200 || p.start != 777 || p.terminal() != "pts/1" {
		t.Errorf("%+v %q %v", p, comm, err)
	}
	if _, _, err := parseStat("12 no name"); err == nil {
		t.Error("a line without a name passes")
	}
	for ticks, want := range map[uint64]string{0: "00:00:00", 6100: "00:01:01", 8640000 + 100: "1-00:00:01"} {
		if got := cpuTime(ticks); got != want {
			t.Errorf("cpuTime(%d) = %s, want %s", ticks, got, want)
		}
	}
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.Local)
	for started, want := range map[time.Time]string{
		now.Add(-time.Hour): "11:00", now.AddDate(0, 0, -1): "Mar01", now.AddDate(-1, 0, 0): "2025",
	} {
		if got := startTime(started, now); got != want {
			t.Errorf("startTime(%s) = %s, want %s", started, got, want)
		}
	}
}

// The table read from /proc must be that of ps -ef.
func TestTopAgreesWithPS(t *testing.T) {
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip("needs ps to compare with")
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if data, _ := os.ReadFile("/proc/" + strconv.Itoa(child.Process.Pid) + "/cmdline"); len(data) > 0 || time.Now().After(deadline) {
			break
		}
	}
	pids := []int{child.Process.Pid, 1}
	own, err := Top(t.Context(), pids, "")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := Top(t.Context(), pids, "-e -f")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(own.Titles, theirs.Titles) || len(own.Processes) != 2 || len(theirs.Processes) != 2 {
		t.Fatalf("own %v, theirs %v", own, theirs)
	}
	byPID := func(a, b []string) int { return strings.Compare(a[1], b[1]) }
	slices.SortFunc(own.Processes, byPID)
	slices.SortFunc(theirs.Processes, byPID)
	for i := range own.Processes {
		// C and TIME move on between the two looks, STIME may differ by rounding.
		for _, column := range []int{0, 1, 2, 5, 7} {
			if own.Processes[i][column] != theirs.Processes[i][column] {
				t.Errorf("%s: %q, ps says %q", own.Titles[column], own.Processes[i][column], theirs.Processes[i][column])
			}
		}
	}
	custom, err := Top(t.Context(), []int{child.Process.Pid}, "-o pid,args")
	if err != nil || len(custom.Processes) != 1 || !slices.Equal(custom.Processes[0], []string{strconv.Itoa(child.Process.Pid), "sleep 60"}) {
		t.Errorf("custom columns: %v, %v", custom, err)
	}
}

func TestTopRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"-o user=PID":      "is not allowed",
		"-o user":          "couldn't find PID field",
		"--no-such-option": "error running ps",
	} {
		if _, err := Top(t.Context(), []int{1}, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
