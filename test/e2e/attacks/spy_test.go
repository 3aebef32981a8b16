package attacks

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// TestAnExecShowsNothingOfTheHost has the container look into every process
// that is started in it, from its first moment.
func TestAnExecShowsNothingOfTheHost(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "spy", "busybox", "/bin/probe", "spy")
	engine.Eventually(t, "the spy is ready", func() bool { return strings.Contains(e.Must("logs", "spy"), "ready") })
	for range 40 {
		e.Must("exec", "spy", "/bin/true")
	}
	out := e.Must("logs", "spy")
	if !strings.Contains(out, "seen") {
		t.Errorf("the spy saw no process:\n%s", out)
	}
	kinds := map[string]string{}
	for line := range strings.Lines(out) {
		if what, detail, ok := strings.Cut(strings.TrimPrefix(line, "LEAK "), " of "); ok && strings.HasPrefix(line, "LEAK") {
			kinds[what] = detail
		}
	}
	if len(kinds) > 0 {
		t.Errorf("the container saw of the engine's own process: %v", kinds)
	}
	alive(t, e)
}

// TestAStoppedExecHoldsNobodyUp has the container stop the process of an exec
// before it is the command.
func TestAStoppedExecHoldsNobodyUp(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "stopper", "busybox", "/bin/probe", "stop")
	engine.Eventually(t, "the attacker is ready", func() bool { return strings.Contains(e.Must("logs", "stopper"), "ready") })
	var execs sync.WaitGroup
	for range 5 {
		execs.Go(func() { e.Hoy("exec", "-d", "stopper", "true") })
	}
	begin := time.Now()
	alive(t, e)
	e.Must("exec", e.Must("run", "-d", "busybox", "sleep", "1000"), "true")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("other containers took %v", took)
	}
	e.Must("rm", "-f", "stopper")
	execs.Wait() // they end with the container
}

// output is a named pipe for the process's own output, in a directory that is nowhere.
var output = regexp.MustCompile(`^/[0-9a-f]{64}(\.[0-9a-f]{64})?\.[12]$`)

// TestNothingOfTheEngineIsOpen lists what a process inherits.
func TestNothingOfTheEngineIsOpen(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "box", "busybox", "sleep", "1000")
	for _, args := range [][]string{{"run", "--rm", "busybox"}, {"exec", "box"}, {"run", "--rm", "--init", "busybox"}} {
		out := e.Must(append(args, "sh", "-c", "for f in /proc/$$/fd/*; do readlink $f; done; true")...)
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "pipe:") && !output.MatchString(line) && line != "/dev/null" && !strings.HasPrefix(line, "/proc/") {
				t.Errorf("%v: %q is open", args, line)
			}
		}
	}
	for n := 3; n < 20; n++ {
		dir := "/proc/self/fd/" + string(rune('0'+n%10))
		r := e.Hoy("run", "--rm", "-w", dir, "busybox", "ls")
		if r.Code == 0 {
			t.Errorf("run -w %s: %q", dir, r.Out)
		}
		r = e.Hoy("exec", "-w", dir, "box", "ls")
		if r.Code == 0 {
			t.Errorf("exec -w %s: %q", dir, r.Out)
		}
	}
}

// TestTheEnginesProgramCannotBeOverwritten runs the engine's own program from
// the inside, which is all that /proc/self/exe gives, and tries to write to it.
func TestTheEnginesProgramCannotBeOverwritten(t *testing.T) {
	e := start(t)
	before := checksum(t, engine.Bin(t, "hoy-run"))
	r := e.Hoy("run", "--rm", "--entrypoint", "/proc/self/exe", "busybox", "--version")
	t.Logf("run /proc/self/exe: exit %d, %q %q", r.Code, r.Out, r.Err)
	e.Must("run", "-d", "--name", "box", "busybox", "sh", "-c", `while :; do for p in /proc/[0-9]*; do
		[ $p = /proc/1 ] || case $(readlink $p/exe) in *memfd*|*hoy*) echo found; echo x >$p/exe && echo wrote;; esac; done; done 2>/dev/null`)
	for range 20 {
		e.Hoy("exec", "box", "/proc/self/exe")
	}
	e.Must("run", "-d", "--name", "init", "--init", "busybox", "sleep", "1000")
	if r := e.Hoy("exec", "init", "sh", "-c", "echo x >/proc/1/exe"); r.Code == 0 {
		t.Error("the init program was opened for writing")
	}
	if r := e.Hoy("exec", "init", "sh", "-c", "echo x >/sbin/docker-init"); r.Code == 0 {
		t.Error("the init program was opened for writing")
	}
	if out := e.Must("logs", "box"); strings.Contains(out, "wrote") {
		t.Error("the engine's program was opened for writing")
	}
	if after := checksum(t, engine.Bin(t, "hoy-run")); after != before {
		t.Error("hoy-run is not what it was")
	}
	alive(t, e)
}
