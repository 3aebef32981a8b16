package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// kill ends the monitor as a crash would, and returns a connection to the next.
func kill(t *testing.T, c *monitor.Client, dir string) *monitor.Client {
	t.Helper()
	old := c.Pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	_ = c.Close()
	next := redial(t, dir)
	if next.Pid() == old {
		t.Fatal("the monitor was not killed")
	}
	return next
}

// endOf waits for an exit by List and Exits: it may have happened between two connections.
func endOf(t *testing.T, c *monitor.Client, pid monitor.ProcessID) monitor.Exit {
	t.Helper()
	list, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.ID == pid && p.Exit != nil {
			return *p.Exit
		}
	}
	return exitOf(t, c, pid)
}

// TestAKilledMonitorCostsNoExit: what ends before, while and after is known by its code.
func TestAKilledMonitorCostsNoExit(t *testing.T) {
	c, dir := dial(t)
	const n = 12
	for i := range n {
		start(t, c, request(fmt.Sprint("e", i), monitor.Stdio{}, "sh", "-c", fmt.Sprintf("sleep %s; exit %d", strconv.FormatFloat(0.02*float64(i), 'f', 2, 64), 20+i)))
	}
	signalled := start(t, c, request("s", monitor.Stdio{}, "sh", "-c", "exec sleep 100"))
	for range 3 {
		c = kill(t, c, dir)
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(signalled.Pid, syscall.SIGTERM)
	for i := range n {
		e := endOf(t, c, id(fmt.Sprint("e", i)))
		if e.Code != 20+i || e.Unknown != "" {
			t.Errorf("e%d: %+v", i, e)
		}
	}
	if e := endOf(t, c, id("s")); e.Code != 128+15 || e.Signal != 15 {
		t.Errorf("%+v", e)
	}
	for _, dirName := range []string{"running", "exits"} {
		entries, _ := os.ReadDir(filepath.Join(dir, dirName))
		if want := map[string]int{"running": 0, "exits": n + 1}[dirName]; len(entries) != want {
			t.Errorf("%s: %d files, want %d", dirName, len(entries), want)
		}
	}
	if dead := zombies(t); len(dead) > 0 {
		t.Errorf("not reaped: %v", dead)
	}
}

// zombies of guardians and monitors.
func zombies(t *testing.T) (found []string) {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); f[0] == "Z" && strings.HasSuffix(name, "(sh") && f[1] != "1" {
			found = append(found, string(b))
		}
	}
	return found
}

// TestAKilledMonitorCostsNoStream: inputs stay open, terminals stay terminals.
func TestAKilledMonitorCostsNoStream(t *testing.T) {
	c, dir := dial(t)
	stdio := map[string]monitor.Stdio{"input": {OpenStdin: true}, "tty": {Terminal: true, OpenStdin: true}}
	for name, cfg := range stdio {
		req := request(name, cfg, "sh", "-c", "trap '' HUP; read a; echo got $a; read b; echo got $b; exit 5")
		req.Log = &log.Config{Path: filepath.Join(dir, name+".log")}
		start(t, c, req)
	}
	attach := func(name, text, want string) {
		t.Helper()
		conn, err := c.Attach(t.Context(), monitor.AttachRequest{ID: id(name), Stdin: true, Stdout: true, Stdio: stdio[name]})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		buf := make([]byte, 100)
		for !strings.Contains(got.String(), want) {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("%s: %q, %v", name, got.String(), err)
			}
			got.Write(buf[:n])
		}
	}
	for name := range stdio {
		attach(name, "one\n", "got one")
	}
	c = kill(t, c, dir)
	c = kill(t, c, dir)
	if err := c.Resize(t.Context(), id("tty"), 30, 90); err != nil {
		t.Error(err)
	}
	for name := range stdio {
		attach(name, "two\n", "got two")
		if e := endOf(t, c, id(name)); e.Code != 5 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestInterruptedStartsLeaveNothing kills the monitor in the middle of starts:
// each is either answered or known to the next one, or nothing is left of it.
func TestInterruptedStartsLeaveNothing(t *testing.T) {
	c, dir := dial(t)
	mark := fmt.Sprintf("1000.%d", os.Getpid())
	for round := range 15 {
		const n = 8
		answered := make(chan string, n)
		for i := range n {
			go func() {
				name := fmt.Sprintf("r%dn%d", round, i)
				if _, err := c.Start(t.Context(), request(name, monitor.Stdio{}, "sleep", mark)); err != nil {
					name = ""
				}
				answered <- name
			}()
		}
		time.Sleep(time.Duration(round) * time.Millisecond / 2)
		next := kill(t, c, dir)
		list, err := next.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]bool{}
		for _, p := range list {
			listed[p.ID.Container] = true
		}
		for range n {
			if name := <-answered; name != "" && !listed[name] {
				t.Errorf("%s was answered and is not known", name)
			}
		}
		if run := sleepers(t, mark); run != len(list) {
			t.Errorf("round %d: %d run, %d are known", round, run, len(list))
		}
		for _, p := range list {
			if p.Exit == nil {
				_ = next.Signal(t.Context(), p.ID, syscall.SIGKILL)
				_ = endOf(t, next, p.ID)
			}
			_ = next.Forget(t.Context(), p.ID)
		}
		c = next
	}
}

// sleepers counts the commands that sleep for that long.
func sleepers(t *testing.T, mark string) (n int) {
	t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && string(b) == "sleep\x00"+mark+"\x00" {
			n++
		}
	}
	return n
}
