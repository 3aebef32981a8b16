package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/test/e2e/engine"
)

// absent is the state of a container that there is not.
const absent container.ContainerState = ""

// actor does one thing after another to one container at a time and knows what
// must be true of it: what the last success said or, where the last step was
// cut off, what that step would have led to.
type actor struct {
	id     int
	rnd    *rand.Rand
	n      int
	name   string
	state  container.ContainerState
	cut    bool // the last step got no answer
	intent container.ContainerState
	rename string
}

// chaos is the engine and whether its daemon is being killed.
type chaos struct {
	t       *testing.T
	e       *engine.Engine
	killing atomic.Bool

	// remote is an image in a registry, of a layer that nothing else has.
	remote string

	mu     sync.Mutex
	images map[string]bool
	// writers are containers that log and end, by name; the value says whether the client was told that it runs.
	writers map[string]bool
}

// hoy runs a command; false means that the daemon's death cut it off.
func (c *chaos) hoy(args ...string) bool {
	before := c.killing.Load()
	began := time.Now()
	r := c.e.Hoy(args...)
	switch {
	case r.Code == 0:
		return true
	case before || c.killing.Load():
		if strings.TrimSpace(r.Err) == "" {
			c.t.Errorf("%v: cut off without a word, exit %d", args, r.Code)
		}
		if took := time.Since(began); took > 30*time.Second {
			c.t.Errorf("%v: told of the daemon's death after %v", args, took)
		}
	default:
		c.t.Errorf("%v: exit %d\n%s", args, r.Code, r.Err)
	}
	return false
}

// step goes on to state by a command.
func (a *actor) step(c *chaos, to container.ContainerState, args ...string) bool {
	if c.hoy(args...) {
		a.state = to
		return true
	}
	a.cut, a.intent = true, to
	return false
}

// live goes on until the daemon is killed.
func (a *actor) live(c *chaos) {
	const script = `trap "exit 7" TERM; while :; do sleep 1 & wait; done`
	for ok := true; ok && !c.killing.Load(); {
		switch a.state {
		case absent:
			a.n++
			a.name = fmt.Sprintf("a%d-%d", a.id, a.n)
			verb, to := "create", container.StateCreated
			args := []string{"--name", a.name, "-v", "/anon", "-v", fmt.Sprintf("vol%d:/named", a.id), "-p", "127.0.0.1::80"}
			if a.rnd.IntN(2) == 0 {
				verb, to = "run", container.StateRunning
				args = append(args, "-d")
			}
			ok = a.step(c, to, append(append([]string{verb}, args...), "busybox", "sh", "-c", script)...)
		case container.StateRunning:
			ok = a.running(c)
		case container.StatePaused:
			ok = a.step(c, container.StateRunning, "unpause", a.name)
		default:
			switch a.rnd.IntN(3) {
			case 0:
				ok = a.step(c, absent, "rm", "-v", a.name)
			default:
				ok = a.step(c, container.StateRunning, "start", a.name)
			}
		}
	}
}

func (a *actor) running(c *chaos) bool {
	switch a.rnd.IntN(7) {
	case 0:
		return a.step(c, container.StateExited, "stop", "-t", "1", a.name)
	case 1:
		return a.step(c, absent, "rm", "-f", "-v", a.name)
	case 2:
		return a.step(c, container.StateRunning, "restart", "-t", "1", a.name)
	case 3:
		a.n++
		a.rename = fmt.Sprintf("a%d-%d", a.id, a.n)
		ok := a.step(c, container.StateRunning, "rename", a.name, a.rename)
		if ok {
			a.name, a.rename = a.rename, ""
		}
		return ok
	case 4:
		return a.step(c, container.StateExited, "kill", a.name)
	case 5:
		return a.step(c, container.StatePaused, "pause", a.name)
	default:
		return a.step(c, container.StateRunning, "exec", a.name, "sh", "-c", "echo x > /named/x")
	}
}

