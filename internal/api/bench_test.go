package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkCall is the edge's own part of a call: without watchers, which is
// how it runs unless metrics or traces are configured, and with one.
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct {
		name     string
		watchers []Watcher
	}{
		{"alone", nil},
		{"watched", []Watcher{func(_ string, r *http.Request) (*http.Request, func(int)) { return r, func(int) {} }}},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newFixture(c.watchers...)
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/_ping", nil))
			}
		})
	}
}

func TestWatchersAreToldOfEachCall(t *testing.T) {
	var told []string
	f := newFixture(func(route string, r *http.Request) (*http.Request, func(int)) {
		return r, func(status int) { told = append(told, route+" "+http.StatusText(status)) }
	})
	for _, path := range []string{"/_ping", "/v1.41/containers/nope/json", "/nowhere", "/v9.9/info"} {
		f.do("GET", path, "")
	}
	want := []string{"GET /_ping OK", "GET /containers/{id}/json Not Found", "/ Not Found"}
	if len(told) != len(want) {
		t.Fatalf("%q", told)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("%q, want %q", told[i], want[i])
		}
	}
}
