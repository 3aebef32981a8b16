// Package volumes is the HTTP edge of /volumes.
package volumes

import (
	"context"

	"github.com/moby/moby/api/types/volume"

	"hoy/internal/filter"
)

// Backend is what this edge needs of the engine.
type Backend interface {
	// Create makes a volume; where the name exists already with the same driver, it returns that one.
	Create(ctx context.Context, req volume.CreateRequest) (*volume.Volume, error)
	List(ctx context.Context, filters filter.Args) (volume.ListResponse, error)
	Inspect(ctx context.Context, name string) (*volume.Volume, error)
	// Remove of a volume in use is errdefs.ErrConflict; force only forgives an absent one.
	Remove(ctx context.Context, name string, force bool) error
	Prune(ctx context.Context, filters filter.Args) (volume.PruneReport, error)
}
