package daemon

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

func TestReload(t *testing.T) {
	file := writeFile(t, t.TempDir()+"/daemon.json", `{"labels":["a=1"],"log-level":"info","mtu":1400}`)
	e := engine.Start(t, "--config-file", file)
	registry, asked := plainRegistry(t, e.Must("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"))
	e.Hoy("pull", registry+"/x:1").Refused(t, 1, "")
	if asked.Load() != 0 {
		t.Error("a registry that is not on this machine was spoken to without TLS")
	}

	reload := func(text, log string) {
		t.Helper()
		writeFile(t, file, text)
		e.Signal(syscall.SIGHUP)
		engine.Eventually(t, "the log says "+log, func() bool { return strings.Contains(e.Log(), log) })
	}
	labels := func(want string) {
		t.Helper()
		if got := e.Must("info", "-f", "{{json .Labels}}"); got != want {
			t.Errorf("labels %s, want %s", got, want)
		}
	}
	labels(`["a=1"]`)
	reload(`{"labels":["a=2","b=3"],"log-level":"debug","mtu":1300,"insecure-registries":["`+registry+`"]}`,
		"these options need a restart of the daemon to change")
	labels(`["a=2","b=3"]`)
	if log := e.Log(); !strings.Contains(log, "options=[mtu]") || !strings.Contains(log, "[log-level insecure-registries labels]") {
		t.Errorf("the log does not tell what changed and what did not:\n%s", log)
	}
	if got := e.Must("info", "-f", "{{json .RegistryConfig.IndexConfigs}}"); !strings.Contains(got, registry) {
		t.Errorf("info lacks the insecure registry: %s", got)
	}
	e.Hoy("pull", registry+"/x:1").Refused(t, 1, "")
	if asked.Load() == 0 {
		t.Error("insecure-registries was reloaded, but has no effect")
	}
	e.Must("ps") // is logged at the level debug only
	if log := e.Log(); !strings.Contains(log, "level=DEBUG") {
		t.Errorf("log-level was reloaded, but has no effect:\n%s", log)
	}

	reload(`{"labels":["a=4"],"nonsense":1}`, "configuration not reloaded, the old one stays")
	if log := e.Log(); !strings.Contains(log, "nonsense") {
		t.Errorf("the log does not name the wrong key:\n%s", log)
	}
	labels(`["a=2","b=3"]`)
	writeFile(t, file, `{"labels":["a=5"]}`)
	e.Signal(syscall.SIGHUP)
	engine.Eventually(t, "the corrected file is taken", func() bool { return e.Must("info", "-f", "{{json .Labels}}") == `["a=5"]` })
	now := time.Now()
	until := fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
	if got := e.Must("events", "--since", "5m", "--until", until, "--filter", "type=daemon", "--format", "{{.Action}}"); !strings.Contains(got, "reload") {
		t.Errorf("events: %q", got)
	}
}

// plainRegistry is a registry without TLS and without images; it counts requests.
func plainRegistry(t *testing.T, ip string) (address string, asked *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int32)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().String(), asked
}
