// Package execs is the HTTP edge of /exec and /containers/{id}/exec.
package execs

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/request"
)

// Backend is what this edge needs of the engine.
type Backend interface {
	// ExecCreate returns the new exec's id.
	ExecCreate(ctx context.Context, ref string, req *container.ExecCreateRequest) (string, error)
	// ExecStart starts it; the stream is nil where it was detached.
	ExecStart(ctx context.Context, id string, opt request.ExecStart) (*request.Stream, error)
	ExecInspect(ctx context.Context, id string) (container.ExecInspectResponse, error)
	// ExecResize takes the terminal's size in characters.
	ExecResize(ctx context.Context, id string, height, width uint32) error
}
