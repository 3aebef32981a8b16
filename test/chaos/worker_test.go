package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/test/e2e/engine"
)

// absent is the state of a container that there is not.
const absent container.ContainerState = ""

// worker does one thing after another to one container at a time and knows what
// must be true of it: what the last success said or, where the last step was cut
// off, that or what the step would have led to.
type worker struct {
	l      *loop
	id, n  int
	rnd    *rand.Rand
	remote string

	name, rename string
	tag          string // of its lines
	state        container.ContainerState
	code         int
	// hard: since its start someone may have ended it.
	hard, connected bool
	// unborn are starts that a monitor's death cut off.
	unborn int
	// images that commits were answered for.
	images []string
}

// answer is the end of a command.
type answer struct {
	*engine.Result
	// cut: the daemon died meanwhile, so the command need not have succeeded.
	cut bool
	// died: it, or the monitor, died meanwhile, whatever became of the command.
	died bool
}

// passed is the code with which containers of run --rm end.
const passed = 3

// do runs a command while a daemon answers, and fails the test where it fails
// though no daemon died.
func (w *worker) do(args ...string) answer {
	return w.try(nil, args...)
}

// try is do, where the command may be refused with one of the texts as well.
func (w *worker) try(refusals []string, args ...string) answer {
	l := w.l
	for l.life.Load()%2 == 1 {
		<-time.After(5 * time.Millisecond)
	}
	before, began := l.life.Load(), time.Now()
	a := answer{Result: l.e.Hoy(args...)}
	took := time.Since(began)
	if args[0] == "run" && a.Code == passed {
		a.Code = 0
	}
	died := l.life.Load() != before
	a.cut, a.died = a.Code != 0 && died, died
	refused := slices.ContainsFunc(refusals, func(text string) bool { return strings.Contains(a.Err, text) })
	switch {
	case a.cut && strings.TrimSpace(a.Err) == "" && args[0] != "exec" && args[0] != "attach":
		l.t.Errorf("%v: cut off without a word, exit %d", args, a.Code)
	case a.cut && took > 30*time.Second:
		l.t.Errorf("%v: told of the daemon's death after %v", args, took)
	case a.Code != 0 && !died && !refused:
		l.t.Errorf("%v: exit %d\n%s", args, a.Code, a.Err)
	}
	l.count(args[0], a.cut, took)
	return a
}

func (l *loop) count(verb string, cut bool, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut {
		l.cut[verb]++
		return
	}
	l.done[verb]++
	if took > l.slow {
		l.slow, l.which = took, verb
	}
}

// follow runs a command that follows a container for a while, and returns what it said by then.
func (w *worker) follow(args ...string) (out string, ended bool) {
	l := w.l
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(100+w.rnd.IntN(700))*time.Millisecond)
	defer cancel()
	before := l.life.Load()
	cmd := exec.CommandContext(ctx, engine.Bin(l.t, "hoy"), append([]string{"-H", l.e.Host}, args...)...)
	var buf bytes.Buffer
	cmd.Stdout = &buf
	err := cmd.Run()
	l.count(args[0], l.life.Load() != before, 0)
	return buf.String(), err == nil && l.life.Load() == before && before%2 == 0
}

// live goes on while there are operations left.
func (w *worker) live() {
	for w.l.left.Add(-1) >= 0 && !w.l.t.Failed() {
		switch {
		case w.rnd.IntN(6) == 0:
			w.aside()
		case w.state == absent:
			w.make()
		case w.state == container.StateRunning:
			w.running()
		case w.state == container.StatePaused:
			w.step(container.StateRunning, "unpause", w.name)
		default:
			w.resting()
		}
	}
}

// ended are refusals of what needs a running container, where it ended by itself.
var ended = []string{"is not running", "already paused", "is not paused", "exited", "received 404", "received 409", "find container's process"}

// step goes on to a state by a command, or finds out what became of it.
func (w *worker) step(to container.ContainerState, args ...string) {
	var refusals []string
	if w.state == container.StateRunning || w.state == container.StatePaused {
		refusals = ended
	}
	a := w.try(refusals, args...)
	if a.Code == 0 {
		w.state = to
		return
	}
	if a.cut && to == container.StateRunning && w.l.monitors {
		w.unborn++
	}
	w.look(to, a.cut)
}

// look asks what the state is after a step that did not succeed.
func (w *worker) look(to container.ContainerState, cut bool) {
	allowed := []container.ContainerState{w.state}
	if w.state == container.StateRunning || w.state == container.StatePaused {
		// By itself, also in the moment in which it was paused, or on the way to what was asked for.
		allowed = append(allowed, container.StateExited)
	}
	if cut {
		allowed = append(allowed, to)
		switch {
		case to == container.StateRunning && w.state == absent:
			allowed = append(allowed, container.StateCreated, container.StateExited)
		case to == container.StateRunning:
			allowed = append(allowed, container.StateExited) // started, and ended by itself
		}
	}
	found, name := absent, w.name
	for _, n := range slices.Compact([]string{w.name, w.rename}) {
		if n == "" {
			continue
		}
		if s, ok := w.inspect(n); ok {
			if found != absent {
				w.l.t.Errorf("%s and %s are two containers", w.name, w.rename)
			}
			found, name = s, n
		}
	}
	if !slices.Contains(allowed, found) {
		w.l.t.Errorf("%s is %q, want one of %q", w.name, found, allowed)
	}
	w.state, w.name, w.rename = found, name, ""
}

