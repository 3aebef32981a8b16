package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// devices are a program of the kernel's virtual machine on version 2, a list on version 1.
func devices(t *testing.T, e *box) {
	path, numbers := openable(t)
	major, minor, _ := strings.Cut(numbers, ":")
	name, _ := run(t, e)
	node := "mknod /node b " + major + " " + minor
	read := "dd if=/node of=/dev/null bs=512 count=1"
	for _, c := range []struct{ what, script, refusal string }{
		{"the usual ones can be used", "head -c 9 /dev/zero >/dev/null && echo x >/dev/null && head -c 9 /dev/urandom", ""},
		{"a node can be made", node, ""},
		{"and not opened", read, "not permitted"},
		{"nor written", "dd if=/dev/null of=/node bs=512 count=1 conv=notrunc", "not permitted"},
		{"nor another character device", "mknod /mem c 1 1 && head -c 1 /mem", "not permitted"},
	} {
		e.sub(t, c.what, func(t *testing.T, e *box) { attempt(t, e, name, c.script, c.refusal) })
	}
	e.Must("update", "--memory", "100m", "--memory-swap", "200m", name)
	e.sub(t, "an update opens nothing", func(t *testing.T, e *box) { attempt(t, e, name, read, "not permitted") })

	name, _ = run(t, e, "--device", path+":/dev/mine:r")
	e.sub(t, "a given one can be read", func(t *testing.T, e *box) { attempt(t, e, name, "dd if=/dev/mine of=/dev/null bs=512 count=1", "") })
	e.sub(t, "and not written where read was given", func(t *testing.T, e *box) {
		attempt(t, e, name, "dd if=/dev/null of=/dev/mine bs=512 count=1 conv=notrunc", "not permitted")
	})
	name, _ = run(t, e, "--device-cgroup-rule", "b "+major+":* r")
	e.sub(t, "a rule opens", func(t *testing.T, e *box) { attempt(t, e, name, node+" && "+read, "") })
	name, _ = run(t, e, "--privileged")
	e.sub(t, "privileged opens all", func(t *testing.T, e *box) {
		attempt(t, e, name, node+" && "+read+" && mknod /mem c 1 3 && head -c 1 /mem", "")
	})
}

// attempt runs a script in a container; it must succeed, or be refused with the text.
func attempt(t *testing.T, e *box, name, script, refusal string) {
	t.Helper()
	r := e.Hoy("exec", name, "sh", "-c", script)
	if refusal == "" && r.Code != 0 || refusal != "" && (r.Code == 0 || !strings.Contains(r.Err, refusal)) {
		t.Errorf("%s: exit %d: %s", script, r.Code, r.Err)
	}
}

var (
	// On a hybrid machine the version 2 tree beside version 1 has the freezer.
	frozen = file{"unified/cgroup.freeze", "cgroup.freeze"}
	usage  = file{"cpuacct/cpuacct.usage", ""}
)

func pause(t *testing.T, e *box) {
	name, g := run(t, e)
	e.Must("exec", "-d", name, "sh", "-c", "while :; do :; done")
	e.Must("pause", name)
	g.expect(t, value{"frozen", frozen, "1", "1"})
	e.sub(t, "nothing runs", func(t *testing.T, e *box) {
		g.t = t
		count := func() string {
			if g.v2 {
				return g.counter(cpuStat, "usage_usec")
			}
			return g.read(usage)
		}
		before := count()
		e.Must("ps", "-q") // some time, and the daemon still answers
		if after := count(); after != before {
			t.Errorf("the processor's time went from %s to %s", before, after)
		}
	})
	e.sub(t, "exec is refused", func(t *testing.T, e *box) {
		if r := e.Hoy("exec", name, "true"); r.Code == 0 || !strings.Contains(r.Err, "paused") {
			t.Errorf("%+v", r)
		}
	})
	e.sub(t, "state", func(t *testing.T, e *box) {
		if s := inspect(e, name).State; !s.Paused || s.Status != "paused" {
			t.Errorf("%+v", s)
		}
	})
	e.Must("update", "--pids-limit", "50", name)
	g.expect(t, value{"still frozen after an update", frozen, "1", "1"})
	e.Must("unpause", name)
	g.expect(t, value{"thawed", frozen, "0", "0"})
	e.Must("pause", name)
	e.sub(t, "a paused one can be removed", func(t *testing.T, e *box) { e.Must("rm", "-f", name) })
}

func stats(t *testing.T, e *box) {
	name, _ := run(t, e, "--memory", "64m", "--pids-limit", "30")
	e.Must("exec", name, "sh", "-c", "dd if=/dev/zero of=/file bs=1M count=4 conv=fsync; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done")
	var s struct{ MemUsage, PIDs, CPUPerc, BlockIO string }
	if err := json.Unmarshal([]byte(e.Must("stats", "--no-stream", "--format", "json", name)), &s); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		ok   bool
	}{
		{"memory", strings.HasSuffix(s.MemUsage, " / 64MiB") && !strings.HasPrefix(s.MemUsage, "0B")}, {"processes", s.PIDs == "1"},
		{"processor", strings.HasSuffix(s.CPUPerc, "%")}, {"io", strings.Contains(s.BlockIO, " / ") && !strings.HasSuffix(s.BlockIO, "/ 0B")},
	} {
		e.sub(t, c.what, func(t *testing.T, e *box) {
			if !c.ok {
				t.Errorf("%+v", s)
			}
		})
	}
}

