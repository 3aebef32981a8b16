package observe

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"hoy/test/e2e/engine"
)

type families map[string]*dto.MetricFamily

func scrape(t *testing.T, addr string) families {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(engine.Get("http://" + addr + "/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// value of the series of a container, or without a name of the engine's.
func (f families) value(t *testing.T, name, label, want string) float64 {
	t.Helper()
	for _, m := range f[name].GetMetric() {
		found := label == ""
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == label && l.GetValue() == want
		}
		switch {
		case !found:
		case m.GetHistogram() != nil:
			return float64(m.GetHistogram().GetSampleCount())
		default:
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Errorf("no %s{%s=%q}", name, label, want)
	return -1
}

func (f families) has(name, label, want string) bool {
	for _, m := range f[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label && l.GetValue() == want {
				return true
			}
		}
	}
	return false
}

func TestMetrics(t *testing.T) {
	addr := engine.FreeAddress(t)
	e := engine.Start(t, "--metrics-addr", addr)
	e.Busybox()
	e.Must("run", "-d", "--name", "busy", "--memory", "64m", "--health-tcp", "80", "--health-interval", "100ms", "busybox", "sh", "-c", "httpd -f -p 80 & while :; do :; done")
	e.Must("run", "-d", "--name", "still", "--pids-limit", "50", "busybox", "sleep", "1000")
	e.Must("pause", "still")
	e.Must("create", "--name", "new", "busybox")
	e.Hoy("run", "--name", "new", "busybox").Refused(t, 125, "already in use")
	engine.Eventually(t, "the check succeeds", func() bool { return scrape(t, addr).value(t, "hoy_container_healthy", "name", "busy") == 1 })
	before := scrape(t, addr)
	e.Must("exec", "busy", "sh", "-c", "wget -q -O /dev/null http://127.0.0.1/ ; ping -c 3 -s 1000 -i 0.2 "+
		e.Must("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"))
	engine.Eventually(t, "processor time is used", func() bool {
		return scrape(t, addr).value(t, "hoy_container_cpu_seconds_total", "name", "busy") > before.value(t, "hoy_container_cpu_seconds_total", "name", "busy")+0.2
	})
	after := scrape(t, addr)
	for _, c := range []struct {
		name, label, of string
		low, high       float64
	}{
		{"engine_daemon_engine_info", "daemon_id", e.Must("info", "-f", "{{.ID}}"), 1, 1},
		{"engine_daemon_container_states_containers", "state", "running", 1, 1},
		{"engine_daemon_container_states_containers", "state", "paused", 1, 1},
		{"engine_daemon_container_states_containers", "state", "stopped", 1, 1},
		{"engine_daemon_container_actions_seconds", "action", "create", 3, 3},
		{"engine_daemon_container_actions_seconds", "action", "start", 2, 2},
		{"engine_daemon_events_total", "", "", 8, 1000},
		{"engine_daemon_health_checks_total", "", "", 1, 1000},
		{"hoy_container_memory_limit_bytes", "name", "busy", 64 << 20, 64 << 20},
		{"hoy_container_memory_bytes", "name", "busy", 1 << 14, 64 << 20},
		{"hoy_container_cpu_seconds_total", "name", "still", 0, 1},
		{"hoy_container_pids", "name", "still", 1, 1},
		{"hoy_container_pids", "name", "busy", 2, 10},
		{"hoy_container_network_transmit_bytes_total", "name", "busy", 3000, 1e6},
		{"hoy_container_restarts_total", "name", "busy", 0, 0},
		{"hoy_container_log_dropped_total", "name", "busy", 0, 0},
	} {
		if got := after.value(t, c.name, c.label, c.of); got < c.low || got > c.high {
			t.Errorf("%s{%s=%q} is %v, want %v to %v", c.name, c.label, c.of, got, c.low, c.high)
		}
	}
	if after.has("hoy_container_pids", "name", "new") {
		t.Error("a container that does not run has numbers")
	}
	// One collection reads each group once: those of the two that run.
	reads := func() float64 { return scrape(t, addr).value(t, "hoy_container_stats_reads_total", "", "") }
	<-time.After(200 * time.Millisecond)
	first := reads()
	<-time.After(200 * time.Millisecond)
	if n := reads() - first; n > 4 {
		t.Errorf("%v reads of two containers in two collections", n)
	}
	e.Must("unpause", "still")
}

// TestManyReadersOfStats wants twenty streams of one container to cost one read a second.
func TestManyReadersOfStats(t *testing.T) {
	addr := engine.FreeAddress(t)
	e := engine.Start(t, "--metrics-addr", addr)
	e.Busybox()
	e.Must("run", "-d", "--name", "web", "--memory", "32m", "busybox", "sh", "-c", "while :; do :; done")
	api, err := client.New(client.WithHost(e.Host))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	reads := func() float64 { return scrape(t, addr).value(t, "hoy_container_stats_reads_total", "", "") }
	first := reads()
	const clients, samples = 20, 4
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			res, err := api.ContainerStats(ctx, "web", client.ContainerStatsOptions{Stream: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			dec := json.NewDecoder(res.Body)
			for range samples {
				var s container.StatsResponse
				if err := dec.Decode(&s); err != nil {
					t.Error(err)
					return
				}
				cpu := s.CPUStats.CPUUsage.TotalUsage - s.PreCPUStats.CPUUsage.TotalUsage
				if s.MemoryStats.Limit != 32<<20 || s.PidsStats.Current != 1 || cpu < 1e8 || cpu > 15e8 || s.Name != "/web" || len(s.Networks) != 1 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
	wg.Wait()
	seconds := time.Since(began).Seconds()
	if n := reads() - first; n > seconds+4 {
		t.Errorf("%v reads in %.1f s for %d clients", n, seconds, clients)
	} else {
		t.Logf("%d clients, %d samples each: %v reads in %.1f s", clients, samples, n, seconds)
	}
	e.EachClient(t, func(t *testing.T, c *engine.Client) {
		got := strings.Fields(c.Must("stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"))
		if len(got) != 6 || got[0] != "web" || got[4] != "32MiB" || got[5] != "1" || got[1] == "0.00%" {
			t.Errorf("%q", got)
		}
		for _, args := range []string{"web", "web -o pid,comm", "web aux"} {
			if out := c.Must(append([]string{"top"}, strings.Fields(args)...)...); !strings.Contains(out, "PID") || strings.Count(out, "\n") != 1 {
				t.Errorf("top %s: %q", args, out)
			}
		}
	})
	once, err := api.ContainerStats(t.Context(), "web", client.ContainerStatsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer once.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(once.Body).Decode(&s); err != nil || !s.PreRead.IsZero() || s.Read.IsZero() {
		t.Errorf("one shot: %+v %v", s, err)
	}
}

// TestTraces has the daemon send what it does to a collector.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	names, parents := map[string]int{}, map[string]bool{}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					names[span.Name]++
					parents[string(span.ParentSpanId)] = true
				}
			}
		}
	}))
	defer sink.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	e := engine.Start(t)
	e.Busybox()
	e.Must("run", "--rm", "busybox", "true")
	q, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://hoy/containers/json", nil)
	q.Header.Set("Traceparent", "00-0123456789abcdef0123456789abcdef-aaaaaaaaaaaaaaaa-01")
	web := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.Host, "unix://"))
	}}}
	res, err := web.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	engine.Eventually(t, "the calls arrive at the collector", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return names["POST /containers/create"] == 1 && names["POST /containers/{id}/start"] == 1 && names["GET /containers/json"] > 0 &&
			parents["\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa"]
	})
	// A collector that does not answer holds nobody up.
	sink.CloseClientConnections()
	sink.Close()
	began := time.Now()
	e.Must("run", "--rm", "busybox", "true")
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("a run takes %v without the collector", d)
	}
}

// TestDroppedLogRecordsAreCounted has a container write faster than a tiny
// buffer is emptied.
func TestDroppedLogRecordsAreCounted(t *testing.T) {
	addr := engine.FreeAddress(t)
	e := engine.Start(t, "--metrics-addr", addr)
	e.Busybox()
	e.Must("run", "-d", "--name", "noisy", "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=1k", "--log-opt", "max-size=1m",
		"busybox", "sh", "-c", "yes a line of some length | head -n 300000; sleep 1000")
	engine.Eventually(t, "records are dropped", func() bool {
		return scrape(t, addr).value(t, "hoy_container_log_dropped_total", "name", "noisy") > 0
	})
	e.Must("run", "-d", "--name", "quiet", "busybox", "sleep", "1000")
	if n := scrape(t, addr).value(t, "hoy_container_log_dropped_total", "name", "quiet"); n != 0 {
		t.Errorf("%v records of a container that writes nothing", n)
	}
}
