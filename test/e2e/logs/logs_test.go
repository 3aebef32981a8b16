// Package logs tests the log drivers by real binaries: what containers write
// is read back and sent on, whoever is killed, full or not there.
package logs

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

func start(t *testing.T, args ...string) *engine.Engine {
	e := engine.Start(t, args...)
	e.Busybox()
	return e
}

var numbered = regexp.MustCompile(`line (\d+)$`)

// numbers says which of "line 1" to "line n" are not among lines, and how many are there twice.
func numbers(lines []string, n int) (missing []int, twice int) {
	seen := make([]int, n+1)
	for _, l := range lines {
		if m := numbered.FindStringSubmatch(l); m != nil {
			if i, _ := strconv.Atoi(m[1]); i <= n {
				seen[i]++
			}
		}
	}
	for i := 1; i <= n; i++ {
		if seen[i] == 0 {
			missing = append(missing, i)
		}
		twice += max(seen[i]-1, 0)
	}
	return missing, twice
}

// arrive waits until all n lines are with the server.
func arrive(t *testing.T, s *server, n int) (twice int) {
	t.Helper()
	engine.Eventually(t, fmt.Sprintf("%d lines arrive at the server", n), func() bool {
		missing, k := numbers(s.got(), n)
		twice = k
		return len(missing) == 0
	})
	return twice
}

