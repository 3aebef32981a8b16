// Package system is the HTTP edge of /info, /version, /_ping, /events and /system/df.
package system

import (
	"context"
	"iter"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"

	"hoy/internal/filter"
)

// UsageOptions says which kinds GET /system/df counts; none set means all.
type UsageOptions struct{ Containers, Images, Volumes, BuildCache, Verbose bool }

// EventsOptions of GET /events. A zero Until follows until ctx ends.
type EventsOptions struct {
	Since, Until time.Time
	Filters      filter.Args
}

// Backend is what this edge needs of the engine.
type Backend interface {
	Info(ctx context.Context) (*system.Info, error)
	Version(ctx context.Context) (system.VersionResponse, error)
	DiskUsage(ctx context.Context, opt UsageOptions) (*system.DiskUsage, error)
	Events(ctx context.Context, opt EventsOptions) iter.Seq[events.Message]
}
