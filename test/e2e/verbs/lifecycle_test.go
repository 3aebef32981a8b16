// Package verbs tries each verb for success and for each refusal, as a person
// would type it.
package verbs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

func start(t *testing.T, args ...string) *engine.Engine {
	t.Helper()
	e := engine.Start(t, args...)
	e.Busybox()
	return e
}

func status(e *engine.Engine, name string) string {
	return e.Must("inspect", "-f", "{{.State.Status}}", name)
}

func TestRunExitCodes(t *testing.T) {
	e := start(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		err  string
	}{
		{"the command's own", []string{"busybox", "sh", "-c", "exit 42"}, 42, ""},
		{"a signal's", []string{"busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 137, ""},
		{"no such command", []string{"busybox", "nosuch"}, 127, "executable file not found"},
		{"no such path", []string{"busybox", "/no/such"}, 127, "no such file or directory"},
		{"a directory", []string{"busybox", "/etc"}, 126, "ermission denied"},
		{"not executable", []string{"busybox", "/etc/passwd"}, 126, "ermission denied"},
		{"no such image", []string{"--pull", "never", "nosuchimage"}, 125, "o such image"},
		{"unknown flag", []string{"--nosuchflag", "busybox"}, 125, "unknown flag: --nosuchflag"},
		{"bad memory", []string{"--memory", "lots", "busybox"}, 125, "invalid"},
		{"too little memory", []string{"--memory", "1k", "busybox"}, 125, "6MB"},
		{"no such user", []string{"--user", "nobodyknows", "busybox", "true"}, 125, "unable to find user nobodyknows"},
		{"unknown capability", []string{"--cap-add", "FLY", "busybox", "true"}, 125, "FLY"},
		{"unknown network", []string{"--network", "nosuchnet", "busybox", "true"}, 125, "nosuchnet"},
		{"bad port", []string{"-p", "99999:80", "busybox", "true"}, 125, "99999"},
		{"bad mount", []string{"--mount", "type=bind,source=/no/such/dir,target=/x", "busybox", "true"}, 125, "bind source path does not exist"},
		{"relative volume target", []string{"-v", "/tmp:rel", "busybox", "true"}, 125, "rel"},
		{"bad restart policy", []string{"--restart", "perhaps", "busybox", "true"}, 125, "estart"},
		{"restart and rm", []string{"--restart", "always", "--rm", "busybox", "true"}, 125, "onflicting options"},
		{"bad sysctl", []string{"--sysctl", "kernel.panic=1", "busybox", "true"}, 125, "kernel.panic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := e.Hoy(append([]string{"run", "--rm"}, c.args...)...)
			if r.Code != c.code || !strings.Contains(r.Err, c.err) {
				t.Errorf("exit %d, want %d with %q\nstdout: %s\nstderr: %s", r.Code, c.code, c.err, r.Out, r.Err)
			}
		})
	}
	if left := e.Must("ps", "-aq"); left != "" {
		t.Errorf("refused runs left containers behind: %s", left)
	}
}

func TestLifecycle(t *testing.T) {
	e := start(t)
	id := e.Must("create", "--name", "aa", "busybox", "sleep", "1000")
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		t.Fatalf("create printed %q", id)
	}
	steps := []struct {
		args []string
		want string
	}{
		{[]string{"start", "aa"}, "running"},
		{[]string{"start", "aa"}, "running"}, // no error, as in Docker
		{[]string{"pause", "aa"}, "paused"},
		{[]string{"unpause", "aa"}, "running"},
		{[]string{"restart", "-t", "0", "aa"}, "running"},
		{[]string{"stop", "-t", "0", "aa"}, "exited"},
		{[]string{"stop", "aa"}, "exited"},
		{[]string{"start", id[:12]}, "running"},
		{[]string{"kill", "-s", "KILL", "aa"}, "exited"},
	}
	for _, s := range steps {
		e.Must(s.args...)
		engine.Eventually(t, strings.Join(s.args, " ")+" leads to "+s.want, func() bool { return status(e, "aa") == s.want })
	}
	e.Must("rename", "aa", "bb")
	e.Must("rm", "bb")
	if r := e.Hoy("rm", "-f", "bb"); r.Code != 0 || !strings.Contains(r.Err, "No such container: bb") || r.Out != "" {
		t.Errorf("rm -f of what is gone: exit %d, %q, %q", r.Code, r.Out, r.Err)
	}
	e.Hoy("inspect", "bb").Refused(t, 1, "o such")
}