func oom(t *testing.T, e *box) {
	name := engine.Unique("oom")
	since := e.Must("info", "--format", "{{.SystemTime}}")
	e.Must("create", "--name", name, "--network", "none", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "x=a; while :; do x=$x$x; done")
	t.Cleanup(func() { e.Must("rm", "-f", name) })
	e.Must("start", name)
	code := e.Must("wait", name)
	e.sub(t, "exit code", func(t *testing.T, e *box) {
		if code != "137" {
			t.Error(code)
		}
	})
	e.sub(t, "state", func(t *testing.T, e *box) {
		if s := inspect(e, name).State; !s.OOMKilled || s.ExitCode != 137 {
			t.Errorf("%+v", s)
		}
	})
	e.sub(t, "event", func(t *testing.T, e *box) {
		out := e.Must("events", "--since", since, "--until", e.Must("info", "--format", "{{.SystemTime}}"), "--filter", "container="+name, "--format", "{{.Action}}")
		if !strings.Contains(out, "oom\n") {
			t.Errorf("events: %q", out)
		}
	})
	e.sub(t, "a process other than the first", func(t *testing.T, e *box) {
		name, _ := run(t, e, "--memory", "16m", "--memory-swap", "16m")
		if r := e.Hoy("exec", name, "sh", "-c", "x=a; while :; do x=$x$x; done"); r.Code != 137 {
			t.Errorf("exec: %+v", r)
		}
		if s := inspect(e, name).State; !s.Running {
			t.Errorf("%+v", s)
		}
	})
}

// swap fills more memory than the container may have, and less than it may have with swap.
func swap(t *testing.T, e *box) {
	list, err := os.ReadFile("/proc/swaps")
	if err != nil || strings.Count(string(list), "\n") < 2 {
		t.Skip("this machine has no swap")
	}
	name, _ := run(t, e, "--memory", "24m", "--memory-swap", "64m", "--shm-size", "64m")
	e.sub(t, "holds what memory does not", func(t *testing.T, e *box) {
		attempt(t, e, name, "dd if=/dev/zero of=/dev/shm/f bs=1M count=40", "")
	})
	name, _ = run(t, e, "--memory", "24m", "--memory-swap", "24m", "--shm-size", "64m")
	e.sub(t, "can be forbidden", func(t *testing.T, e *box) {
		if r := e.Hoy("exec", name, "dd", "if=/dev/zero", "of=/dev/shm/f", "bs=1M", "count=40"); r.Code != 137 {
			t.Errorf("%+v", r)
		}
	})
}