// inspect repeats until a daemon has answered.
func (w *worker) inspect(name string) (container.ContainerState, bool) {
	for {
		a := w.try([]string{"o such container"}, "inspect", "--type", "container", "-f", "{{.State.Status}} {{len .NetworkSettings.Networks}}", name)
		if a.cut {
			continue
		}
		if a.Code != 0 {
			return absent, false
		}
		state, networks, _ := strings.Cut(strings.TrimSpace(a.Out), " ")
		w.connected = networks == "1"
		return container.ContainerState(state), true
	}
}

// script writes numbered lines to the log and to the tally, which tells how the container ended.
const script = `read u </proc/sys/kernel/random/uuid
trap 'echo "$u end 7" >>/tally/$T; exit 7' TERM
i=0
while [ $i -lt $N ]; do
 echo "$u $i"; echo "$u $i" >>/tally/$T
 i=$((i+1)); usleep $P
done
echo "$u end $C" >>/tally/$T; exit $C`

func (w *worker) make() {
	w.n++
	w.name = fmt.Sprintf("w%d-%d", w.id, w.n)
	w.tag, w.code, w.hard, w.connected, w.unborn = w.name, 20+w.rnd.IntN(80), false, true, 0
	args := []string{"--name", w.name, "-v", "/anon", "-v", fmt.Sprintf("tally%d:/tally", w.id), "-p", "127.0.0.1::80/udp",
		"-e", "T=" + w.tag, "-e", fmt.Sprintf("C=%d", w.code), "-e", fmt.Sprintf("N=%d", 20+w.rnd.IntN(300)), "-e", fmt.Sprintf("P=%d", 2000+w.rnd.IntN(10000)),
		"busybox", "sh", "-c", script}
	if w.rnd.IntN(2) == 0 {
		w.step(container.StateCreated, append([]string{"create"}, args...)...)
	} else {
		w.step(container.StateRunning, append([]string{"run", "-d"}, args...)...)
	}
}

func (w *worker) running() {
	const same = container.StateRunning
	switch w.rnd.IntN(11) {
	case 0:
		w.hard = true
		w.step(container.StateExited, "stop", "-t", "1", w.name)
	case 1:
		w.hard = true
		w.step(container.StateExited, "kill", w.name)
	case 2:
		w.hard = true
		w.step(same, "restart", "-t", "1", w.name)
	case 3:
		w.hard = true
		w.step(absent, "rm", "-f", "-v", w.name)
	case 4:
		w.turnName()
	case 5:
		w.step(container.StatePaused, "pause", w.name)
	case 6:
		w.exec()
	case 7:
		w.lines(w.follow("logs", "-f", w.name))
	case 8:
		_, _ = w.follow("attach", "--no-stdin", "--sig-proxy=false", w.name)
	case 9:
		w.plug()
	default:
		w.commit()
	}
}

// resting does something to a container that is created or has exited.
func (w *worker) resting() {
	switch w.rnd.IntN(8) {
	case 0:
		w.plug()
	case 1:
		w.commit()
	case 2:
		w.turnName()
	case 3, 4:
		w.check()
		w.step(absent, "rm", "-v", w.name)
	default:
		if w.step(container.StateRunning, "start", w.name); w.state == container.StateRunning {
			w.hard = false
		}
	}
}

func (w *worker) turnName() {
	w.n++
	w.rename = fmt.Sprintf("w%d-%d", w.id, w.n)
	w.step(w.state, "rename", w.name, w.rename)
	if w.rename != "" {
		w.name, w.rename = w.rename, ""
	}
}

func (w *worker) exec() {
	a := w.try(ended, "exec", w.name, "echo", "inside")
	if a.Code == 0 && a.Out != "inside\n" && !(w.l.monitors && a.died) {
		w.l.t.Errorf("exec said %q", a.Out)
	}
	if a.Code != 0 {
		w.look(w.state, a.cut)
	}
}

// plug takes the container off its network or puts it back.
func (w *worker) plug() {
	verb := "connect"
	if w.connected {
		verb = "disconnect"
	}
	a := w.try(ended, "network", verb, "bridge", w.name)
	if a.Code == 0 {
		w.connected = !w.connected
	} else {
		w.look(w.state, a.cut)
	}
}

func (w *worker) commit() {
	w.n++
	image := fmt.Sprintf("image%d:%d", w.id, w.n)
	if w.do("commit", w.name, image).Code == 0 {
		w.images = append(w.images, image)
	}
}

// aside does what needs no container of its own.
func (w *worker) aside() {
	switch w.rnd.IntN(3) {
	case 0:
		a := w.do("run", "--rm", "-v", "/anon", "busybox", "sh", "-c", fmt.Sprintf("echo passing; exit %d", passed))
		// A monitor's death ends an attachment; the container goes on.
		if a.Code == 0 && a.Out != "passing\n" && !(w.l.monitors && a.died) {
			w.l.t.Errorf("run --rm said %q, %q", a.Out, a.Err)
		}
	case 1:
		if a := w.do("pull", w.remote); a.Code == 0 {
			w.try([]string{"o such image"}, "rmi", w.remote)
		}
	default:
		w.n++
		image := fmt.Sprintf("image%d:%d", w.id, w.n)
		if w.do("import", "--change", "LABEL n="+image, w.l.e.Dir+"/busybox.tar", image).Code == 0 {
			w.images = append(w.images, image)
		}
	}
}
