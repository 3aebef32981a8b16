package chaos

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// turn is one life of a container's first process, as its lines tell.
type turn struct {
	id    string
	lines int // numbered from 0, none missing
	end   int // the code that it wrote down last, or -1
}

// turns reads numbered lines; what is out of order is an error.
func turns(text string) (all []turn, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(all) == 0 || all[len(all)-1].id != f[0] {
			all = append(all, turn{id: f[0], end: -1})
		}
		last := &all[len(all)-1]
		switch {
		case len(f) == 3 && f[1] == "end":
			last.end, err = strconv.Atoi(f[2])
		case len(f) != 2 || f[1] != strconv.Itoa(last.lines):
			err = fmt.Errorf("line %q where number %d is next", line, last.lines)
		default:
			last.lines++
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// tally is what the container has written down beside its log.
func (w *worker) tally() ([]turn, error) {
	path := fmt.Sprintf("%s/data/volumes/tally%d/_data/%s", w.l.e.Dir, w.id, w.tag)
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return turns(string(b))
}

// check compares the log of a container that does not run, and its exit code,
// with the tally.
func (w *worker) check() {
	if w.state != container.StateExited {
		return
	}
	var a answer
	for a = w.do("logs", w.name); a.cut; {
		a = w.do("logs", w.name)
	}
	var code answer
	for code = w.do("inspect", "-f", "{{.State.ExitCode}}", w.name); code.cut; {
		code = w.do("inspect", "-f", "{{.State.ExitCode}}", w.name)
	}
	want, err := w.tally()
	if err != nil {
		w.l.t.Errorf("%s: the tally: %v", w.name, err)
		return
	}
	if err := compare(want, a.Out, w.unborn); err != nil {
		w.l.t.Errorf("%s: %v", w.name, err)
	}
	w.exit(strings.TrimSpace(code.Out), want)
}

// compare finds lines of the tally that the log has not, and the other way
// round. A line goes to the log first, so that of each turn that was killed the
// log may have one more. Of unborn starts the monitor died before it had them
// recorded: they are told as failed, and what ran for a moment is not logged.
func compare(want []turn, log string, unborn int) error {
	got, err := turns(log)
	if err != nil {
		return fmt.Errorf("the log: %w", err)
	}
	counted := map[string]int{}
	for _, g := range got {
		if _, twice := counted[g.id]; twice {
			return fmt.Errorf("the log tells of %s twice", g.id)
		}
		counted[g.id] = g.lines
	}
	for _, w := range want {
		if _, logged := counted[w.id]; !logged && w.lines > 0 && w.end < 0 && unborn > 0 {
			unborn--
			continue
		}
		more := counted[w.id] - w.lines
		if more != 0 && (more != 1 || w.end >= 0 && w.end != 7) {
			return fmt.Errorf("the log has %d lines of %s, the tally %d and the end %d", counted[w.id], w.id, w.lines, w.end)
		}
		delete(counted, w.id)
	}
	for id, n := range counted {
		if n > 1 {
			return fmt.Errorf("the log has %d lines of %s, the tally none", n, id)
		}
	}
	return nil
}

// exit checks the code: the one that the container has written down or, where
// someone may have ended it, that of a signal.
func (w *worker) exit(code string, want []turn) {
	allowed := []string{strconv.Itoa(w.code)}
	if w.hard {
		allowed = append(allowed, "137", "143", "7")
	}
	if w.unborn > 0 {
		allowed = append(allowed, "125")
	}
	if !slices.Contains(allowed, code) {
		w.l.t.Errorf("%s: exit code %s, want one of %v", w.name, code, allowed)
	}
	if n := len(want); n > 0 && want[n-1].end >= 0 && !w.hard && w.unborn == 0 && strconv.Itoa(want[n-1].end) != code {
		w.l.t.Errorf("%s: exit code %s, it wrote down %d", w.name, code, want[n-1].end)
	}
}

// lines checks what a follower of the log has read.
func (w *worker) lines(out string, whole bool) {
	if i := strings.LastIndexByte(out, '\n'); !whole && i >= 0 {
		out = out[:i+1] // the last line may have been cut
	}
	if _, err := turns(out); err != nil {
		w.l.t.Errorf("%s: followed: %v", w.name, err)
	}
}

// finish lets the worker's container come to its end.
func (w *worker) finish() {
	if w.state == container.StatePaused {
		w.step(container.StateRunning, "unpause", w.name)
	}
	if w.state == container.StateRunning {
		w.do("wait", w.name)
		w.state = container.StateExited
	}
	w.check()
}

// account checks what is left of the worker's: its one container, its images.
func (w *worker) account(found map[string]container.InspectResponse) {
	for name, r := range found {
		if !strings.HasPrefix(name, fmt.Sprintf("w%d-", w.id)) {
			continue
		}
		if name != w.name || r.State.Status != w.state {
			w.l.t.Errorf("%s is %s; worker %d left %s %s", name, r.State.Status, w.id, w.name, w.state)
		}
	}
	if _, ok := found[w.name]; !ok && w.state != absent {
		w.l.t.Errorf("%s is lost", w.name)
	}
	for _, image := range w.images {
		if out := w.l.e.Must("run", "--rm", "--network", "none", image, "echo", "sound"); out != "sound" {
			w.l.t.Errorf("image %s: %q", image, out)
		}
		w.l.e.Must("rmi", image)
	}
	w.l.e.Must("pull", "-q", w.remote)
	if out := w.l.e.Must("run", "--rm", "--network", "none", w.remote, "ls", "/noise", "/own"); out != "/noise\n/own" {
		w.l.t.Errorf("the pulled image: %q", out)
	}
	w.l.e.Must("rmi", w.remote)
}