// kill ends what a container started outside its own process namespace.
func kill(t *testing.T, e *box) {
	name, g := run(t, e, "--pid", "host")
	e.Must("exec", "-d", name, "sh", "-c", "for i in 1 2 3; do sleep 2000 & done; sleep 2000")
	engine.Eventually(t, "five processes", func() bool { return len(strings.Fields(g.read(procs))) >= 5 })
	pids := strings.Fields(g.read(procs))
	dir := filepath.Dir(g.path(procs))
	e.Must("rm", "-f", name)
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !strings.Contains(string(b), ") Z ") {
			t.Errorf("process %s lives on: %s", pid, b)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
}

func execs(t *testing.T, e *box) {
	name, g := run(t, e)
	want, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", inspect(e, name).State.Pid))
	if err != nil {
		t.Fatal(err)
	}
	e.Must("exec", "-d", name, "sleep", "500")
	pids := strings.Fields(g.read(procs))
	if len(pids) != 2 {
		t.Fatalf("processes in the group: %q", pids)
	}
	got, err := os.ReadFile("/proc/" + pids[1] + "/cgroup")
	if err != nil || string(got) != string(want) {
		t.Errorf("the command is in\n%s%v\nthe container in\n%s", got, err, want)
	}
}

// view is what a container sees of its group.
func view(t *testing.T, e *box) {
	for _, c := range []struct {
		what, mode string
		path       func(*group) string
	}{
		{"private", "private", func(*group) string { return "/" }},
		{"host", "host", func(g *group) string { return g.paths[controller(g)] }},
	} {
		name, g := run(t, e, "--cgroupns", c.mode)
		e.sub(t, c.what, func(t *testing.T, e *box) {
			out := e.Must("exec", name, "cat", "/proc/self/cgroup")
			if want := ":" + controller(g) + ":" + c.path(g); !strings.Contains(out+"\n", want+"\n") {
				t.Errorf("no %q in\n%s", want, out)
			}
			attempt(t, e, name, "cat "+inside(g, c.mode)+"pids.max", "")
			attempt(t, e, name, "echo 5 >"+inside(g, c.mode)+"pids.max", "Read-only")
		})
	}
	name, g := run(t, e, "--privileged")
	e.sub(t, "privileged may write", func(t *testing.T, e *box) {
		own := inside(g, string(inspect(e, name).HostConfig.CgroupnsMode))
		script := "mkdir " + own + "below; echo 55 >" + own + "below/pids.max"
		if g.v2 {
			// The root of a namespace is not its own to limit, and a group with
			// processes gives no controllers to those below.
			script = "mkdir " + own + "first; for p in $(cat " + own + "cgroup.procs); do echo $p >" + own + "first/cgroup.procs 2>/dev/null; done; " +
				"echo +pids >" + own + "cgroup.subtree_control; " + script
		}
		attempt(t, e, name, script, "")
		limits, err := os.ReadFile(filepath.Join(filepath.Dir(g.path(pidsMax)), "below/pids.max"))
		if got := strings.TrimSpace(string(limits)); got != "55" {
			t.Errorf("below/pids.max is %q, %v", got, err)
		}
	})
	e.sub(t, "default", func(t *testing.T, e *box) {
		name, g := run(t, e)
		mode, want := string(inspect(e, name).HostConfig.CgroupnsMode), "host"
		if g.v2 {
			want = "private"
		}
		if mode != want {
			t.Errorf("the namespace is %q, want %q", mode, want)
		}
		says(t, "%s", mode)
	})
}

func controller(g *group) string {
	if g.v2 {
		return ""
	}
	return "pids"
}

// inside is the folder of a container's own group as the container sees it. What
// a container of version 1 sees begins at its group in any case.
func inside(g *group, mode string) string {
	switch {
	case !g.v2:
		return tree + "/pids/"
	case mode == "host":
		return tree + g.paths[""] + "/"
	default:
		return tree + "/"
	}
}

// nested makes groups below a container's own, from inside; they must go with it.
func nested(t *testing.T, e *box) {
	name, g := run(t, e, "--privileged", "--cgroupns", "private")
	below := inside(g, "private") + "below"
	attempt(t, e, name, "mkdir -p "+below+"/deeper; sleep 2000 >/dev/null 2>&1 & echo $! >"+below+"/deeper/cgroup.procs", "")
	dir := filepath.Dir(g.path(procs))
	if _, err := os.Stat(dir + "/below/deeper"); err != nil {
		t.Fatal(err)
	}
	e.sub(t, "processes are listed", func(t *testing.T, e *box) {
		if out := e.Must("top", name); strings.Count(out, "sleep") != 2 {
			t.Errorf("top:\n%s", out)
		}
	})
	e.sub(t, "pause reaches them", func(t *testing.T, e *box) {
		e.Must("pause", name)
		e.Must("unpause", name)
	})
	e.sub(t, "removed with the container", func(t *testing.T, e *box) {
		e.Must("rm", "-f", name)
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	})
}

// parent puts a container below another group than the engine's.
func parent(t *testing.T, e *box) {
	if *driver != "cgroupfs" {
		t.Skip("with systemd a parent is a slice")
	}
	top := "/" + e.Name + "-parent"
	name, g := run(t, e, "--cgroup-parent", top+"/middle", "--memory", "64m", "--pids-limit", "20")
	if got := g.paths[controller(g)]; !strings.HasPrefix(got, top+"/middle/") {
		t.Errorf("the group is %s", got)
	}
	g.expect(t, value{"limits reach down", memoryMax, "67108864", "67108864"}, value{"all of them", pidsMax, "20", "20"})
	e.sub(t, "is not left behind", func(t *testing.T, e *box) {
		dir := filepath.Dir(g.path(procs))
		e.Must("rm", "-f", name)
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
		if _, err := os.Stat(filepath.Dir(filepath.Dir(dir))); err == nil {
			t.Errorf("the parent %s is still there", filepath.Dir(filepath.Dir(dir)))
		}
	})
}

// restart kills the daemon: groups and what they count go on.
func restart(t *testing.T, e *box) {
	name, g := run(t, e, "--memory", "64m", "--pids-limit", "21")
	stopped, _ := run(t, e)
	e.Must("pause", stopped)
	e.Kill()
	e.Up()
	g.expect(t, value{"limits stay", pidsMax, "21", "21"})
	e.sub(t, "limits can be changed", func(t *testing.T, e *box) {
		g.t = t
		e.Must("update", "--pids-limit", "22", name)
		if got := g.read(pidsMax); got != "22" {
			t.Error(got)
		}
	})
	e.sub(t, "paused stays paused", func(t *testing.T, e *box) {
		if s := inspect(e, stopped).State; !s.Paused {
			t.Errorf("%+v", s)
		}
		e.Must("unpause", stopped)
	})
	e.sub(t, "oom is still seen", func(t *testing.T, e *box) {
		e.Must("update", "--memory", "16m", "--memory-swap", "16m", name)
		if r := e.Hoy("exec", name, "sh", "-c", "x=a; while :; do x=$x$x; done"); r.Code != 137 {
			t.Errorf("%+v", r)
		}
	})
	if *driver == "cgroupfs" { // the check knows the groups' names there
		e.Check()
	}
}
