package health

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
)

// script answers probes in order, the last for ever.
type script struct {
	mu     sync.Mutex
	codes  []int
	slow   time.Duration
	probes int
	closed bool
}

func (s *script) Probe(ctx context.Context) (int, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := s.codes[min(s.probes, len(s.codes)-1)]
	s.probes++
	if s.slow > 0 {
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return 0, "so far", nil
		}
	}
	if code < 0 {
		return 0, "", errors.New("no such command")
	}
	return code, strings.Repeat("x", code*maxOutput), nil
}

func (s *script) Close() { s.closed = true }

type box struct {
	*Checks
	e   *index.Entry
	mu  sync.Mutex
	say []string
}

func newBox(h container.HealthConfig, p Prober) *box {
	b := &box{}
	c := &core.Core{Index: index.New(), Deps: deps.Deps{Now: time.Now, Log: slog.New(slog.DiscardHandler), Events: func(m events.Message) {
		b.mu.Lock()
		b.say = append(b.say, string(m.Action))
		b.mu.Unlock()
	}}}
	b.Checks = New(c, nil)
	h.Test = []string{"CMD", "check"}
	b.probers["CMD"] = func(*index.Entry, *container.HealthConfig) (Prober, error) { return p, nil }
	b.e = c.Index.Add(&record.Record{ID: "c1", Config: &container.Config{Healthcheck: &h}, HostConfig: &container.HostConfig{}})
	return b
}

func (b *box) move(phase record.Phase) {
	r := b.e.Record().With(func(n *record.Record) {
		if phase == record.Running && b.e.Record().State.Phase != record.Paused {
			n.State.StartedAt = time.Now()
		}
		n.State.Phase = phase
	})
	b.e.Publish(r)
	b.Changed(b.e, r)
}

func (b *box) expect(t *testing.T, status container.HealthStatus, streak int) {
	t.Helper()
	synctest.Wait()
	h := b.e.Health()
	if h == nil || h.Status != status || h.FailingStreak != streak {
		t.Fatalf("want %s with %d failures, is %+v", status, streak, h)
	}
}

func TestStatesFollowTheResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{codes: []int{1, 1, 0, 1, 1, 1, -1, 0}}
		b := newBox(container.HealthConfig{Interval: time.Second, Retries: 3, StartPeriod: 1500 * time.Millisecond}, p)
		b.move(record.Running)
		b.expect(t, container.Starting, 0)
		time.Sleep(1100 * time.Millisecond)
		b.expect(t, container.Starting, 0) // failures of the start period do not count
		time.Sleep(time.Second)
		b.expect(t, container.Starting, 1)
		time.Sleep(time.Second)
		b.expect(t, container.Healthy, 0)
		time.Sleep(2 * time.Second)
		b.expect(t, container.Healthy, 2)
		time.Sleep(2 * time.Second)
		b.expect(t, container.Unhealthy, 4)
		if log := b.e.Health().Log; len(log) != maxLog || log[4].ExitCode != -1 || log[4].Output != "no such command" || len(log[3].Output) != maxOutput {
			t.Errorf("log of %d: %+v", len(log), log[len(log)-1])
		}
		b.move(record.Paused)
		time.Sleep(time.Minute)
		b.expect(t, container.Unhealthy, 4)
		b.move(record.Running)
		time.Sleep(1100 * time.Millisecond)
		b.expect(t, container.Healthy, 0)
		b.move(record.Exited)
		b.expect(t, container.Unhealthy, 0)
		b.Close()
		if !p.closed {
			t.Error("the prober is left open")
		}
		if got := strings.Join(b.say, ", "); got != "health_status: healthy, health_status: unhealthy, health_status: healthy" {
			t.Error(got)
		}
	})
}

func TestAProbeThatTakesTooLongIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(container.HealthConfig{Interval: time.Second, Timeout: 2 * time.Second, Retries: 1}, &script{codes: []int{0}, slow: time.Hour})
		b.move(record.Running)
		time.Sleep(3100 * time.Millisecond)
		b.expect(t, container.Unhealthy, 1)
		if out := b.e.Health().Log[0].Output; out != "Health check exceeded timeout (2s): so far" {
			t.Error(out)
		}
		b.Close()
	})
}

func TestAStartingContainerIsAskedMoreOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{codes: []int{1, 1, 1, 0}}
		b := newBox(container.HealthConfig{Interval: time.Hour, StartPeriod: time.Minute, StartInterval: time.Second}, p)
		b.move(record.Running)
		time.Sleep(4100 * time.Millisecond)
		b.expect(t, container.Healthy, 0)
		b.move(record.Exited)
		b.move(record.Running) // a new run starts anew
		b.expect(t, container.Starting, 0)
		b.Close()
	})
}

func TestNativeProbes(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/nowhere", http.StatusFound) })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) })
	mux.HandleFunc("/grpc.health.v1.Health/Check", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		state := byte(1)
		if strings.Contains(string(body), "down") {
			state = 2
		}
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 1 << 3, state})
		w.Header().Set("Grpc-Status", "0")
	})
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	var d net.Dialer
	for _, c := range []struct {
		kind, target string
		want         int
		says         string
	}{
		{"HTTP", "http://:" + port + "/ok", 0, "200 OK\nfine"},
		{"HTTP", "http://localhost:" + port + "/moved", 0, "302"},
		{"HTTP", "http://127.0.0.1:" + port + "/bad", 1, "broken"},
		{"HTTP", "http://127.0.0.1:1/", 1, "refused"},
		{"TCP", port, 0, "connected"},
		{"TCP", "127.0.0.1:1", 1, "refused"},
		{"GRPC", port, 0, "serving"},
		{"GRPC", "localhost:" + port + "/up", 0, "serving"},
		{"GRPC", port + "/down", 1, "not serving"},
	} {
		target, err := config.ParseHealthTarget([]string{c.kind, c.target})
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.target, err)
			continue
		}
		probe := map[string]func(context.Context, dialer, config.HealthTarget) (int, string, error){"HTTP": httpProbe, "TCP": tcpProbe, "GRPC": grpcProbe}[c.kind]
		code, out, err := probe(t.Context(), d.DialContext, target)
		if err != nil {
			code, out = 1, err.Error()
		}
		if code != c.want || !strings.Contains(out, c.says) {
			t.Errorf("%s %s: %d %q", c.kind, c.target, code, out)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, test := range [][]string{
		{"HTTP"}, {"HTTP", ""}, {"HTTP", "ftp://x/"}, {"HTTP", "http://example.com/"}, {"HTTP", "http://:99999/"}, {"HTTP", "8080"},
		{"TCP", "http"}, {"TCP", "0"}, {"TCP", "host:80"}, {"TCP", "80", "81"}, {"GRPC", "/service"}, {"GRPC", "1/" + strings.Repeat("x", 200)},
	} {
		if got, err := config.ParseHealthTarget(test); err == nil {
			t.Errorf("%q: %+v", test, got)
		}
	}
}