func TestRefusals(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "up", "busybox", "sleep", "1000")
	e.Must("create", "--name", "down", "busybox", "true")
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"create", "--name", "up", "busybox"}, 1, "is already in use by container"},
		{[]string{"create", "--name", "sl/ash", "busybox"}, 1, "Invalid container name"},
		{[]string{"rename", "down", "up"}, 1, "is already in use"},
		{[]string{"rm", "up"}, 1, "container is running"},
		{[]string{"start", "none"}, 1, "No such container: none"},
		{[]string{"stop", "none"}, 1, "No such container: none"},
		{[]string{"kill", "none"}, 1, "No such container: none"},
		{[]string{"kill", "down"}, 1, "is not running"},
		{[]string{"kill", "-s", "NOPE", "up"}, 1, "nvalid signal"},
		{[]string{"restart", "none"}, 1, "No such container: none"},
		{[]string{"pause", "down"}, 1, "not running"},
		{[]string{"unpause", "up"}, 1, "not paused"},
		{[]string{"wait", "none"}, 1, "No such container: none"},
		{[]string{"rm", "none"}, 1, "No such container: none"},
		{[]string{"logs", "none"}, 1, "No such container: none"},
		{[]string{"attach", "down"}, 1, "stopped container"},
		{[]string{"exec", "down", "true"}, 1, "is not running"},
		{[]string{"exec", "none", "true"}, 1, "No such container: none"},
		{[]string{"exec", "up", "nosuch"}, 127, "executable file not found"},
		{[]string{"exec", "up", "/etc"}, 126, "ermission denied"},
		{[]string{"exec", "-w", "/no/such", "up", "true"}, 127, "no such file or directory"},
		{[]string{"exec", "-u", "ghost", "up", "true"}, 126, "unable to find user ghost"},
		{[]string{"top", "down"}, 1, "is not running"},
		{[]string{"port", "none"}, 1, "No such container: none"},
		{[]string{"diff", "none"}, 1, "No such container: none"},
		{[]string{"export", "none"}, 1, "No such container: none"},
		{[]string{"update", "--memory", "1k", "up"}, 1, "6MB"},
		{[]string{"commit", "none"}, 1, "No such container: none"},
		{[]string{"inspect", "nosuch"}, 1, "o such object: nosuch"},
		{[]string{"rm"}, 1, "requires at least 1 argument"},
		{[]string{"rnu", "busybox"}, 1, "run"},
	} {
		e.Hoy(c.args...).Refused(t, c.code, c.text)
	}
	if got := status(e, "up") + " " + status(e, "down"); got != "running created" {
		t.Errorf("refusals changed the containers: %s", got)
	}
}

func TestStreams(t *testing.T) {
	e := start(t)
	r := e.Hoy("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
	if r.Out != "out\n" || r.Err != "err\n" {
		t.Errorf("streams are %q and %q", r.Out, r.Err)
	}
	r = engine.Run(t, strings.Repeat("a line of input\n", 20000), engine.Bin(t, "hoy"), "-H", e.Host, "run", "--rm", "-i", "busybox", "wc", "-l")
	if strings.TrimSpace(r.Out) != "20000" {
		t.Errorf("wc -l of 20,000 lines of stdin: %q, %s", r.Out, r.Err)
	}
	// The reader leaves before the writer is done; what it wrote must arrive all the same.
	if out := engine.Run(t, strings.Repeat("y\n", 1<<20), engine.Bin(t, "hoy"), "-H", e.Host, "run", "--rm", "-i", "busybox", "head", "-c", "300000").Must(t); len(out) != 300000-1 {
		t.Errorf("head -c 300000 of more: %d bytes", len(out))
	}
	if out := e.Must("run", "--rm", "busybox", "seq", "50000"); strings.Count(out, "\n") != 49999 || !strings.HasSuffix(out, "\n50000") {
		t.Errorf("seq 50000 came as %d bytes ending in %q", len(out), out[max(0, len(out)-20):])
	}
}

func TestAttachDetachAndResize(t *testing.T) {
	e := start(t)
	term := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "run", "-it", "--name", "det", "busybox")
	term.Expect("# ", 10*time.Second)
	term.Type("stty size\r")
	term.Expect("40 120", 5*time.Second)
	term.Resize(30, 100)
	term.Type("sleep 0.2; stty size\r")
	term.Expect("30 100", 5*time.Second)
	term.Type("\x10\x11") // ctrl-p ctrl-q
	if code := term.Wait(10 * time.Second); code != 0 {
		t.Errorf("detach ended run with %d", code)
	}
	if got := status(e, "det"); got != "running" {
		t.Fatalf("after detach the container is %s", got)
	}
	term = engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "attach", "det")
	term.Type("\recho back-$((1+1))\r")
	term.Expect("back-2", 10*time.Second)
	term.Type("exit 9\r")
	if code := term.Wait(10 * time.Second); code != 9 {
		t.Errorf("attach ended with %d, want the shell's 9", code)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	e := start(t)
	term := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "run", "--rm", "--name", "sig", "busybox",
		"sh", "-c", "trap 'echo got-int; exit 5' INT; echo ready; while :; do usleep 50000; done")
	term.Expect("ready", 10*time.Second)
	term.Type("\x03")
	term.Expect("got-int", 5*time.Second)
	if code := term.Wait(10 * time.Second); code != 5 {
		t.Errorf("run ended with %d, want 5", code)
	}
}