// verify compares with what the engine has after the new start, and goes on from there.
func (a *actor) verify(t *testing.T, all map[string]container.InspectResponse) {
	t.Helper()
	found := absent
	names := []string{a.name}
	if a.rename != "" {
		names = append(names, a.rename)
	}
	for _, name := range names {
		if r, ok := all[name]; ok {
			if found != absent {
				t.Errorf("%v are two containers", names)
			}
			found, a.name = r.State.Status, name
		}
	}
	allowed := []container.ContainerState{a.state}
	if a.cut {
		// A removal by force and a restart go by way of a container that does not run.
		allowed = append(allowed, a.intent)
		if a.state == container.StateRunning {
			allowed = append(allowed, container.StateExited)
		}
		if a.state == absent {
			allowed = append(allowed, container.StateCreated)
		}
	}
	if !slices.Contains(allowed, found) {
		t.Errorf("%s is %q, want one of %q", a.name, found, allowed)
	}
	if r, ok := all[a.name]; ok && found == container.StateExited && r.State.ExitCode != 7 && r.State.ExitCode != 137 {
		t.Errorf("%s: exit code %d, want 7 or 137", a.name, r.State.ExitCode)
	}
	a.state, a.cut, a.rename = found, false, ""
}

// write starts containers that log and end.
func (c *chaos) write(round int) {
	for i := 0; !c.killing.Load(); i++ {
		name := fmt.Sprintf("w%d-%d", round, i)
		c.mu.Lock()
		c.writers[name] = false
		c.mu.Unlock()
		if c.hoy("run", "-d", "--name", name, "-p", "127.0.0.1::80/udp", "busybox", "sh", "-c", "i=0; while [ $i -lt 100 ]; do echo line-$i; i=$((i+1)); usleep 5000; done; exit 42") {
			c.mu.Lock()
			c.writers[name] = true
			c.mu.Unlock()
		}
	}
}

// passers runs containers that remove themselves.
func (c *chaos) passers() {
	for !c.killing.Load() {
		c.hoy("run", "--rm", "-v", "/anon", "busybox", "true")
	}
}

// pictures makes images.
func (c *chaos) pictures(round int) {
	for i := 0; !c.killing.Load(); i++ {
		name := fmt.Sprintf("p%d:%d", round, i)
		var ok bool
		if i%2 == 0 {
			ok = c.hoy("import", "--change", fmt.Sprintf("LABEL n=%d-%d", round, i), c.e.Dir+"/busybox.tar", name)
		} else {
			ok = c.hoy("commit", "-m", name, "base", name)
		}
		c.mu.Lock()
		c.images[name] = ok
		c.mu.Unlock()
	}
}

