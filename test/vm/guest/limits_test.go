package guest

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// value is what a control file must hold, in both versions' words. An empty
// word means that the version cannot say it.
type value struct {
	what   string
	file   file
	v1, v2 string
}

// deviceNumbers differ between machines.
var deviceNumbers = regexp.MustCompile(`\d+:\d+ `)

// expect makes each value a subtest.
func (g *group) expect(t *testing.T, values ...value) {
	t.Helper()
	for _, v := range values {
		t.Run(v.what, func(t *testing.T) {
			g.t = t
			want := v.v1
			if g.v2 {
				want = v.v2
			}
			if want == "" {
				t.Skip("this version of cgroups has no such limit")
			}
			if _, err := os.Stat(g.path(v.file)); os.IsNotExist(err) {
				t.Skipf("the kernel has no %s", g.name(v.file))
			}
			got := g.read(v.file)
			if got != want {
				t.Errorf("%s is %q, want %q", g.name(v.file), got, want)
			}
			says(t, "`%s` `%s`", g.name(v.file), deviceNumbers.ReplaceAllString(got, ""))
		})
	}
	g.t = t
}

var (
	memoryMax  = file{"memory/memory.limit_in_bytes", "memory.max"}
	memoryLow  = file{"memory/memory.soft_limit_in_bytes", "memory.low"}
	swapMax    = file{"memory/memory.memsw.limit_in_bytes", "memory.swap.max"}
	swappiness = file{"memory/memory.swappiness", "memory.swappiness"}
	cpuQuota   = file{"cpu/cpu.cfs_quota_us", "cpu.max"}
	cpuPeriod  = file{"cpu/cpu.cfs_period_us", ""}
	cpuWeight  = file{"cpu/cpu.shares", "cpu.weight"}
	cpuStat    = file{"cpu/cpu.stat", "cpu.stat"}
	cpus       = file{"cpuset/cpuset.cpus", "cpuset.cpus"}
	mems       = file{"cpuset/cpuset.mems", "cpuset.mems"}
	pidsMax    = file{"pids/pids.max", "pids.max"}
	readBps    = file{"blkio/blkio.throttle.read_bps_device", "io.max"}
	procs      = file{"pids/cgroup.procs", "cgroup.procs"}
)

func limitMemory(t *testing.T, e *box) {
	name, g := run(t, e, "--memory", "64m", "--memory-reservation", "32m", "--memory-swap", "96m")
	g.expect(t,
		value{"limit", memoryMax, "67108864", "67108864"},
		value{"reservation", memoryLow, "33554432", "33554432"},
		// Version 1 counts memory and swap together, version 2 swap alone.
		value{"swap", swapMax, "100663296", "33554432"})
	e.Must("update", "--memory", "128m", "--memory-swap", "256m", name)
	g.expect(t,
		value{"update of the limit", memoryMax, "134217728", "134217728"},
		value{"update of swap", swapMax, "268435456", "134217728"})
	e.Must("update", "--memory", "96m", "--memory-swap", "96m", name)
	g.expect(t,
		value{"update to less", memoryMax, "100663296", "100663296"},
		value{"update to no swap", swapMax, "100663296", "0"})
	e.Must("update", "--memory-swap", "-1", name)
	g.expect(t, value{"update to all swap", swapMax, "9223372036854771712", "max"})
	_, g = run(t, e, "--memory", "64m")
	g.expect(t, value{"as much swap as memory", swapMax, "134217728", "67108864"})
	_, g = run(t, e)
	g.expect(t, value{"none", memoryMax, "9223372036854771712", "max"})
	if g.v2 {
		return
	}
	_, g = run(t, e, "--memory-swappiness", "7")
	g.expect(t, value{"swappiness", swappiness, "7", ""})
}

