package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// operation is a call whose steps are broken.
type operation struct {
	name string
	// before and after are commands that surround it.
	before, after [][]string
	call          []string
	// scopes whose steps are broken.
	scopes []scope
	// inspect and want: what is there once the call has succeeded, and was not
	// before: of a call that was refused nothing may be seen.
	inspect []string
	want    string
	// longOnly leaves it out of the short form.
	longOnly bool
}

func operations(port, remote string) []operation {
	const image = "busybox"
	create := []string{"create", "--name", "xx", "-v", "named:/named", "-v", "/anon", "-p", "127.0.0.1:" + port + ":80", image, "sh", "-c",
		"trap 'exit 7' TERM; echo began; while :; do sleep 1 & wait; done"}
	run := append([]string{"run", "-d"}, create[1:]...)
	gone := [][]string{{"rm", "-f", "-v", "xx"}, {"volume", "rm", "-f", "named"}}
	status := []string{"inspect", "--type", "container", "-f", "{{.State.Status}}", "xx"}
	return []operation{
		{name: "create", call: create, after: gone, scopes: []scope{daemon}, inspect: status, want: "created"},
		{name: "start", before: [][]string{create}, call: []string{"start", "xx"}, after: gone, scopes: []scope{daemon, parent}, inspect: status, want: "running"},
		{name: "stop", before: [][]string{run}, call: []string{"stop", "-t", "5", "xx"}, after: gone, scopes: []scope{daemon, parent}, inspect: status, want: "exited"},
		{name: "remove", before: [][]string{create}, call: []string{"rm", "-v", "xx"}, after: gone[1:], scopes: []scope{daemon}, inspect: status},
		{name: "pull", call: []string{"pull", "-q", remote}, after: [][]string{{"run", "--rm", "--network", "none", remote, "ls", "/own"}, {"rmi", remote}},
			scopes: []scope{daemon}, inspect: []string{"image", "inspect", "-f", "there", remote}, want: "there"},
		{name: "commit", before: [][]string{run, {"exec", "xx", "sh", "-c", "echo new >/new"}}, call: []string{"commit", "xx", "made"},
			after:  append([][]string{{"run", "--rm", "--network", "none", "made", "cat", "/new"}, {"rmi", "made"}}, gone...),
			scopes: []scope{daemon}, inspect: []string{"image", "inspect", "-f", "there", "made"}, want: "there"},
		{name: "remove by force", before: [][]string{run}, call: []string{"rm", "-f", "-v", "xx"}, after: gone[1:], scopes: []scope{daemon}, inspect: status, longOnly: true},
		{name: "restart", before: [][]string{run}, call: []string{"restart", "-t", "5", "xx"}, after: gone, scopes: []scope{daemon}, longOnly: true},
		{name: "pause", before: [][]string{run}, call: []string{"pause", "xx"}, after: gone, scopes: []scope{daemon}, inspect: status, want: "paused", longOnly: true},
		{name: "rename", before: [][]string{create}, call: []string{"rename", "xx", "yy"}, after: [][]string{{"rename", "yy", "xx"}, gone[0], gone[1]}, scopes: []scope{daemon},
			inspect: []string{"inspect", "-f", "there", "yy"}, want: "there", longOnly: true},
		{name: "exec", before: [][]string{run}, call: []string{"exec", "xx", "true"}, after: gone, scopes: []scope{daemon, parent}, longOnly: true},
		{name: "disconnect", before: [][]string{run}, call: []string{"network", "disconnect", "bridge", "xx"}, after: gone, scopes: []scope{daemon},
			inspect: []string{"inspect", "-f", "{{len .NetworkSettings.Networks}}", "xx"}, want: "0", longOnly: true},
		{name: "remove image", before: [][]string{{"pull", "-q", remote}}, call: []string{"rmi", remote}, scopes: []scope{daemon},
			inspect: []string{"image", "inspect", "-f", "there", remote}, longOnly: true},
	}
}

// faults is an engine whose steps are broken.
type faults struct {
	t *testing.T
	e *engine.Engine
	s *supervisor
	// slowest answer of ps while a step was late.
	slowest time.Duration
	// swept counts failed removals whose leftovers went with the next start.
	swept int
}

