// Package networks is the HTTP edge of /networks.
package networks

import (
	"context"

	"github.com/moby/moby/api/types/network"

	"hoy/internal/filter"
)

// Backend is what this edge needs of the engine. What the engine does not do
// yet is errdefs.ErrNotImplemented with the reason.
type Backend interface {
	List(ctx context.Context, filters filter.Args) ([]network.Inspect, error)
	// Inspect takes a name, an id or an unambiguous beginning of one.
	Inspect(ctx context.Context, ref string) (network.Inspect, error)
	Create(ctx context.Context, req network.CreateRequest) (network.CreateResponse, error)
	Remove(ctx context.Context, ref string) error
	Connect(ctx context.Context, ref string, req network.ConnectRequest) error
	Disconnect(ctx context.Context, ref string, req network.DisconnectRequest) error
	Prune(ctx context.Context, filters filter.Args) (network.PruneReport, error)
}
