// Package trace sends a trace of each API call to an OpenTelemetry collector,
// where the standard environment variables name one.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer traces requests. Make it with Open.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	context  propagation.TextMapPropagator
}

// Wanted says whether the environment asks for traces, see
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
func Wanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Open starts the exporter. Its address, headers, limits, and which calls are
// sampled, are taken from the environment.
func Open(ctx context.Context, version, id string, log *slog.Logger) (*Tracer, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return nil, fmt.Errorf("%s=%s is not supported: use http/protobuf", name, p)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	// Attributes of the environment win over ours.
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "hoyd"), attribute.String("service.version", version), attribute.String("service.instance.id", id),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		log.Warn("what traces say of this engine is not complete", "err", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	t := &Tracer{
		provider: provider, tracer: provider.Tracer("hoy/internal/trace"),
		context: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}
	// What the libraries below trace (transfers of images) becomes part of the calls' traces.
	otel.SetTracerProvider(provider)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are not delivered", "err", err) }))
	return t, nil
}

// Watch begins the span of an API call, as a child of the client's where the
// header traceparent names one; done is called with the status.
func (t *Tracer) Watch(route string, r *http.Request) (*http.Request, func(status int)) {
	ctx := t.context.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	_, path, _ := strings.Cut(route, " ")
	ctx, span := t.tracer.Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("http.route", path),
		attribute.String("url.path", r.URL.Path), attribute.String("user_agent.original", r.UserAgent()),
	))
	return r.WithContext(ctx), func(status int) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}

// flushTime bounds the wait for the last traces to be delivered.
const flushTime = 3 * time.Second

// Close delivers what waits.
func (t *Tracer) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	return t.provider.Shutdown(ctx)
}
