// Package metrics tells Prometheus about the engine, under dockerd's names
// where dockerd has the series, and about each container that runs. Numbers are
// read when they are asked for; nothing is kept but counters.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hoy/internal/container/sampler"
)

// Containers is what is needed of the containers' room.
type Containers interface {
	Counts() (all, running, paused, stopped int)
	// Each samples every container that runs, once.
	Each(yield func(sampler.Usage))
	// Reads is how many times the counters of a container were read.
	Reads() uint64
	// HealthChecks is how many were made, and how many of those failed.
	HealthChecks() (made, failed uint64)
	// LogsDropped is how many records of logs were dropped.
	LogsDropped(ctx context.Context) (uint64, error)
}

// Events is what is needed of the event bus.
type Events interface {
	Published() uint64
	Subscribers() int
}

// Options are where the numbers come from.
type Options struct {
	Containers Containers
	Events     Events
	// Info are the labels of the engine, see infoLabels; CPUs and Memory the machine's.
	Info   map[string]string
	CPUs   int
	Memory int64
	Log    *slog.Logger
}

// Metrics is the engine's set of series. Make it with New.
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger
	actions  *prometheus.HistogramVec
	requests *prometheus.CounterVec
}

// actions are the calls that dockerd times, by their routes here.
var actions = map[string]string{
	"POST /containers/create": "create", "POST /containers/{id}/start": "start", "DELETE /containers/{id}": "delete",
	"POST /commit": "commit", "GET /containers/{id}/changes": "changes",
}

// New registers all series.
func New(opt Options) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), log: opt.Log,
		actions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "engine_daemon_container_actions_seconds", Help: "The number of seconds it takes to process each container action",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"action"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hoy_api_requests_total", Help: "API requests that were answered, by route and status",
		}, []string{"route", "code"}),
	}
	for _, action := range actions {
		m.actions.WithLabelValues(action)
	}
	m.registry.MustRegister(
		m.actions, m.requests, engine{opt}, containers{opt},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// scrapes bounds how many are answered at once, scrapeTime how long one may take.
const (
	scrapes    = 4
	scrapeTime = 10 * time.Second
)

// Handler serves GET /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapes, Timeout: scrapeTime, ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelError),
	}))
	return mux
}

// Watch times a request of the API; done is called with its status.
func (m *Metrics) Watch(route string, r *http.Request) (*http.Request, func(status int)) {
	began := time.Now()
	return r, func(status int) {
		m.requests.WithLabelValues(route, code(status)).Inc()
		if action := actions[route]; action != "" && status < http.StatusBadRequest {
			m.actions.WithLabelValues(action).Observe(time.Since(began).Seconds())
		}
	}
}

// code keeps the label's values few.
func code(status int) string {
	if status < 100 || status > 599 {
		status = http.StatusInternalServerError
	}
	return string([]byte{byte('0' + status/100), byte('0' + status/10%10), byte('0' + status%10)})
}