// inOrder checks that logs are exactly the n lines.
func inOrder(t *testing.T, out string, n int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != n {
		t.Errorf("logs have %d lines, want %d", len(lines), n)
		return
	}
	for i, l := range lines {
		if l != fmt.Sprintf("line %d", i+1) {
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
}

func say(n int) []string {
	return []string{"busybox", "sh", "-c", fmt.Sprintf("seq 1 %d | sed 's/^/line /'", n)}
}

// files of a container's log, by the ends of their names.
func files(t *testing.T, e *engine.Engine, name string) []string {
	t.Helper()
	id := e.Must("inspect", "-f", "{{.ID}}", name)
	list, err := filepath.Glob(filepath.Join(e.Dir, "data/containers", id, id+"-*.log*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range list {
		list[i] = strings.TrimPrefix(filepath.Base(p), id)
	}
	return list
}

func TestEveryDriverIsRead(t *testing.T) {
	s := newServer(t, "tcp")
	e := start(t)
	for name, opts := range map[string][]string{
		"json":   {"--log-driver", "json-file"},
		"packed": {"--log-driver", "json-file", "--log-opt", "max-size=50k", "--log-opt", "max-file=100", "--log-opt", "compress=true"},
		"local":  {"--log-driver", "local", "--log-opt", "max-size=50k", "--log-opt", "max-file=100"},
		"syslog": {"--log-driver", "syslog", "--log-opt", "syslog-address=" + s.url(), "--log-opt", "tag={{.Name}}"},
		"ring":   {"--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=8m"},
	} {
		const n = 20_000
		e.Must(append(append([]string{"run", "--name", name}, opts...), say(n)...)...)
		inOrder(t, e.Must("logs", name), n)
		if got := e.Must("logs", "--tail", "3", name); got != "line 19998\nline 19999\nline 20000" {
			t.Errorf("%s: tail: %q", name, got)
		}
		stamped := strings.Fields(e.Must("logs", "-t", "--tail", "5000", name))
		if got := strings.Count(e.Must("logs", "--since", stamped[0], name), "\n"); got < 4999 {
			t.Errorf("%s: since the 5000th last: %d lines", name, got+1)
		}
	}
	if twice := arrive(t, s, 20_000); twice > 0 {
		t.Errorf("%d lines came twice", twice)
	}
	e.Must("run", "--name", "none", "--log-driver", "none", "busybox", "echo", "x")
	e.Hoy("logs", "none").Refused(t, 1, "configured logging driver does not support reading")
	engine.Eventually(t, "rotated files are compressed", func() bool {
		return strings.Contains(strings.Join(files(t, e, "packed"), " "), "-json.log.2.gz") &&
			strings.Contains(strings.Join(files(t, e, "local"), " "), "-local.log.2.gz")
	})
	id := e.Must("inspect", "-f", "{{.ID}}", "packed")
	f, err := os.Open(filepath.Join(e.Dir, "data/containers", id, id+"-json.log.2.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	var record struct{ Log, Stream string }
	if err != nil || json.Unmarshal(bytes.SplitN(text, []byte("\n"), 2)[0], &record) != nil || !strings.HasPrefix(record.Log, "line ") {
		t.Errorf("a compressed file has %d bytes that begin with %.100q, %v", len(text), text, err)
	}
	plugins := e.Must("info", "-f", "{{json .Plugins.Log}}")
	if plugins != `["journald","json-file","local","syslog"]` {
		t.Errorf("info tells of %s", plugins)
	}
}

func TestRefusalsAndDefaults(t *testing.T) {
	e := start(t, "--log-driver", "local", "--log-opt", "max-size=10k", "--log-opt", "max-file=3")
	for opt, want := range map[string]string{
		"--log-driver nosuch": "logger: no log driver named 'nosuch' is registered",
		"--log-opt x=y":       "unknown log opt 'x' for log driver local",
		"--log-driver json-file --log-opt max-file=0":                      "max-file cannot be less than 1",
		"--log-driver syslog --log-opt syslog-address=http://x":            "unsupported scheme: 'http'",
		"--log-driver syslog --log-opt syslog-facility=x":                  "invalid syslog facility",
		"--log-driver json-file --log-opt compress=1 --log-opt max-file=1": "compress cannot be true when max-file is less than 2",
	} {
		e.Hoy(append(append([]string{"create"}, strings.Fields(opt)...), "busybox")...).Refused(t, 1, want)
	}
	e.Must(append([]string{"run", "--name", "aa", "--log-opt", "max-file=2", "--label", "l=v", "-e", "V=w", "--log-opt", "labels=l", "--log-opt", "env=V", "--log-opt", "tag={{.Name}}"}, say(3000)...)...)
	if got := e.Must("inspect", "-f", "{{json .HostConfig.LogConfig}}", "aa"); !strings.Contains(got, `"max-size":"10k"`) || !strings.Contains(got, `"max-file":"2"`) {
		t.Errorf("options are merged with the engine's: %s", got)
	}
	engine.Eventually(t, "two files", func() bool { return strings.Join(files(t, e, "aa"), " ") == "-local.log -local.log.1.gz" })
	if got := e.Must("logs", "--details", "--tail", "1", "aa"); got != "V=w,l=v,tag=aa line 3000" {
		t.Errorf("details: %q", got)
	}
	if got := e.Must("info", "-f", "{{.LoggingDriver}}"); got != "local" {
		t.Errorf("default driver %s", got)
	}
}

// TestTheDaemonIsKilledInTheMiddle: every line arrives at the server and in logs.
func TestTheDaemonIsKilledInTheMiddle(t *testing.T) {
	for _, network := range []string{"tcp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			s := newServer(t, network)
			e := start(t)
			const n = 3000
			e.Must("run", "-d", "--name", "ct", "--log-driver", "syslog", "--log-opt", "syslog-address="+s.url(),
				"busybox", "sh", "-c", fmt.Sprintf("i=1; while [ $i -le %d ]; do echo line $i; i=$((i+1)); [ $((i%%10)) = 0 ] && usleep 5000; done", n))
			for range 3 {
				time.Sleep(300 * time.Millisecond) //nolint:forbidigo // lines flow
				e.Kill()
				e.Up()
			}
			e.Must("wait", "ct")
			arrive(t, s, n)
			inOrder(t, e.Must("logs", "ct"), n)
		})
	}
}

// TestAServerThatStandsStill: the container goes on, and all arrives later.
func TestAServerThatStandsStill(t *testing.T) {
	s := newServer(t, "tcp")
	e := start(t)
	s.stall.Lock()
	const n = 300_000
	e.Must(append([]string{"run", "--name", "ct", "--log-driver", "syslog", "--log-opt", "syslog-address=" + s.url()}, say(n)...)...)
	if got := e.Must("logs", "--tail", "1", "ct"); got != fmt.Sprintf("line %d", n) {
		t.Errorf("logs end with %q while the server stands still", got)
	}
	// Neither does it hold up the daemon's end, or the container's removal.
	begun := time.Now()
	e.Must("rm", "ct")
	e.Stop()
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("rm and the daemon's end took %v", d)
	}
	s.stall.Unlock()
	e.Up()
	arrive(t, s, n)
}

// TestBlockingModeBlocks: nothing is thrown away before the server has it.
func TestBlockingModeBlocks(t *testing.T) {
	s := newServer(t, "tcp")
	e := start(t)
	s.stall.Lock()
	const n = 200_000
	line := strings.Repeat("0123456789", 10)
	e.Must("run", "-d", "--name", "ct", "--log-driver", "syslog", "--log-opt", "syslog-address="+s.url(), "--log-opt", "mode=blocking",
		"--log-opt", "cache-max-size=200k", "--log-opt", "cache-max-file=3",
		"busybox", "sh", "-c", fmt.Sprintf("seq 1 %d | sed 's/^/%s line /'", n, line))
	time.Sleep(3 * time.Second) //nolint:forbidigo // it would be done by far
	if got := e.Must("inspect", "-f", "{{.State.Status}}", "ct"); got != "running" {
		t.Errorf("the container is %s: it did not wait", got)
	}
	s.stall.Unlock()
	if got := e.Must("wait", "ct"); got != "0" {
		t.Errorf("exit %s", got)
	}
	if twice := arrive(t, s, n); twice > 0 {
		t.Errorf("%d lines came twice", twice)
	}
}

// TestAServerThatIsNotThere and comes after a container of --rm has gone.
func TestAServerThatIsNotThere(t *testing.T) {
	s := newServer(t, "tcp")
	s.down()
	e := start(t)
	e.Must(append([]string{"run", "--rm", "--log-driver", "syslog", "--log-opt", "syslog-address=" + s.url()}, say(1000)...)...)
	s.up()
	arrive(t, s, 1000)
	engine.Eventually(t, "nothing is left of it", func() bool {
		list, err := os.ReadDir(filepath.Join(e.Dir, "data/unsent-logs"))
		return err == nil && len(list) == 0
	})
}
