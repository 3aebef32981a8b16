package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"hoy/internal/container/record"
	"hoy/internal/container/sampler"
)

// double has one container that runs.
type double struct{ devices int }

func (double) Counts() (all, running, paused, stopped int) { return 6, 1, 2, 3 }
func (double) Reads() uint64                               { return 42 }
func (double) LogsDropped(context.Context) (uint64, error) { return 13, nil }
func (double) HealthChecks() (made, failed uint64)         { return 9, 4 }
func (double) Published() uint64                           { return 17 }
func (double) Subscribers() int                            { return 5 }

func (d double) Each(yield func(sampler.Usage)) {
	s := &container.StatsResponse{
		CPUStats:    container.CPUStats{CPUUsage: container.CPUUsage{TotalUsage: 2_500_000_000}},
		MemoryStats: container.MemoryStats{Usage: 1000, Limit: 5000, Stats: map[string]uint64{"inactive_file": 300}},
		PidsStats:   container.PidsStats{Current: 3},
		Networks:    map[string]container.NetworkStats{"eth0\xff": {RxBytes: 11, TxDropped: 12}},
		BlkioStats: container.BlkioStats{IoServiceBytesRecursive: []container.BlkioStatEntry{
			{Op: "Read", Value: 1}, {Op: "read", Value: 2}, {Op: "Write", Value: 4}}},
	}
	for i := range d.devices {
		s.Networks["dummy"+strings.Repeat("x", i)] = container.NetworkStats{}
	}
	yield(sampler.Usage{
		Record: &record.Record{ID: "abc", Name: "web", Config: &container.Config{Image: "nginx"}, RestartCount: 2,
			State: record.State{StartedAt: time.Unix(1000, 0)}},
		StatsResponse: s, OOMKills: 1, LogDropped: 8, Health: &container.Health{Status: container.Healthy},
	})
}

func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value is of the series with these labels, given as name=value.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		all := ""
		for _, l := range m.GetLabel() {
			all += l.GetName() + "=" + l.GetValue() + ","
		}
		found := true
		for _, l := range labels {
			found = found && strings.Contains(","+all, ","+l+",")
		}
		switch {
		case !found:
		case m.GetHistogram() != nil:
			return float64(m.GetHistogram().GetSampleCount())
		default:
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Errorf("no %s%v", name, labels)
	return -1
}

func TestSeries(t *testing.T) {
	m := New(Options{Containers: double{}, Events: double{}, CPUs: 2, Memory: 4096, Info: map[string]string{"version": "v9"}, Log: slog.New(slog.DiscardHandler)})
	for _, call := range []struct {
		route  string
		status int
	}{{"POST /containers/create", 201}, {"POST /containers/create", 409}, {"POST /containers/{id}/start", 204}, {"GET /info", 200}, {"GET /info", 99999}} {
		_, done := m.Watch(call.route, httptest.NewRequest(http.MethodGet, "/", nil))
		done(call.status)
	}
	families := scrape(t, m)
	for _, c := range []struct {
		name   string
		labels string
		want   float64
	}{
		{"engine_daemon_engine_info", "version=v9", 1}, {"engine_daemon_engine_cpus_cpus", "", 2}, {"engine_daemon_engine_memory_bytes", "", 4096},
		{"engine_daemon_container_states_containers", "state=running", 1}, {"engine_daemon_container_states_containers", "state=paused", 2},
		{"engine_daemon_container_states_containers", "state=stopped", 3},
		{"engine_daemon_container_actions_seconds", "action=create", 1}, {"engine_daemon_container_actions_seconds", "action=start", 1},
		{"engine_daemon_container_actions_seconds", "action=delete", 0},
		{"engine_daemon_events_total", "", 17}, {"engine_daemon_events_subscribers_total", "", 5},
		{"engine_daemon_health_checks_total", "", 9}, {"engine_daemon_health_checks_failed_total", "", 4},
		{"hoy_container_stats_reads_total", "", 42},
		{"hoy_api_requests_total", "code=409 route=POST_/containers/create", 1}, {"hoy_api_requests_total", "code=500 route=GET_/info", 1},
		{"hoy_container_cpu_seconds_total", "name=web id=abc image=nginx", 2.5}, {"hoy_container_memory_bytes", "name=web", 700},
		{"hoy_container_memory_usage_bytes", "name=web", 1000}, {"hoy_container_memory_limit_bytes", "name=web", 5000},
		{"hoy_container_io_read_bytes_total", "name=web", 3}, {"hoy_container_io_write_bytes_total", "name=web", 4},
		{"hoy_container_network_receive_bytes_total", "name=web device=eth0?", 11}, {"hoy_container_network_transmit_dropped_total", "device=eth0?", 12},
		{"hoy_container_pids", "name=web", 3}, {"hoy_container_restarts_total", "name=web", 2}, {"hoy_container_oom_kills", "name=web", 1},
		{"hoy_container_start_time_seconds", "name=web", 1000}, {"hoy_container_log_dropped_total", "name=web", 8}, {"hoy_container_healthy", "name=web", 1},
	} {
		labels := strings.Fields(c.labels)
		for i := range labels {
			labels[i] = strings.ReplaceAll(labels[i], "_/", " /")
		}
		if got := value(t, families, c.name, labels...); got != c.want {
			t.Errorf("%s{%s} is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if families["go_goroutines"] == nil || families["process_open_fds"] == nil {
		t.Error("nothing of the process itself")
	}
}

func TestNotEveryDeviceIsTold(t *testing.T) {
	m := New(Options{Containers: double{devices: 5000}, Events: double{}, Log: slog.New(slog.DiscardHandler)})
	if n := len(scrape(t, m)["hoy_container_network_receive_bytes_total"].GetMetric()); n != maxDevices {
		t.Errorf("%d devices", n)
	}
}

func TestOnlyMetricsAreServed(t *testing.T) {
	m := New(Options{Containers: double{}, Events: double{}, Log: slog.New(slog.DiscardHandler)})
	for path, want := range map[string]int{"GET /": 404, "POST /metrics": 405, "GET /debug/pprof/": 404} {
		method, path, _ := strings.Cut(path, " ")
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != want {
			t.Errorf("%s %s: %d", method, path, w.Code)
		}
	}
}
