// Package images is the HTTP edge of /images, /distribution and /auth.
package images

import (
	"context"
	"io"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/filter"

	"hoy/internal/request"
)

// Backend is what this edge needs of the engine. A ref is a familiar or full
// image name with tag or digest, or an id or its beginning.
type Backend interface {
	List(ctx context.Context, opt request.ImageList) ([]*image.Summary, error)
	Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (*image.InspectResponse, error)
	History(ctx context.Context, ref string, platform *ocispec.Platform) ([]*image.HistoryResponseItem, error)
	// Tag gives the image that source names the further name repo:tag.
	Tag(ctx context.Context, source, repo, tag string) error
	Remove(ctx context.Context, ref string, opt request.ImageRemove) ([]image.DeleteResponse, error)
	Prune(ctx context.Context, filters filter.Args) (*image.PruneReport, error)
	Transfer
}

// Transfer moves images in and out. An error before the first progress message
// becomes the status; a later one ends the stream.
type Transfer interface {
	Pull(ctx context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error
	Push(ctx context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error
	// Import makes an image of one root file system tar and returns its id.
	Import(ctx context.Context, content io.Reader, opt request.ImageImport, progress request.Progress) (string, error)
	// Load reads a docker archive or an OCI layout, as tar, compressed or not.
	Load(ctx context.Context, content io.Reader, platforms []ocispec.Platform, progress request.Progress) error
	// Save writes the images as a tar that is a docker archive and an OCI layout at once.
	Save(ctx context.Context, refs []string, platforms []ocispec.Platform, w io.Writer) error
	DistributionInspect(ctx context.Context, ref string, auth *registry.AuthConfig) (registry.DistributionInspect, error)
	// Login checks the credentials against the registry.
	Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error)
}