func limitProcessor(t *testing.T, e *box) {
	name, g := run(t, e, "--cpus", "0.5", "--cpu-shares", "2048", "--cpuset-cpus", "0", "--cpuset-mems", "0")
	g.expect(t,
		value{"quota", cpuQuota, "50000", "50000 100000"},
		value{"period", cpuPeriod, "100000", ""},
		value{"shares", cpuWeight, "2048", weight(2048)},
		value{"cpuset", cpus, "0", "0"},
		value{"memory nodes", mems, "0", "0"})
	e.sub(t, "cpuset holds", func(t *testing.T, e *box) {
		if got := e.Must("exec", name, "grep", "Cpus_allowed_list", "/proc/self/status"); !strings.HasSuffix(got, "\t0") {
			t.Errorf("the container may run on %q", got)
		}
	})
	e.sub(t, "quota holds", func(t *testing.T, e *box) {
		// Less than a busy machine would leave to it in any case.
		name, g := run(t, e, "--cpus", "0.05")
		before := number(t, g.counter(cpuStat, "nr_throttled"))
		e.Must("exec", "-d", name, "sh", "-c", "while :; do :; done")
		engine.Eventually(t, "it is held back", func() bool { return number(t, g.counter(cpuStat, "nr_throttled")) > before+2 })
	})
	e.Must("update", "--cpus", "1.5", "--cpu-shares", "512", "--cpuset-cpus", "0-1", name)
	g.expect(t,
		value{"update of the quota", cpuQuota, "150000", "150000 100000"},
		value{"update of shares", cpuWeight, "512", weight(512)},
		value{"update of cpuset", cpus, "0-1", "0-1"})
	_, g = run(t, e, "--cpu-period", "20000", "--cpu-quota", "10000")
	g.expect(t, value{"own period", cpuQuota, "10000", "10000 20000"})
}

// weight is what version 2 has for shares, of which 1024 is the usual: runc's
// curve, on which 1024 is 100.
func weight(shares int) string {
	return strconv.Itoa(map[int]int{512: 59, 2048: 174}[shares])
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Error(err)
	}
	return n
}

func limitProcesses(t *testing.T, e *box) {
	name, g := run(t, e, "--pids-limit", "12")
	g.expect(t, value{"limit", pidsMax, "12", "12"})
	e.sub(t, "limit holds", func(t *testing.T, e *box) {
		r := e.Hoy("exec", name, "sh", "-c", "for i in $(seq 20); do sleep 30 >/dev/null 2>&1 & done; echo all")
		if strings.Contains(r.Out, "all") || !strings.Contains(r.Err, "fork") {
			t.Errorf("twenty processes in a group of twelve: %+v", r)
		}
	})
	e.Must("update", "--pids-limit", "40", name)
	g.expect(t, value{"update", pidsMax, "40", "40"})
	e.Must("update", "--pids-limit", "-1", name)
	g.expect(t, value{"update to none", pidsMax, "max", "max"})
}

func limitIO(t *testing.T, e *box) {
	path, numbers := disk(t)
	const rate = 1 << 20
	name, g := run(t, e, "--device-read-bps", path+":1mb", "--device-write-iops", path+":500")
	g.expect(t, value{"read rate", readBps, fmt.Sprintf("%s %d", numbers, rate), fmt.Sprintf("%s rbps=%d wbps=max riops=max wiops=500", numbers, rate)})
	e.sub(t, "read rate holds", func(t *testing.T, e *box) {
		// Below the page cache, or the disk is not asked.
		e.Must("exec", name, "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=2", "conv=fsync")
		start := time.Now()
		r := e.Hoy("exec", name, "dd", "if=/file", "of=/dev/null", "bs=64k", "iflag=direct")
		if r.Code != 0 {
			t.Skipf("the root file system is not read from a disk directly: %s", r.Err)
		}
		if took := time.Since(start); took < 1500*time.Millisecond {
			t.Errorf("2 MB at 1 MB/s took %v", took)
		}
	})
	for _, f := range []file{{"blkio/blkio.bfq.weight", "io.bfq.weight"}, {"blkio/blkio.weight", "io.weight"}} {
		if _, err := os.Stat(g.path(f)); err != nil {
			continue
		}
		_, g := run(t, e, "--blkio-weight", "300")
		text := "default 300"
		if f.v2 == "io.weight" {
			text = "default 2930" // 10 to 1000 becomes 1 to 10000
		}
		g.expect(t, value{"weight", f, "300", text})
		break
	}
}