// settle is how long what goes on in the background may take.
const settle = 10 * time.Second

// TestFaults breaks steps one at a time.
func TestFaults(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skipf("the numbers and arguments of the watched system calls are written down for amd64, not for %s", runtime.GOARCH)
	}
	n := uint64(1) // the short form takes the same sample each time
	if long() || os.Getenv("HOY_CHAOS_SEED") != "" {
		n = seed(t)
	}
	t.Logf("HOY_CHAOS_SEED=%d", n)
	rnd := rand.New(rand.NewPCG(n, 0))
	f := &faults{t: t, s: &supervisor{t: t, daemons: map[int]bool{}}}
	f.e = engine.Start(t)
	f.s.dir = f.e.Dir
	f.e.Busybox()
	l := &loop{t: t, e: f.e}
	remote := l.remotes(1)[0]
	// The monitor is to be under supervision as well: it goes with the last daemon.
	f.e.Stop()
	f.e.Launch = f.s.start
	f.e.Up()
	address := engine.FreeAddress(t)
	port := address[strings.LastIndex(address, ":")+1:]
	for _, op := range operations(port, remote) {
		if op.longOnly && !long() {
			continue
		}
		for _, sc := range op.scopes {
			t.Run(op.name+" by the "+string(sc), func(t *testing.T) { f.each(t, op, sc, rnd) })
		}
	}
	t.Logf("while a step was late, ps took %v at most; what %d failed removals left went with the next start", f.slowest.Round(time.Millisecond), f.swept)
}

// each breaks all steps of an operation, or a sample of them.
func (f *faults) each(t *testing.T, op operation, sc scope, rnd *rand.Rand) {
	f.t, f.s.t = t, t
	var steps []step
	for range 2 { // the first may be longer: what is made once, and kept
		steps = f.one(op, sc, 0, fails, step{})
	}
	sample := map[mode]int{fails: 5, crashes: 3, late: 1}
	done := map[mode]int{}
	for _, m := range []mode{fails, crashes, late} {
		stride := 1
		if !long() {
			stride = max(1, len(steps)/sample[m])
		} else if m == late {
			stride = max(1, len(steps)/20)
		}
		for at := 1 + rnd.IntN(stride); at <= len(steps); at += stride {
			st := steps[at-1]
			if m == fails && st.err == 0 || m == crashes && sc == parent {
				continue
			}
			if f.one(op, sc, at, m, st); t.Failed() && !long() {
				return
			}
			done[m]++
		}
	}
	t.Logf("%s has %d steps of the %s; %v", op.name, len(steps), sc, done)
	if testing.Verbose() && long() {
		for i, st := range steps {
			t.Logf("  %d %v", i+1, st)
		}
	}
}

// one does the operation with one step broken, does it again, and compares.
func (f *faults) one(op operation, sc scope, at int, m mode, expected step) []step {
	t, e := f.t, f.e
	t.Helper()
	what := fmt.Sprintf("%s where step %d of the %s (%v) %s", op.name, at, sc, expected, m)
	for _, c := range op.before {
		if r := f.hoy(c...); r.Code != 0 {
			t.Fatalf("%s: before it, %v: %s\n%s", what, c, r.Err, e.Log())
		}
	}
	hit := f.s.arm(sc, at, m)
	answered := make(chan *engine.Result)
	go func() { answered <- f.hoy(op.call...) }()
	if m == late && at > 0 {
		f.measure(what, hit)
	}
	r := <-answered
	crashed := f.crashed(hit, m)
	steps := f.s.disarm()
	if at > 0 && at <= len(steps) {
		what = fmt.Sprintf("%s where step %d of the %s (%v) %s", op.name, at, sc, steps[at-1], m)
	}
	if crashed {
		e.Up()
	}
	if m == late && r.Code != 0 {
		t.Errorf("%s: %s", what, r.Err)
	}
	// Images' records are containerd's: where only the word of their sync is
	// missing, what was written is there.
	unsure := crashed || m == fails && at > 0 && at <= len(steps) && steps[at-1].call == "fdatasync" && strings.HasSuffix(steps[at-1].target, "image/meta.db")
	f.again(op, what, r, unsure)
	for _, c := range op.after {
		if r := f.hoy(c...); r.Code != 0 {
			t.Errorf("%s: after it, %v: %s", what, c, r.Err)
		}
	}
	removal := m == fails && at > 0 && at <= len(steps) && steps[at-1].call == "unlink"
	limit := settle
	if removal {
		limit = settle / 5
	}
	if _, wrong := e.Settle(limit); len(wrong) > 0 {
		// What cannot be removed stays; that the next start sweeps it is asked below.
		if removal {
			f.swept++
		} else {
			t.Errorf("%s: the engine and the machine differ:\n%s", what, strings.Join(wrong, "\n"))
		}
		e.Kill()
		e.Up()
		if _, wrong := e.Settle(settle); len(wrong) > 0 {
			t.Fatalf("%s: engine and machine differ after a new start:\n%s", what, strings.Join(wrong, "\n"))
		}
	}
	return steps
}

