// Package observe has the end-to-end tests of what tells about the engine:
// events, logs, stats, metrics and traces.
package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"hoy/test/e2e/engine"
)

// reader is a client that reads in the background.
type reader struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *reader) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// read starts a client; it ends with the test.
func read(t *testing.T, argv ...string) *reader {
	t.Helper()
	r := &reader{}
	ctx, cancel := context.WithCancel(t.Context())
	r.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = r.cmd.Wait() })
	return r
}

// listeners waits until n clients read events.
func listeners(t *testing.T, e *engine.Engine, n int) {
	t.Helper()
	engine.Eventually(t, strconv.Itoa(n)+" readers of events", func() bool {
		return e.Must("info", "--format", "{{.NEventsListener}}") == strconv.Itoa(n)
	})
}

// stamp is a time as --since and --until take it. Docker's client drops the
// fraction of what it computes itself from a duration.
func stamp(at time.Time) string { return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond()) }

func parse(t *testing.T, text string) []events.Message {
	t.Helper()
	var all []events.Message
	for line := range strings.Lines(text) {
		var m events.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, m)
	}
	return all
}

// brief is a message as "type action".
func brief(m events.Message) string { return string(m.Type) + " " + string(m.Action) }

// want lists the events of TestEvents in order: what happens, and which
// attributes it has, as a pattern for each.
var want = []struct {
	event string
	attrs map[string]string
}{
	{"volume create", map[string]string{"driver": "local"}},
	{"container create", map[string]string{"image": "^busybox$", "name": "^web$", "tier": "^front$"}},
	{"network connect", map[string]string{"container": "^[0-9a-f]{64}$", "name": "^bridge$", "type": "^bridge$"}},
	{"volume mount", map[string]string{"container": "^[0-9a-f]{64}$", "destination": "^/data$", "driver": "^local$", "propagation": "", "read/write": "^true$"}},
	{"container start", map[string]string{"name": "^web$"}},
	{"container rename", map[string]string{"oldName": "^/web$", "name": "^www$"}},
	{"container update", map[string]string{"name": "^www$"}},
	{"container pause", nil}, {"container unpause", nil},
	{"container exec_create: sh -c exit 3", map[string]string{"execID": "^[0-9a-f]{64}$"}},
	{"container exec_start: sh -c exit 3", map[string]string{"execID": "^[0-9a-f]{64}$"}},
	{"container exec_die", map[string]string{"execID": "^[0-9a-f]{64}$", "exitCode": "^3$"}},
	{"container top", nil},
	{"container archive-path", nil}, {"container extract-to-dir", nil},
	{"container export", nil},
	{"container commit", map[string]string{"comment": "^said$", "imageID": "^sha256:", "imageRef": "made"}},
	{"image tag", map[string]string{"name": "^other:1$"}},
	{"image save", nil}, {"image load", nil},
	{"image untag", nil}, {"image delete", nil},
	{"container kill", map[string]string{"signal": "^10$"}},
	{"container kill", map[string]string{"signal": "^15$"}},
	{"network disconnect", map[string]string{"container": "^[0-9a-f]{64}$", "name": "^bridge$", "type": "^bridge$"}},
	{"volume unmount", map[string]string{"container": "^[0-9a-f]{64}$", "driver": "^local$"}},
	{"container die", map[string]string{"exitCode": "^7$", "execDuration": "^[0-9]+$"}},
	{"container stop", nil}, {"container start", nil}, {"container restart", nil},
	{"container oom", nil}, {"container die", map[string]string{"exitCode": "^137$"}},
	{"container attach", nil}, {"container resize", map[string]string{"height": "^30$", "width": "^90$"}}, {"container detach", nil},
	{"container health_status: healthy", nil},
	{"container destroy", nil}, {"volume destroy", map[string]string{"driver": "local"}},
	{"container prune", map[string]string{"reclaimed": "^[0-9]+$"}},
	{"volume prune", map[string]string{"reclaimed": "^[0-9]+$"}},
	{"image prune", map[string]string{"reclaimed": "^[0-9]+$"}},
	{"daemon reload", map[string]string{"name": ".", "debug": "^(true|false)$", "labels": `^\[`}},
}

