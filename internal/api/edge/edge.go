// Package edge is what all resources of the HTTP API share: handlers that
// return errors, the table from error class to status, the API version of a
// request, and the reading of parameters and bodies.
package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
)

// Handler answers one request. A returned error becomes the answer where
// nothing was written yet; after that it cuts the connection, so that a client
// never takes half an answer for a whole one.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Routes takes the routes of a resource. A pattern is that of [http.ServeMux]
// without the version: "GET /containers/{id}/json".
type Routes interface {
	Handle(pattern string, h Handler)
}

// Answer sends v as JSON.
func Answer(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// That the client is gone is found by the server itself.
	_, _ = w.Write(body.Bytes())
	return nil
}

// Done answers with 204 and no body.
func Done(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// List makes an absent list an empty one: clients iterate over it without asking.
func List[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

type versionKey struct{}

// WithVersion gives a request's context its API version 1.minor.
func WithVersion(ctx context.Context, minor int) context.Context {
	return context.WithValue(ctx, versionKey{}, minor)
}

// Before says whether the client speaks an API version older than 1.minor.
func Before(r *http.Request, minor int) bool {
	v, ok := r.Context().Value(versionKey{}).(int)
	return ok && v < minor
}

// StartStream sends the header of an answer whose body follows bit by bit.
func StartStream(w http.ResponseWriter, contentType string) error {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w).Flush()
}
