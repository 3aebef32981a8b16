package trace

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector by OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*traces.Span
	about map[string]string
}

func receive(t *testing.T) *receiver {
	r := &receiver{about: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var req collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil || q.URL.Path != "/v1/traces" || q.Header.Get("X-Key") != "secret" {
			t.Errorf("%s %v: %v", q.URL, q.Header, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range req.ResourceSpans {
			for _, kv := range rs.Resource.Attributes {
				r.about[kv.Key] = kv.Value.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func TestWanted(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		t.Run("", func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			if Wanted() != c.want {
				t.Errorf("%v", c.env)
			}
		})
	}
}

func TestACallBecomesASpanOfItsClientsTrace(t *testing.T) {
	r := receive(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment=test")
	tr, err := Open(t.Context(), "v9", "engine-id", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	q := httptest.NewRequest(http.MethodPost, "/containers/web/start", nil)
	q.Header.Set("Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	next, done := tr.Watch("POST /containers/{id}/start", q)
	_, inner := tr.tracer.Start(next.Context(), "inner")
	inner.End()
	done(500)
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.spans) != 2 || r.about["service.name"] != "hoyd" || r.about["service.version"] != "v9" || r.about["deployment"] != "test" {
		t.Fatalf("%d spans of %v", len(r.spans), r.about)
	}
	in, call := r.spans[0], r.spans[1]
	attrs := map[string]any{}
	for _, kv := range call.Attributes {
		attrs[kv.Key] = kv.Value.GetStringValue()
		if n := kv.Value.GetIntValue(); n != 0 {
			attrs[kv.Key] = n
		}
	}
	if call.Name != "POST /containers/{id}/start" || call.Kind != traces.Span_SPAN_KIND_SERVER || call.Status.Code != traces.Status_STATUS_CODE_ERROR ||
		string(call.TraceId) != "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef" || string(call.ParentSpanId) != "\x01\x23\x45\x67\x89\xab\xcd\xef" ||
		attrs["http.route"] != "/containers/{id}/start" || attrs["url.path"] != "/containers/web/start" || attrs["http.response.status_code"] != int64(500) {
		t.Errorf("%v %v", call, attrs)
	}
	if string(in.ParentSpanId) != string(call.SpanId) {
		t.Errorf("what a call does is not below it: %v", in)
	}
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	if _, err := Open(t.Context(), "", "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("grpc is taken")
	}
}
