package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/monitor"
	"hoy/test/e2e/engine"
)

// loop is an engine whose daemon is being killed.
type loop struct {
	t    *testing.T
	e    *engine.Engine
	seed uint64
	// monitors: they are killed too.
	monitors bool
	// life is even while a daemon answers, odd from its death to the next one's first answer.
	life atomic.Int64
	left atomic.Int64 // operations

	mu    sync.Mutex
	done  map[string]int // operations that were answered, by verb
	cut   map[string]int // operations that the daemon's death cut off
	slow  time.Duration  // of what was answered
	which string
}

// options of one run.
type options struct {
	operations int
	// handovers is how often the monitor becomes its own program anew, at a start of the daemon.
	handovers int
	// other is a directory of binaries of another version, which take turns with the first.
	other string
	// monitors has every second kill hit the monitor, every other one of these the daemon as well.
	monitors bool
}

const workers = 8

func long() bool { return os.Getenv("HOY_LONG") != "" }

func seed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("HOY_CHAOS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return uint64(time.Now().UnixNano())
}

func TestLoop(t *testing.T) {
	if !long() {
		run(t, options{operations: 300, handovers: 1})
		return
	}
	for i := range 12 {
		t.Run(strconv.Itoa(i), func(t *testing.T) { run(t, options{operations: 600, handovers: i % 4}) })
	}
	t.Run("monitors too", func(t *testing.T) {
		for i := range 6 {
			t.Run(strconv.Itoa(i), func(t *testing.T) { run(t, options{operations: 600, monitors: true}) })
		}
	})
	t.Run("other version", func(t *testing.T) {
		for i := range 4 {
			t.Run(strconv.Itoa(i), func(t *testing.T) { run(t, options{operations: 600, other: otherVersion(t)}) })
		}
	})
}

func run(t *testing.T, o options) {
	l := &loop{t: t, seed: seed(t), monitors: o.monitors, done: map[string]int{}, cut: map[string]int{}}
	t.Logf("HOY_CHAOS_SEED=%d", l.seed)
	l.e = engine.Start(t)
	l.left.Store(int64(o.operations))
	l.e.Busybox()
	remotes := l.remotes(workers)
	l.e.Must("run", "-d", "--name", "always", "--restart", "always", "busybox", "sh", "-c", "sleep 1; exit 3")
	l.e.Must("run", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 5")
	w := openWires(t, l.e)
	var all []*worker
	var wg sync.WaitGroup
	for i := range workers {
		k := &worker{l: l, id: i, rnd: rand.New(rand.NewPCG(l.seed, uint64(i+1))), remote: remotes[i]}
		all = append(all, k)
		wg.Go(k.live)
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	kills := l.killer(o, finished)
	l.settle(all)
	w.close()
	t.Logf("%d kills; answered %v; cut off %v; the slowest answer took %v (%s); %s",
		kills, l.done, l.cut, l.slow.Round(time.Millisecond), l.which, w)
}

// remotes are n images in a registry, which share one layer and
// have one of their own.
func (l *loop) remotes(n int) (refs []string) {
	l.e.Must("run", "--name", "noise", "busybox", "dd", "if=/dev/urandom", "of=/noise", "bs=1M", "count=4")
	l.e.Must("commit", "noise", "noise")
	address := engine.Registry(l.t, l.t.TempDir())
	for i := range n {
		name := fmt.Sprintf("noise%d", i)
		l.e.Must("run", "--name", name, "noise", "dd", "if=/dev/urandom", "of=/own", "bs=64k", "count=4")
		ref := fmt.Sprintf("%s/noise:%d", address, i)
		l.e.Must("commit", name, ref)
		l.e.Must("push", "-q", ref)
		l.e.Must("rm", name)
		l.e.Must("rmi", ref)
		refs = append(refs, ref)
	}
	l.e.Must("rm", "noise")
	l.e.Must("rmi", "noise")
	return refs
}

// patient is how long daemons are killed in the short form: on a machine that is
// busy with other things hardly an operation is answered within a second.
const patient = 45 * time.Second

// killer kills the daemon about every second until the workers are done.
func (l *loop) killer(o options, finished <-chan struct{}) (kills int) {
	rnd, began := rand.New(rand.NewPCG(l.seed, 0)), time.Now()
	for {
		select {
		case <-finished:
			return kills
		case <-time.After(time.Duration(800+rnd.IntN(400)) * time.Millisecond):
		}
		if !long() && time.Since(began) > patient {
			<-finished
			return kills
		}
		l.life.Add(1)
		kills++
		if o.monitors && kills%2 == 0 {
			l.killMonitor()
			if kills%4 == 0 {
				l.life.Add(1)
				continue
			}
		}
		l.e.Kill()
		if o.handovers > 0 && kills%3 == 2 {
			o.handovers--
			l.handover()
		}
		if o.other != "" {
			l.e.Bin = []string{o.other, ""}[kills%2]
		}
		l.e.Up()
		l.life.Add(1)
	}
}

// killMonitor ends the monitor as a crash would, and waits for the next one.
func (l *loop) killMonitor() {
	path := l.e.Dir + "/run/monitor.pid"
	read := func() int {
		b, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return pid
	}
	old := read()
	if old <= 1 {
		l.t.Errorf("%s names no monitor", path)
		return
	}
	_ = syscall.Kill(old, syscall.SIGKILL)
	engine.Eventually(l.t, "the next monitor", func() bool { now := read(); return now > 0 && now != old })
}

// handover has the monitor become its own program anew, while no daemon runs.
func (l *loop) handover() {
	run := l.e.Dir + "/run"
	c, err := monitor.Dial(l.t.Context(), monitor.Options{Socket: run + "/monitor.sock", ExecRoot: run, Binary: engine.Bin(l.t, "hoy-run")})
	if err != nil {
		l.t.Errorf("the monitor does not answer: %v", err)
		return
	}
	if err := c.Upgrade(l.t.Context(), engine.Bin(l.t, "hoy-run")); err != nil {
		l.t.Errorf("handover: %v", err)
	}
	_ = c.Close()
}

// settle waits for the ends of what ends by itself, and compares everything with
// what clients were told and with what containers wrote down.
func (l *loop) settle(all []*worker) {
	t, e := l.t, l.e
	for _, w := range all {
		w.finish()
	}
	found := e.Check()
	for _, w := range all {
		w.account(found)
	}
	l.leftoverVolumes(found)
	if s := found["always"].State; s == nil || s.Status != container.StateRunning && s.Status != container.StateRestarting {
		t.Errorf("always is %+v", s)
	}
	if s := found["failing"].State; s == nil || s.Status != container.StateExited || s.ExitCode != 5 {
		t.Errorf("failing is %+v", s)
	}
}

// leftoverVolumes finds anonymous volumes whose container has gone: all were removed with -v.
func (l *loop) leftoverVolumes(found map[string]container.InspectResponse) {
	var used []string
	for _, r := range found {
		for _, m := range r.Mounts {
			used = append(used, m.Name)
		}
	}
	for _, name := range strings.Fields(l.e.Must("volume", "ls", "-q")) {
		if len(name) == 64 && !slices.Contains(used, name) {
			l.t.Errorf("volume %s belongs to no container", name)
		}
	}
}