func TestRestartPolicies(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "fail", "--restart", "on-failure:2", "busybox", "false")
	engine.Eventually(t, "two restarts, then rest", func() bool {
		return e.Must("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "fail") == "2 exited"
	})
	e.Must("run", "-d", "--name", "always", "--restart", "always", "busybox", "sh", "-c", "usleep 100000")
	engine.Eventually(t, "a restart", func() bool { return e.Must("inspect", "-f", "{{.RestartCount}}", "always") != "0" })
	e.Must("stop", "-t", "0", "always")
	if got := status(e, "always"); got != "exited" {
		t.Errorf("stopped, a container with restart always is %s", got)
	}
}

func TestPsAndFormats(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "one", "--label", "k=v", "busybox", "sleep", "1000")
	e.Must("create", "--name", "two", "busybox", "true")
	lines := strings.Split(e.Must("ps", "-a"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "CONTAINER ID   IMAGE     COMMAND") {
		t.Errorf("ps -a:\n%s", strings.Join(lines, "\n"))
	}
	for _, c := range []struct{ args, want string }{
		{"ps --format {{.Names}}", "one"},
		{"ps -a --filter label=k=v --format {{.Names}}", "one"},
		{"ps -a --filter status=created --format {{.Names}}", "two"},
		{"ps -a --filter name=tw --format {{.Names}}", "two"},
		{"ps -l --format {{.Names}}", "two"},
	} {
		if got := e.Must(strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	var row map[string]string
	if err := json.Unmarshal([]byte(e.Must("ps", "--format", "json")), &row); err != nil || row["Names"] != "one" {
		t.Errorf("ps --format json: %v, %v", row, err)
	}
	e.Hoy("ps", "--filter", "nosuch=1").Refused(t, 1, "nosuch")
	e.Hoy("ps", "--format", "{{.NoSuch}}").Refused(t, 1, "NoSuch")
}

func TestNamesAreAdjectiveAndNoun(t *testing.T) {
	e := start(t)
	e.Must("create", "busybox", "true")
	if name := e.Must("ps", "-a", "--format", "{{.Names}}"); !regexp.MustCompile(`^[a-z]+_[a-z]+$`).MatchString(name) {
		t.Errorf("a generated name is %q", name)
	}
}

func TestCidfileAndEnvFile(t *testing.T) {
	e := start(t)
	dir := t.TempDir()
	cid, env := filepath.Join(dir, "cid"), filepath.Join(dir, "env")
	if err := os.WriteFile(env, []byte("# comment\nA=1\nHOME_DIR=/x y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := e.Must("run", "--cidfile", cid, "--env-file", env, "-e", "B=2", "-h", "box", "-w", "/made", "-u", "www", "busybox",
		"sh", "-c", "echo $A $B $HOME_DIR $(hostname) $(pwd) $(id -u):$(id -g)")
	if out != "1 2 /x y box /made 33:33" {
		t.Errorf("the environment is %q", out)
	}
	id, err := os.ReadFile(cid)
	if err != nil || len(id) != 64 {
		t.Errorf("cidfile holds %q, %v", id, err)
	}
	e.Hoy("run", "--cidfile", cid, "busybox", "true").Refused(t, 125, "ontainer ID file found")
}