// TestChaos kills the daemon at random moments while everything is being done,
// and compares what clients were told with what is there.
func TestChaos(t *testing.T) {
	rounds := 6
	if os.Getenv("HOY_LONG") != "" {
		rounds = 60
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d rounds", seed, rounds)
	e := engine.Start(t)
	e.Busybox()
	e.Must("create", "--name", "base", "busybox")
	e.Must("run", "-d", "--name", "always", "--restart", "always", "busybox", "sh", "-c", "sleep 1; exit 3")
	e.Must("run", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 5")
	e.Must("run", "--name", "noise", "busybox", "dd", "if=/dev/urandom", "of=/noise", "bs=1M", "count=8")
	remote := engine.Registry(t, t.TempDir()) + "/noise:1"
	e.Must("commit", "noise", remote)
	e.Must("push", remote)
	e.Must("rm", "noise")
	e.Must("rmi", remote)
	c := &chaos{t: t, e: e, remote: remote, images: map[string]bool{}, writers: map[string]bool{}}
	rnd := rand.New(rand.NewPCG(seed, 1))
	var actors []*actor
	for i := range 4 {
		actors = append(actors, &actor{id: i, rnd: rand.New(rand.NewPCG(seed, uint64(i+2)))})
	}
	for round := range rounds {
		c.killing.Store(false)
		var wg sync.WaitGroup
		for _, a := range actors {
			wg.Go(func() { a.live(c) })
		}
		wg.Go(func() { c.write(round) })
		wg.Go(c.passers)
		wg.Go(c.puller)
		wg.Go(func() { c.pictures(round) })
		time.Sleep(time.Duration(200+rnd.IntN(1500)) * time.Millisecond)
		c.killing.Store(true)
		e.Kill()
		wg.Wait()
		e.Up()
		c.verify(actors)
		if t.Failed() {
			return
		}
	}
}

// verify compares everything that clients were told.
func (c *chaos) verify(actors []*actor) {
	t, e := c.t, c.e
	t.Helper()
	for name, told := range c.writers {
		r := e.Hoy("wait", name)
		if r.Code != 0 {
			if told {
				t.Errorf("%s is lost: %s", name, r.Err)
			}
			delete(c.writers, name)
		}
	}
	all := e.Check()
	for _, a := range actors {
		a.verify(t, all)
	}
	for name, told := range c.writers {
		state := all[name].State
		if !told && state.Status == container.StateCreated {
			e.Must("rm", "-v", name)
			continue
		}
		if state.Status != container.StateExited || state.ExitCode != 42 {
			t.Errorf("%s: %s with exit code %d, want 42", name, state.Status, state.ExitCode)
		}
		for i, line := range strings.Split(e.Must("logs", name), "\n") {
			if want := fmt.Sprintf("line-%d", i); line != want {
				t.Errorf("%s: line %d is %q", name, i, line)
				break
			}
			if i == 99 {
				break
			}
		}
		if n := strings.Count(e.Must("logs", name), "line-"); n != 100 {
			t.Errorf("%s: %d lines, want 100", name, n)
		}
		e.Must("rm", "-v", name)
	}
	clear(c.writers)
	for name, told := range c.images {
		r := e.Hoy("image", "inspect", name)
		if told && r.Code != 0 {
			t.Errorf("image %s is lost: %s", name, r.Err)
		}
		if r.Code == 0 {
			if out := e.Must("run", "--rm", "--network", "none", name, "echo", "sound"); out != "sound" {
				t.Errorf("image %s: %q", name, out)
			}
			e.Must("rmi", name)
		}
	}
	clear(c.images)
	c.leftoverVolumes(all)
	c.pull()
	if s := all["always"].State; s.Status != container.StateRunning && s.Status != container.StateRestarting {
		t.Errorf("always is %s", s.Status)
	}
	if s := all["failing"].State; s.Status != container.StateExited && s.Status != container.StateRestarting && s.Status != container.StateRunning || s.Status == container.StateExited && s.ExitCode != 5 {
		t.Errorf("failing is %s, exit code %d", s.Status, s.ExitCode)
	}
}

// puller pulls and removes an image.
func (c *chaos) puller() {
	for !c.killing.Load() {
		if c.hoy("pull", c.remote) && !c.killing.Load() {
			c.hoy("rmi", c.remote)
		}
	}
}

// pull makes the call that was cut off again.
func (c *chaos) pull() {
	c.t.Helper()
	c.e.Must("pull", "-q", c.remote)
	if out := c.e.Must("run", "--rm", "--network", "none", c.remote, "ls", "/noise"); out != "/noise" {
		c.t.Errorf("the pulled image: %q", out)
	}
	c.e.Must("rmi", c.remote)
}

// leftoverVolumes finds anonymous volumes whose container has gone: all were removed with -v.
func (c *chaos) leftoverVolumes(all map[string]container.InspectResponse) {
	c.t.Helper()
	var used []string
	for _, r := range all {
		for _, m := range r.Mounts {
			used = append(used, m.Name)
		}
	}
	for _, name := range strings.Fields(c.e.Must("volume", "ls", "-q")) {
		if len(name) == 64 && !slices.Contains(used, name) {
			c.t.Errorf("volume %s belongs to no container", name)
		}
	}
}
