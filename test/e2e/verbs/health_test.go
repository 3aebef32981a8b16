package verbs

import (
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

func health(e *engine.Engine, name string) string {
	return e.Must("inspect", "-f", "{{.State.Health.Status}}", name)
}

func waitHealth(t *testing.T, e *engine.Engine, name, want string) {
	t.Helper()
	for range 100 {
		if health(e, name) == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s is not %s: %s", name, want, e.Must("inspect", "-f", "{{json .State.Health}}", name))
}

func TestHealthByACommand(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "probed", "--health-cmd", "echo seen; cat /tmp/ok", "--health-interval", "100ms", "--health-retries", "2",
		"busybox", "sh", "-c", "touch /tmp/ok; sleep 1000")
	waitHealth(t, e, "probed", "healthy")
	if line := e.Must("ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.Status}}"); !strings.HasPrefix(line, "probed Up") || !strings.HasSuffix(line, "(healthy)") {
		t.Error(line)
	}
	e.Must("exec", "probed", "rm", "/tmp/ok")
	waitHealth(t, e, "probed", "unhealthy")
	if out := e.Must("inspect", "-f", "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}", "probed"); !strings.HasPrefix(out, "0 seen\n") || !strings.Contains(out, "1 seen\ncat: can't open") {
		t.Error(out)
	}
	e.Must("exec", "probed", "touch", "/tmp/ok")
	waitHealth(t, e, "probed", "healthy")
	e.Must("pause", "probed")
	e.Must("unpause", "probed")
	waitHealth(t, e, "probed", "healthy")
	e.Must("stop", "-t", "0", "probed")
	if got := health(e, "probed"); got != "unhealthy" {
		t.Error(got)
	}
	now := e.Must("events", "--since", "1h", "--until", "0s", "--filter", "event=health_status", "--format", "{{.Action}}")
	if now != "health_status: healthy\nhealth_status: unhealthy\nhealth_status: healthy" {
		t.Error(now)
	}
	e.Must("run", "-d", "--name", "slow", "--health-cmd", "sleep 100", "--health-interval", "100ms", "--health-timeout", "200ms", "--health-retries", "1", "busybox", "sleep", "1000")
	waitHealth(t, e, "slow", "unhealthy")
	if out := e.Must("inspect", "-f", "{{(index .State.Health.Log 0).Output}}", "slow"); !strings.Contains(out, "exceeded timeout (200ms)") {
		t.Error(out)
	}
	if out := e.Must("top", "slow"); strings.Count(out, "sleep 100\n")+strings.Count(out+"\n", "sleep 100\n") > 2 {
		t.Errorf("probes are left running:\n%s", out)
	}
	e.Must("run", "-d", "--name", "none", "busybox", "sleep", "1000")
	if out := e.Must("inspect", "-f", "{{json .State.Health}}", "none"); out != "null" && out != "" {
		t.Errorf("a container without a check: %s", out)
	}
}

func TestHealthFromInsideTheNetwork(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "web", "--network", "none", "--health-http", "http://:8080/page", "--health-interval", "100ms", "--health-retries", "1",
		"busybox", "sh", "-c", "mkdir /w; echo hi >/w/page; httpd -f -h /w -p 127.0.0.1:8080")
	e.Must("run", "-d", "--name", "port", "--health-tcp", "9000", "--health-interval", "100ms", "--health-retries", "1", "busybox", "sh", "-c", "httpd -f -p 9000")
	e.Must("run", "-d", "--name", "closed", "--health-tcp", "9000", "--health-interval", "100ms", "--health-retries", "1", "busybox", "sleep", "1000")
	waitHealth(t, e, "web", "healthy")
	waitHealth(t, e, "port", "healthy")
	waitHealth(t, e, "closed", "unhealthy")
	if out := e.Must("inspect", "-f", "{{(index .State.Health.Log 0).Output}}", "closed"); !strings.Contains(out, "refused") {
		t.Error(out)
	}
	e.Kill()
	e.Up()
	waitHealth(t, e, "web", "healthy")
	for _, c := range []struct{ args, want string }{
		{"--health-tcp 80 --health-cmd true", "cannot be used together"},
		{"--health-http http://example.com/", "must be an IP address or localhost"},
		{"--health-grpc service", "port from 1 to 65535"},
	} {
		args := append(append([]string{"run"}, strings.Fields(c.args)...), "busybox")
		if r := e.Hoy(args...); r.Code != 125 || !strings.Contains(r.Err, c.want) {
			t.Errorf("%s: exit %d, %s", c.args, r.Code, r.Err)
		}
	}
}
