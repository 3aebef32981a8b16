// Package probes has the engine make health checks as fast as it can, and looks
// whether it holds more afterwards.
package probes

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

var update = flag.Bool("update", false, "write the figures to docs/performance.md")

// long takes the place of short where HOY_LONG is set.
func long(short, long int) int {
	if os.Getenv("HOY_LONG") != "" {
		return long
	}
	return short
}

// held is what a process of the engine has.
type held struct{ rss, pss, files, threads, goroutines, zombies int }

func (h held) row() string {
	goroutines := "–"
	if h.goroutines > 0 {
		goroutines = strconv.Itoa(h.goroutines)
	}
	return fmt.Sprintf("%.1f MiB | %.1f MiB | %d | %d | %s | %d", float64(h.rss)/1024, float64(h.pss)/1024, h.files, h.threads, goroutines, h.zombies)
}

func hold(t *testing.T, pid int) (h held) {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	number := func(text, key string) int {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == key {
				n, _ := strconv.Atoi(f[1])
				return n
			}
		}
		return 0
	}
	status := read("status")
	h.rss, h.threads = number(status, "VmRSS:"), number(status, "Threads:")
	h.pss = number(read("smaps_rollup"), "Pss:")
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	h.files = len(files)
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range children {
		list, _ := os.ReadFile(path)
		for _, child := range strings.Fields(string(list)) {
			if stat, err := os.ReadFile("/proc/" + child + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
				h.zombies++
			}
		}
	}
	return h
}

// both is what the daemon and the monitor hold.
type both struct{ daemon, monitor held }

// least is what is held in any case, beside the probes that are under way.
func (h held) least(o held) held {
	return held{min(h.rss, o.rss), min(h.pss, o.pss), min(h.files, o.files), min(h.threads, o.threads),
		min(h.goroutines, o.goroutines), min(h.zombies, o.zombies)}
}

// look takes the least of some looks while probes go on.
func look(t *testing.T, e *engine.Engine) (b both) {
	t.Helper()
	pid, err := os.ReadFile(e.Dir + "/run/monitor.pid")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range 20 {
		<-tick.C
		now := both{hold(t, e.Pid()), hold(t, n)}
		var info struct{ NGoroutines int }
		if err := json.Unmarshal([]byte(e.Must("info", "--format", "{{json .}}")), &info); err != nil {
			t.Fatal(err)
		}
		now.daemon.goroutines = info.NGoroutines
		if i == 0 {
			b = now
		}
		b.daemon, b.monitor = b.daemon.least(now.daemon), b.monitor.least(now.monitor)
	}
	return b
}

// flat fails the test where a process holds more than before. Memory has the
// slack of a garbage collector, the rest that of what is under way.
func flat(t *testing.T, who string, before, after held) {
	t.Helper()
	if after.pss > before.pss+8<<10 || after.files > before.files+100 || after.threads > before.threads+12 ||
		after.goroutines > before.goroutines+6 || after.zombies > before.zombies+1 {
		t.Errorf("%s holds more than before:\n%s\n%s", who, before.row(), after.row())
	}
}

// count waits until f, which counts, has come to n, and says how long it took.
func count(t *testing.T, n int, f func() int) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last, seen := -1, begun
	for {
		<-tick.C
		now := f()
		if now >= n {
			return time.Since(begun)
		}
		if now != last {
			last, seen = now, time.Now()
		}
		if time.Since(seen) > 30*time.Second {
			t.Fatalf("nothing is probed any more after %d of %d", now, n)
		}
	}
}

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "listener")
	cmd := exec.Command("go", "build", "-o", bin, "hoy/test/e2e/listener")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// boxes is how many containers of each kind are probed.
const boxes = 4

// probed is the interval: the shortest that there is.
const probed = "1ms"

type round struct {
	name          string
	n             int
	first, after  both
	before        both
	perSecond     float64
	parallelBoxes int
}