// every does what want lists.
func every(t *testing.T, e *engine.Engine) {
	t.Helper()
	dir := e.Dir
	e.Must("volume", "create", "kept")
	e.Must("run", "-d", "--name", "web", "--label", "tier=front", "-v", "kept:/data", "--memory", "64m",
		"busybox", "sh", "-c", "trap 'exit 7' TERM; trap : USR1; while :; do sleep 0.05; done")
	e.Must("rename", "web", "www")
	e.Must("update", "--cpu-shares", "100", "www")
	e.Must("pause", "www")
	e.Must("unpause", "www")
	e.Hoy("exec", "www", "sh", "-c", "exit 3").Refused(t, 3, "")
	e.Must("top", "www")
	e.Must("cp", "www:/etc/passwd", dir+"/passwd")
	e.Must("cp", dir+"/passwd", "www:/tmp")
	e.Must("export", "-o", dir+"/www.tar", "www")
	e.Must("commit", "-m", "said", "www", "made")
	e.Must("tag", "made", "other:1")
	e.Must("save", "-o", dir+"/made.tar", "made")
	e.Must("load", "-i", dir+"/made.tar")
	e.Must("rmi", "other:1", "made")
	e.Must("kill", "-s", "USR1", "www")
	e.Must("stop", "www")
	e.Must("restart", "www")
	e.Hoy("run", "--name", "hungry", "--memory", "8m", "--memory-swap", "8m", "busybox", "sh", "-c", "x=a; while :; do x=$x$x; done")
	e.Must("run", "-dit", "--name", "shell", "busybox", "sh")
	detach(t, e, "shell")
	e.Must("run", "-d", "--name", "well", "--health-cmd", "true", "--health-interval", "100ms", "busybox", "sleep", "100")
	engine.Eventually(t, "the check succeeds", func() bool {
		return e.Must("inspect", "-f", "{{.State.Health.Status}}", "well") == "healthy"
	})
	e.Must("rm", "-f", "www", "shell", "well")
	e.Must("volume", "rm", "kept")
	e.Must("container", "prune", "-f")
	e.Must("volume", "prune", "-f")
	e.Must("image", "prune", "-f")
	e.Signal(syscall.SIGHUP)
}

// detach attaches to a terminal as a client that leaves the keys to the engine.
func detach(t *testing.T, e *engine.Engine, name string) {
	t.Helper()
	api, err := client.New(client.WithHost(e.Host))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	conn, err := api.ContainerAttach(t.Context(), name, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := api.ContainerResize(t.Context(), name, client.ContainerResizeOptions{Height: 30, Width: 90}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Conn.Write([]byte{16, 17}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn.Reader); err != nil {
		t.Fatal(err)
	}
}

func TestEvents(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	var live []*reader
	e.EachClient(t, func(_ *testing.T, c *engine.Client) {
		live = append(live, read(t, c.Argv("events", "--format", "{{json .}}")...))
	})
	listeners(t, e, len(live))
	began := time.Now()
	every(t, e)
	var all []events.Message
	engine.Eventually(t, "the last event", func() bool {
		all = parse(t, live[0].text())
		return len(all) > 0 && brief(all[len(all)-1]) == "daemon reload"
	})
	i := 0
	for _, m := range all {
		if i == len(want) || brief(m) != want[i].event {
			continue
		}
		for key, pattern := range want[i].attrs {
			if v, ok := m.Actor.Attributes[key]; !ok || !regexp.MustCompile(pattern).MatchString(v) {
				t.Errorf("%s: attribute %s is %q, want %s", brief(m), key, v, pattern)
			}
		}
		if m.Scope != "local" || m.Time != m.TimeNano/1e9 || m.TimeNano < began.UnixNano() || m.TimeNano > time.Now().UnixNano() {
			t.Errorf("%s: scope %q, times %d and %d", brief(m), m.Scope, m.Time, m.TimeNano)
		}
		i++
	}
	if i < len(want) {
		var told []string
		for _, m := range all {
			told = append(told, brief(m))
		}
		t.Errorf("after %v no %q in\n%s", want[max(0, i-1)].event, want[i].event, strings.Join(told, "\n"))
	}
	e.EachClient(t, func(t *testing.T, c *engine.Client) {
		past := parse(t, c.Must("events", "--format", "{{json .}}", "--since", stamp(began), "--until", stamp(time.Now())))
		same(t, "what is kept and what was told live", past, all)
	})
	for n, r := range live {
		engine.Eventually(t, "all events at reader "+strconv.Itoa(n), func() bool { return len(parse(t, r.text())) >= len(all) })
		same(t, "what two clients were told live", parse(t, r.text()), all)
	}
}

// same compares what clients print, by what they have in common: older ones
// leave out no field that a message has.
func same(t *testing.T, what string, got, want []events.Message) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d and %d messages", what, len(got), len(want))
		return
	}
	for i := range got {
		a, _ := json.Marshal(got[i])
		b, _ := json.Marshal(want[i])
		if !bytes.Equal(a, b) {
			t.Errorf("%s differ at %d:\n%s\n%s", what, i, a, b)
			return
		}
	}
}

