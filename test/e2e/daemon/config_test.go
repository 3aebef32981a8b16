// Package daemon specifies hoyd as a process: its configuration, its sockets,
// its signals, and what it leaves when it goes; and how hoy finds it.
package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// hoyd runs the daemon where it is expected to end by itself.
func hoyd(t *testing.T, args ...string) *engine.Result {
	t.Helper()
	return engine.Run(t, "", append([]string{engine.Bin(t, "hoyd")}, args...)...)
}

// own are flags that keep an engine away from all others.
func own(dir string) []string {
	return []string{"-H", "unix://" + dir + "/hoy.sock", "--data-root", dir + "/data", "--exec-root", dir + "/run",
		"--bridge", "hoyt-refused", "--firewall-table", "hoyt-refused", "--cgroup-parent", "/hoyt-refused"}
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongConfigurationEndsTheDaemonBeforeItDoesAnything(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		`{"data-rot":"/x"}`:                   "the following directives don't match any configuration option: data-rot (did you mean data-root?)",
		`{"debug":true,`:                      "line 1",
		"{\n  \"debug\": true\n  \"mtu\": 1}": "line 3",
		`{"debug":"yes"}`:                     "debug: got string where bool is expected",
		`{"log-level":"loud"}`:                `invalid log-level "loud"`,
		`["debug"]`:                           "must be a JSON object",
	} {
		file := writeFile(t, filepath.Join(dir, "daemon.json"), text)
		for _, extra := range [][]string{nil, {"--validate"}} {
			r := hoyd(t, append(append(own(dir), "--config-file", file), extra...)...)
			r.Refused(t, 1, want)
			if r.Out != "" || !strings.HasPrefix(r.Err, "hoyd: ") {
				t.Errorf("%s: stdout %q, stderr %q", text, r.Out, r.Err)
			}
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--config-file", dir + "/none.json"}, "none.json"},
		{[]string{"--no-such-flag"}, "unknown flag: --no-such-flag"},
		{[]string{"start"}, `hoyd takes no arguments, got "start"`},
		{[]string{"--mtu", "many"}, "mtu"},
		{[]string{"-H", "ftp://x"}, "ftp:// is not supported"},
		{[]string{"--tlsverify", "-H", "tcp://127.0.0.1:0", "--tlscert", dir + "/no-cert.pem"}, "no-cert.pem"},
		{[]string{"--seccomp-profile", dir + "/no-profile.json"}, "no-profile.json"},
		{[]string{"--runtime-binary", dir + "/no-runtime"}, "no-runtime"},
	} {
		hoyd(t, append(own(dir), c.args...)...).Refused(t, 1, c.want)
	}
	if _, err := os.Stat(dir + "/hoy.sock"); err == nil {
		t.Error("a daemon that refused its configuration left its socket")
	}
	if _, err := os.Stat(dir + "/run/hoyd.pid"); err == nil {
		t.Error("a daemon that refused its configuration left its pid file")
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "daemon.json"), `{"debug":true,"labels":["a=b"],"default-ulimits":{"nofile":{"Name":"nofile","Soft":64,"Hard":64}}}`)
	r := hoyd(t, append(own(dir), "--validate", "--config-file", file)...)
	if r.Code != 0 || r.Out != "configuration OK\n" || r.Err != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", r.Code, r.Out, r.Err)
	}
	if _, err := os.Stat(dir + "/data"); err == nil {
		t.Error("--validate made the data root")
	}
	if r := hoyd(t, "--version"); r.Code != 0 || !strings.HasPrefix(r.Out, "hoyd version ") {
		t.Errorf("--version: exit %d, %q", r.Code, r.Out)
	}
	if r := hoyd(t, "--help"); r.Code != 0 || !strings.Contains(r.Out, "--tlsverify") || !strings.Contains(r.Out, "Examples:") {
		t.Errorf("--help: exit %d, %q", r.Code, r.Out)
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "daemon.json"),
		`{"data-root":"/nonexistent/root","labels":["from=file"],"log-driver":"none","debug":true,"default-shm-size":"8m"}`)
	e := engine.Start(t, "--config-file", file, "--label", "from=flag", "--debug=false")
	e.Busybox()
	got := e.Must("info", "-f", "{{.DockerRootDir}} {{json .Labels}} {{.LoggingDriver}} {{.Debug}}")
	if want := e.Dir + `/data ["from=flag"] none false`; got != want {
		t.Errorf("info: %s, want %s", got, want)
	}
	if got := e.Must("run", "--rm", "busybox", "sh", "-c", "grep /dev/shm /proc/mounts"); !strings.Contains(got, "size=8192k") {
		t.Errorf("default-shm-size of the file: %q", got)
	}
}

func TestLogFormatJSON(t *testing.T) {
	e := engine.Start(t, "--log-format", "json", "-D")
	e.Must("run", "--rm", "hoy/hello")
	text, err := os.ReadFile(e.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	ready := false
	for line := range strings.Lines(string(text)) {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Level == "" || entry.Msg == "" {
			t.Errorf("%q: %v", line, err)
		}
		ready = ready || entry.Msg == "hoyd is ready"
	}
	if !ready {
		t.Errorf("the log does not say that hoyd is ready:\n%s", text)
	}
}
