// Package archive brings images in from tar streams and writes them out: a bare
// root file system, a docker archive, an OCI layout.
package archive

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/change"
	"hoy/internal/image/decompress"
	"hoy/internal/image/store"
)

// ImportOptions of Import. Changes are Dockerfile instructions.
type ImportOptions struct {
	Message  string
	Changes  []string
	Platform *ocispec.Platform
}

// Import makes an image of one layer from a root file system tar, compressed or
// not. The layer is stored uncompressed: its digest is that of the plain tar,
// and nothing is spent on compressing it. ctx is a lease's.
func Import(ctx context.Context, s *store.Store, content io.Reader, opt ImportOptions) (ocispec.Descriptor, error) {
	fail := func(err error) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, err }
	config := &container.Config{}
	if err := change.Apply(config, opt.Changes); err != nil {
		return fail(err)
	}
	platform := platforms.DefaultSpec()
	if opt.Platform != nil {
		platform = platforms.Normalize(*opt.Platform)
	}
	plain, err := decompress.Stream(content)
	if err != nil {
		return fail(err)
	}
	defer plain.Close()
	layer, _, err := s.WriteLayer(ctx, nil, plain)
	if err != nil {
		return fail(fmt.Errorf("import: %w", err))
	}
	comment := opt.Message
	if comment == "" {
		comment = "Imported from -"
	}
	now := time.Now().UTC()
	img := dockerspec.DockerOCIImage{Image: ocispec.Image{
		Created:  &now,
		Platform: ocispec.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
		History:  []ocispec.History{{Created: &now, Comment: comment}},
	}}
	img.Config = change.ToImage(config)
	return s.WriteImage(ctx, img, []ocispec.Descriptor{layer})
}
