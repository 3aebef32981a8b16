package request

import (
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/filter"
)

// Progress takes one message of a long job's stream. It is safe for concurrent use.
type Progress func(jsonstream.Message)

// ImageList of GET /images/json.
type ImageList struct {
	All, SharedSize, Manifests bool
	Filters                    filter.Args
}

// ImageRemove of DELETE /images/{name}.
type ImageRemove struct {
	Force, NoPrune bool
	Platforms      []ocispec.Platform
}

// ImageTransfer of a pull or a push. Auth may be nil.
type ImageTransfer struct {
	Platform *ocispec.Platform
	Auth     *registry.AuthConfig
	// AllTags of the repository rather than one.
	AllTags bool
}

// ImageImport of POST /images/create?fromSrc=…
type ImageImport struct {
	// Ref to tag the image with; empty leaves it without a name.
	Ref, Message string
	Changes      []string
	Platform     *ocispec.Platform
}
