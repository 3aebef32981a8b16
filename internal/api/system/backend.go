// Package system is the HTTP edge of /info, /version, /_ping, /events and /system/df.
package system

import (
	"context"
	"iter"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"

	"hoy/internal/reconcile"
	"hoy/internal/request"
)

// Backend is what this edge needs of the engine.
type Backend interface {
	Info(ctx context.Context) (*system.Info, error)
	Version(ctx context.Context) (system.VersionResponse, error)
	// Space is what our own command line asks besides.
	Space(ctx context.Context) (*request.Space, error)
	DiskUsage(ctx context.Context, opt request.Usage) (*system.DiskUsage, error)
	Events(ctx context.Context, opt request.Events) iter.Seq[events.Message]
	Check(ctx context.Context, opt reconcile.Options) []reconcile.Finding
}