// native probes by TCP and HTTP, some of each, n times in all.
func native(t *testing.T, e *engine.Engine, n int) round {
	bin := build(t)
	for i := range 2 * boxes {
		flags := []string{"--health-tcp", "80"}
		if i%2 == 1 {
			flags = []string{"--health-http", "http://:80/"}
		}
		name := fmt.Sprintf("n%d-box", i)
		args := append([]string{"create", "--name", name, "--health-interval", probed, "--health-timeout", "20s"}, flags...)
		e.Must(append(args, "busybox", "/listener")...)
		e.Must("cp", bin, name+":/listener")
		e.Must("start", name)
	}
	addresses := strings.Fields(e.Must("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "n0-box", "n1-box", "n2-box", "n3-box", "n4-box", "n5-box", "n6-box", "n7-box"))
	return probe(t, e, "native: TCP and HTTP", n, func() (all int) {
		for _, a := range addresses {
			n, _ := strconv.Atoi(engine.Get("http://" + a + ":81/"))
			all += n
		}
		return all
	}, "n")
}

// commands probes by a command in the container, n times in all.
func commands(t *testing.T, e *engine.Engine, n int) round {
	for i := range 2 * boxes {
		e.Must("run", "-d", "--name", fmt.Sprintf("c%d-box", i), "--health-interval", probed, "--health-timeout", "20s",
			"--health-cmd", "echo -n x >> /count", "busybox", "sleep", "1000000")
	}
	return probe(t, e, "by a command", n, func() (all int) {
		for i := range 2 * boxes {
			// From the machine's side: an exec more would be in the figures.
			size, _ := strconv.Atoi(strings.TrimSpace(inside(t, e, fmt.Sprintf("c%d-box", i), "count")))
			all += size
		}
		return all
	}, "c")
}

var roots = map[string]string{}

// inside is the size of a file of a container that runs.
func inside(t *testing.T, e *engine.Engine, name, file string) string {
	t.Helper()
	if roots[name] == "" {
		roots[name] = "/proc/" + e.Must("inspect", "-f", "{{.State.Pid}}", name) + "/root/"
	}
	fi, err := os.Stat(roots[name] + file)
	if err != nil {
		return "0"
	}
	return strconv.FormatInt(fi.Size(), 10)
}

// probe waits for a tenth of the probes, in which all pools fill, and then for the rest.
func probe(t *testing.T, e *engine.Engine, name string, n int, counted func() int, kind string) round {
	t.Helper()
	var list []string
	for i := range 2 * boxes {
		list = append(list, fmt.Sprintf("%s%d-box", kind, i))
	}
	r := round{name: name, n: n, parallelBoxes: len(list)}
	begun := counted()
	r.first = look(t, e)
	count(t, begun+n/10, counted)
	r.before = look(t, e)
	from := counted()
	took := count(t, begun+n, counted)
	r.perSecond = float64(counted()-from) / took.Seconds()
	r.after = look(t, e)
	for _, box := range list {
		if got := e.Must("inspect", "-f", "{{.State.Health.Status}} {{.State.Health.FailingStreak}} {{len .State.Health.Log}}", box); got != "healthy 0 5" {
			t.Errorf("%s is %q", box, got)
		}
	}
	r.n = counted() - begun
	e.Must(append([]string{"rm", "-f"}, list...)...)
	t.Logf("%s: %d, %.0f a second", name, r.n, r.perSecond)
	flat(t, "the daemon", r.before.daemon, r.after.daemon)
	flat(t, "the monitor", r.before.monitor, r.after.monitor)
	return r
}

func TestProbesLeaveNothing(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	rounds := []round{native(t, e, long(4000, 1_000_000)), commands(t, e, long(200, 20_000))}
	text := "# What stays flat\n\nMade by `make probes`; do not edit. Figures of " + time.Now().Format("2006-01-02") + ".\n\n" +
		"Health checks with an interval of 1 ms, made by the engine as any other, in several containers at a time; the listeners in the\n" +
		"containers, and a file that the command writes to, count them. A look is the least of twenty in two seconds, while the probes go on:\n" +
		"at first, after a tenth of the probes (buffers and pools are filled by then), and after the last.\n\n" +
		"| probes | number | containers | a second | process | when | RSS | PSS | files | threads | goroutines | zombies |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
	for _, r := range rounds {
		for _, seen := range []struct {
			when string
			b    both
		}{{"at first", r.first}, {"after a tenth", r.before}, {"after all", r.after}} {
			head := fmt.Sprintf("| %s | %d | %d | %.0f ", r.name, r.n, r.parallelBoxes, r.perSecond)
			text += head + "| hoyd | " + seen.when + " | " + seen.b.daemon.row() + " |\n" + head + "| monitor | " + seen.when + " | " + seen.b.monitor.row() + " |\n"
		}
	}
	t.Log("\n" + text)
	if *update {
		if err := os.WriteFile(filepath.Join("..", "..", "..", "docs", "performance.md"), []byte(text), 0o644); err != nil { //nolint:forbidigo // a report, made again by the next run
			t.Fatal(err)
		}
	}
}