// patience is how long a command may take.
const patience = 30 * time.Second

// hoy runs a command. Where it hangs, the daemon is made to say where.
func (f *faults) hoy(args ...string) *engine.Result {
	ctx, cancel := context.WithTimeout(context.Background(), patience+5*time.Second)
	defer cancel()
	hangs := time.AfterFunc(patience, func() { f.e.Signal(syscall.SIGQUIT) })
	cmd := exec.CommandContext(ctx, engine.Bin(f.t, "hoy"), append([]string{"-H", f.e.Host}, args...)...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if !hangs.Stop() {
		f.e.Gone()
		f.t.Errorf("%v hangs; the daemon:\n%s", args, f.e.Log())
		f.e.Up()
	}
	r := &engine.Result{Args: args, Out: out.String(), Err: errOut.String()}
	if err != nil {
		r.Code = max(1, cmd.ProcessState.ExitCode())
	}
	return r
}

// crashed waits for the daemon's end where it was killed.
func (f *faults) crashed(hit <-chan struct{}, m mode) bool {
	if m != crashes {
		return false
	}
	select {
	case <-hit:
		f.e.Gone()
		return true
	default:
		return false // this time there were fewer steps
	}
}

// again does it again where it was refused: then it must succeed, and of the
// first try nothing may be seen, unless nobody can be sure.
func (f *faults) again(op operation, what string, r *engine.Result, unsure bool) {
	f.t.Helper()
	there := func() bool {
		if op.inspect == nil {
			return r.Code == 0
		}
		i := f.hoy(op.inspect...)
		return strings.TrimSpace(i.Out) == op.want
	}
	now := there()
	switch {
	case r.Code == 0 && !now && op.inspect != nil:
		f.t.Errorf("%s: it was answered, and is not done", what)
	case r.Code != 0 && now && op.inspect != nil && !unsure:
		f.t.Errorf("%s: it was refused, and is done: %s", what, strings.TrimSpace(r.Err))
	case r.Code != 0 && strings.TrimSpace(r.Err) == "":
		f.t.Errorf("%s: refused without a word", what)
	}
	if now {
		return
	}
	if second := f.hoy(op.call...); second.Code != 0 {
		f.t.Errorf("%s: the same call again: %s(the first was answered: %s)", what, second.Err, strings.TrimSpace(r.Err))
	} else if op.inspect != nil && !there() {
		f.t.Errorf("%s: the same call again was answered, and is not done", what)
	}
}

// measure asks for the list of containers while a step is late: nothing of that
// may stand in the way.
func (f *faults) measure(what string, hit <-chan struct{}) {
	select {
	case <-hit:
	case <-time.After(5 * time.Second):
		return // this time there were fewer steps
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.e.Dir+"/hoy.sock")
	}}}
	began := time.Now()
	resp, err := client.Get("http://engine/containers/json?all=1")
	took := time.Since(began)
	if err != nil {
		f.t.Errorf("%s: ps meanwhile: %v", what, err)
		return
	}
	_ = resp.Body.Close()
	f.slowest = max(f.slowest, took)
	if took > lateness*3/4 {
		f.t.Errorf("%s: ps waited for it, %v", what, took)
	}
}
