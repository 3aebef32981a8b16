package observe

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// three starts three containers that count, each in its turn, so that the order
// of all lines is known.
func three(t *testing.T, e *engine.Engine) {
	t.Helper()
	for i, name := range []string{"aa", "bb", "ccc"} {
		e.Must("run", "-d", "--name", name, "busybox", "sh", "-c", fmt.Sprintf(
			"usleep %d; for n in 1 2 3; do echo line $n; echo side $n >&2; usleep 300000; done", 100000*i))
	}
	e.Must("wait", "aa", "bb", "ccc")
}

// inOrder merges what containers have written to an output by its times.
func inOrder(e *engine.Engine, output func(*engine.Result) string, names ...string) string {
	var all []string
	for _, name := range names {
		for line := range strings.Lines(output(e.Hoy("logs", "-t", name))) {
			at, text, _ := strings.Cut(line, " ")
			all = append(all, fmt.Sprintf("%s %-4s | %s", at, name, text))
		}
	}
	slices.Sort(all)
	merged := ""
	for _, line := range all {
		_, text, _ := strings.Cut(line, " ")
		merged += text
	}
	return merged
}

func TestLogsOfSeveral(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	three(t, e)
	r := e.Hoy("logs", "aa", "bb", "ccc")
	out := inOrder(e, func(r *engine.Result) string { return r.Out }, "aa", "bb", "ccc")
	err := inOrder(e, func(r *engine.Result) string { return r.Err }, "aa", "bb", "ccc")
	if r.Code != 0 || strings.Count(out, "\n") != 9 || r.Out != out || r.Err != err {
		t.Errorf("%+v", r)
	}
	if strings.Contains(r.Out, "\x1b") {
		t.Error("colours in a pipe")
	}
	if got := e.Hoy("logs", "--grep", "2$", "aa", "ccc"); got.Out != "aa   | line 2\nccc  | line 2\n" || got.Err != "aa   | side 2\nccc  | side 2\n" {
		t.Errorf("%+v", got)
	}
	if got := e.Hoy("logs", "--grep", "line [13]", "--invert", "aa"); got.Out != "line 2\n" || strings.Count(got.Err, "side") != 3 {
		t.Errorf("%+v", got)
	}
	if got := e.Hoy("logs", "-t", "--grep", "^line 1$", "aa"); !strings.HasSuffix(got.Out, "Z line 1\n") || strings.Count(got.Out, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	if got := e.Hoy("logs", "--tail", "2", "--grep", "line", "aa", "bb"); got.Out != "aa  | line 3\nbb  | line 3\n" {
		t.Errorf("%+v", got)
	}
	e.Hoy("logs", "--invert", "aa").Refused(t, 1, "--invert needs --grep")
	e.Hoy("logs", "--grep", "(", "aa").Refused(t, 1, "invalid --grep")
	if got := e.Hoy("logs", "aa", "absent"); got.Code != 1 || !strings.Contains(got.Out, "aa      | line 3\n") || !strings.Contains(got.Err, "No such container: absent") {
		t.Errorf("%+v", got)
	}
	// On a terminal each name has its colour, the same at every call, unless NO_COLOR says no.
	coloured := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "logs", "aa", "bb")
	coloured.Expect("mbb  | \x1b[0mline 3", 10*time.Second)
	coloured.Wait(5 * time.Second)
	plain := engine.OpenTerminal(t, "env", "NO_COLOR=1", engine.Bin(t, "hoy"), "-H", e.Host, "logs", "aa", "bb")
	plain.Expect("\nbb  | line 3", 10*time.Second)
	plain.Wait(5 * time.Second)
}

func TestLogsFollow(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	hoy := func(args ...string) []string {
		return append([]string{engine.Bin(t, "hoy"), "-H", e.Host}, args...)
	}
	// Rotation: the log is much larger than its files, and every line arrives.
	const lines = 3000
	e.Must("run", "-d", "--name", "many", "--log-opt", "max-size=10k", "--log-opt", "max-file=3", "busybox", "sh", "-c",
		fmt.Sprintf("while [ ! -e /go ]; do usleep 20000; done; n=0; while [ $n -lt %d ]; do n=$((n+1)); echo $n; [ $((n %% 100)) = 0 ] && usleep 20000; done", lines))
	e.Must("run", "-d", "--name", "other", "busybox", "sh", "-c", "echo begun; sleep 1000")
	one, two := read(t, hoy("logs", "-f", "many")...), read(t, hoy("logs", "-f", "many", "other")...)
	engine.Eventually(t, "the readers follow", func() bool { return strings.Contains(two.text(), "other  | begun\n") })
	e.Must("exec", "many", "touch", "/go")
	e.Must("wait", "many")
	engine.Eventually(t, "follow ends with its container", func() bool { return strings.HasSuffix(one.text(), "\n"+strconv.Itoa(lines)+"\n") })
	if err := one.cmd.Wait(); err != nil {
		t.Errorf("logs -f of a container that has ended: %v", err)
	}
	got := strings.Fields(one.text())
	for n := range lines {
		if n >= len(got) || got[n] != strconv.Itoa(n+1) {
			t.Fatalf("%d lines; the %d-th is not its number", len(got), n+1)
		}
	}
	// Ctrl-C ends following without a word and without half a line.
	_ = two.cmd.Process.Signal(os.Interrupt)
	_ = two.cmd.Wait()
	if code := two.cmd.ProcessState.ExitCode(); code != 130 || !strings.HasSuffix(two.text(), "\n") || strings.Contains(two.text(), "cancel") {
		t.Errorf("exit %d: %q", code, two.text()[max(0, len(two.text())-200):])
	}
	if n := strings.Count(two.text(), "many   | "); n != lines {
		t.Errorf("%d of %d lines beside another container's", n, lines)
	}
}

func TestLogsFollowRestarts(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	say := []string{"busybox", "sh", "-c", "n=$(cat /n 2>/dev/null); n=$((n+1)); echo $n > /n; echo run $n; echo end $n; [ $n -ge 4 ] && sleep 1000; exit 1"}
	r := read(t, engine.Bin(t, "hoy"), "-H", e.Host, "logs", "--follow-restarts", "--grep", "^(run|end|anew)", "web")
	_ = r.cmd.Wait()
	if !strings.Contains(r.text(), "No such container: web") {
		t.Errorf("%q", r.text())
	}
	e.Must(append([]string{"create", "--name", "web", "--restart", "always"}, say...)...)
	r = read(t, engine.Bin(t, "hoy"), "-H", e.Host, "logs", "--follow-restarts", "--grep", "^(run|end|anew)", "web")
	listeners(t, e, 1)
	e.Must("start", "web")
	want := ""
	for n := 1; n <= 4; n++ {
		want += fmt.Sprintf("run %d\nend %d\n", n, n)
	}
	engine.Eventually(t, "four runs", func() bool { return strings.Contains(r.text(), "end 4") })
	e.Must("rm", "-f", "web")
	e.Must("run", "-d", "--name", "web", "busybox", "sh", "-c", "echo anew; sleep 1000")
	want += "anew\n"
	engine.Eventually(t, "the new container's log", func() bool { return strings.Contains(r.text(), "anew") })
	if r.text() != want {
		t.Errorf("%q, want %q", r.text(), want)
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
	if r.text() != want {
		t.Errorf("%q after the end", r.text())
	}
}