func TestEventFilters(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	began := stamp(time.Now())
	e.Must("volume", "create", "v1")
	id := e.Must("run", "-d", "--name", "one", "--label", "tier=front", "-v", "v1:/data", "busybox", "sleep", "100")
	e.Must("run", "--name", "two", "busybox", "true")
	self := e.Must("info", "--format", "{{.ID}}")
	e.Signal(syscall.SIGHUP)
	e.EachClient(t, func(t *testing.T, c *engine.Client) {
		for _, f := range []struct{ filters, want string }{
			{"container=one", "create start"},
			{"container=" + id[:12], "create start"},
			{"container=two type=container", "create attach start die"},
			{"event=die", "die"},
			{"event=start event=die", "start start die"},
			{"label=tier", "create start"},
			{"label=tier=front", "create start"},
			{"label=tier=back", ""},
			{"image=busybox event=create", "create create"},
			{"volume=v1", "create mount"},
			{"type=volume event=mount", "mount"},
			{"type=network container=" + id, ""},
			{"network=bridge event=disconnect", "disconnect"},
			{"type=daemon", "reload"},
			{"daemon=" + self, "reload"},
			{"scope=local event=die", "die"},
			{"scope=swarm", ""},
		} {
			args := []string{"events", "--since", began, "--until", stamp(time.Now()), "--format", "{{.Action}}"}
			for _, v := range strings.Fields(f.filters) {
				args = append(args, "-f", v)
			}
			if got := strings.Join(strings.Fields(c.Must(args...)), " "); got != f.want {
				t.Errorf("%s: %q, want %q", f.filters, got, f.want)
			}
		}
		c.Run("events", "--since", began, "--until", stamp(time.Now()), "-f", "nonsense=1").Refused(t, 1, "nonsense")
	})
}

// TestEventsOutliveTheDaemon kills the daemon with events told and with things
// that happen while there is none.
func TestEventsOutliveTheDaemon(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	began := stamp(time.Now())
	id := e.Must("run", "-d", "--name", "dies", "busybox", "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; sleep 1; exit 5")
	e.Must("exec", "-d", "dies", "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 6")
	for i := range 20 {
		e.Must("create", "--name", "c"+strconv.Itoa(i), "busybox")
	}
	root := filepath.Join("/proc", e.Must("inspect", "-f", "{{.State.Pid}}", "dies"), "root")
	before := parse(t, e.Must("events", "--format", "json", "--since", began, "--until", stamp(time.Now())))
	e.Kill()
	down := time.Now()
	if r := engine.Run(t, "", "touch", root+"/go"); r.Code != 0 {
		t.Fatal(r.Err)
	}
	engine.Eventually(t, "the container ends", func() bool { return engine.Run(t, "", "test", "-d", root+"/bin").Code != 0 })
	ended := time.Now()
	<-time.After(2500 * time.Millisecond) // the daemon is away for so long that the times tell
	e.Up()
	after := parse(t, e.Must("events", "--format", "json", "--since", began, "--until", stamp(time.Now())))
	if len(after) < len(before) {
		t.Fatalf("%d events before the kill, %d after", len(before), len(after))
	}
	same(t, "events before and after the kill", after[:len(before)], before)
	found := map[string]bool{}
	for _, m := range after[len(before):] {
		at := time.Unix(0, m.TimeNano)
		if m.Actor.ID != id {
			continue
		}
		found[brief(m)+" "+m.Actor.Attributes["exitCode"]] = true
		if brief(m) == "container die" && (at.Before(down) || at.After(ended.Add(time.Second))) {
			t.Errorf("the container ended between %v and %v, its event is of %v", down, ended, at)
		}
	}
	for _, what := range []string{"container die 5", "container exec_die 6"} {
		if !found[what] {
			t.Errorf("no %q among %v", what, found)
		}
	}
	if n := len(parse(t, e.Must("events", "--format", "json", "--since", began, "--until", stamp(time.Now()), "-f", "container=dies", "-f", "event=start"))); n != 1 {
		t.Errorf("the start is told %d times", n)
	}
	e.Check()
}
