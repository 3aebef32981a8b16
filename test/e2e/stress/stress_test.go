// Package stress crowds one engine and measures that everything is given back.
package stress

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// usage is what processes of the engine hold.
type usage struct{ daemonFiles, monitorFiles, goroutines int }

// long multiplies the work where HOY_LONG is set.
func long(n int) int {
	if os.Getenv("HOY_LONG") != "" {
		return 10 * n
	}
	return n
}

func monitorPid(t *testing.T, e *engine.Engine) int {
	t.Helper()
	b, err := os.ReadFile(e.Dir + "/run/monitor.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func files(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// measure counts descriptors, and the daemon's goroutines as it tells them.
func measure(t *testing.T, e *engine.Engine) usage {
	t.Helper()
	var info struct{ NGoroutines int }
	if err := json.Unmarshal([]byte(e.Must("info", "--format", "{{json .}}")), &info); err != nil {
		t.Fatal(err)
	}
	return usage{files(t, e.Pid()), files(t, monitorPid(t, e)), info.NGoroutines}
}

// resident is a process's memory in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

// TestNothingLeaks runs, runs in, stops and removes in crowds, and finds the
// engine afterwards holding what it held before.
func TestNothingLeaks(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	// What is made once, and kept for as many as come at a time, is made now.
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() { e.Must("run", "--rm", "-p", "127.0.0.1::80", "busybox", "true") })
	}
	wg.Wait()
	before := measure(t, e)
	t.Run("run --rm", func(t *testing.T) { passing(t, e) })
	t.Run("a hundred containers", func(t *testing.T) { hundred(t, e) })
	e.Check()
	t.Logf("daemon %d KiB, monitor %d KiB", resident(t, e.Pid()), resident(t, monitorPid(t, e)))
	var after usage
	engine.Eventually(t, "descriptors and goroutines are back", func() bool {
		after = measure(t, e)
		const slack = 6 // connections of clients that have just gone, pooled netlink sockets
		return after.daemonFiles <= before.daemonFiles+slack && after.monitorFiles <= before.monitorFiles+slack &&
			after.goroutines <= before.goroutines+2*slack
	})
	t.Logf("before %+v, after %+v", before, after)
}

// passing runs containers that remove themselves, 32 at a time.
func passing(t *testing.T, e *engine.Engine) {
	const crowd = 32
	for _, network := range []string{"bridge", "none"} {
		rounds := long(5)
		began := time.Now()
		for range rounds {
			var wg sync.WaitGroup
			for i := range crowd {
				wg.Go(func() {
					args := []string{"run", "--rm", "--network", network}
					if network == "bridge" {
						args = append(args, "-p", "127.0.0.1::80")
					}
					r := e.Hoy(append(args, "busybox", "sh", "-c", fmt.Sprintf("echo out-%d; exit %d", i, i))...)
					if r.Code != i || r.Out != fmt.Sprintf("out-%d\n", i) {
						t.Errorf("container %d on %s: exit %d, %q, %q", i, network, r.Code, r.Out, r.Err)
					}
				})
			}
			wg.Wait()
		}
		t.Logf("%d run --rm on %s, %d at a time: %v each", crowd*rounds, network, crowd, time.Since(began)/time.Duration(crowd*rounds))
	}
	e.Check()
}

// hundred keeps a hundred containers running, runs commands in them, and removes them at once.
func hundred(t *testing.T, e *engine.Engine) {
	const n = 100
	began := time.Now()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	each := func(what string, count int, do func(i int)) {
		began := time.Now()
		for i := range count {
			slots <- struct{}{}
			wg.Go(func() { defer func() { <-slots }(); do(i) })
		}
		wg.Wait()
		t.Logf("%s: %d in %v", what, count, time.Since(began))
	}
	names := make([]string, n)
	each("run -d", n, func(i int) {
		names[i] = e.Must("run", "-d", "-p", "127.0.0.1::80", "busybox", "sleep", "1000")
	})
	if got := len(e.Check()); got != n {
		t.Errorf("%d containers with names of their own, want %d", got, n)
	}
	each("exec", long(200), func(i int) {
		r := e.Hoy("exec", names[i%n], "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i%100))
		if r.Code != i%100 || r.Out != fmt.Sprintf("%d\n", i) {
			t.Errorf("exec %d: exit %d, %q, %q", i, r.Code, r.Out, r.Err)
		}
	})
	// In four overlapping crowds: who comes second must be told so, or find it gone.
	each("rm -f", 2*n, func(i int) {
		if r := e.Hoy("rm", "-f", names[i%n]); r.Code != 0 && !strings.Contains(r.Err, "already in progress") && !strings.Contains(r.Err, "No such container") {
			t.Errorf("rm -f: exit %d, %s", r.Code, r.Err)
		}
	})
	if left := e.Must("ps", "-aq"); left != "" {
		t.Errorf("left: %s", left)
	}
	t.Logf("a hundred containers came and went in %v", time.Since(began))
}

// TestStartWithManyContainers has a daemon with 200 stopped containers come back, and be the only one.
func TestStartWithManyContainers(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	const n = 200
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range n {
		slots <- struct{}{}
		wg.Go(func() { defer func() { <-slots }(); e.Must("create", "busybox", "true") })
	}
	wg.Wait()
	e.Kill()
	began := time.Now()
	e.Up()
	t.Logf("ready after %v", time.Since(began))
	if got := len(e.Check()); got != n {
		t.Errorf("%d containers, want %d", got, n)
	}
	if r := engine.Run(t, "", engine.Bin(t, "hoyd"), "-H", "unix://"+e.Dir+"/other.sock", "--data-root", e.Dir+"/data",
		"--exec-root", e.Dir+"/other", "--pidfile", e.Dir+"/other.pid", "--bridge", "none"); r.Code == 0 || !strings.Contains(r.Err, "another hoyd") {
		t.Errorf("a second daemon on the same data root: exit %d, %s", r.Code, r.Err)
	}
	if _, err := os.Stat(filepath.Join(e.Dir, "other.pid")); err == nil {
		t.Error("the refused daemon left its pid file")
	}
}
