package image

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/hello"
	"hoy/internal/image/store"
	"hoy/internal/image/view"
)

// finder finds images by reference, the built-in one also before its first use.
type finder struct {
	store *store.Store
	names *catalog.Catalog
	view  *view.Images
}

// Resolve finds the image that ref names and its manifest for the platform; a
// nil platform is the host's where the image has it, else what it has. What is
// not there is errdefs.ErrNotFound.
func (f *finder) Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*Image, error) {
	if err := f.helloFor(ctx, ref); err != nil {
		return nil, err
	}
	g, record, err := f.names.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := f.view.Manifest(ctx, g, ref, platform)
	if err != nil {
		return nil, err
	}
	return &Image{
		ID: g.ID(), Name: record, Target: g.Target, Manifest: m.Descriptor, Config: m.Config,
		ChainID: m.ChainID(), Platform: m.Platform(),
	}, nil
}

// helloFor loads the built-in image where ref is to it and it is not here.
func (f *finder) helloFor(ctx context.Context, ref string) error {
	if !catalog.IsHello(ref) {
		return nil
	}
	if _, _, err := f.names.Find(ctx, ref); !errdefs.IsNotFound(err) {
		return err
	}
	return f.loadHello(ctx)
}

// loadHello puts the built-in image in the store under its name.
func (f *finder) loadHello(ctx context.Context) error {
	lctx, done, err := f.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	target, err := hello.Write(lctx, f.store)
	if err != nil {
		return fmt.Errorf("built-in image: %w", err)
	}
	return f.names.Put(ctx, hello.Name, target)
}

// tagsOf lists the names that a repository has here; none is errdefs.ErrNotFound.
func (f *finder) tagsOf(ctx context.Context, repo reference.Named) ([]reference.Named, error) {
	groups, err := f.names.All(ctx)
	if err != nil {
		return nil, err
	}
	var refs []reference.Named
	for _, g := range groups {
		for _, name := range g.Names() {
			ref, err := reference.ParseNormalizedNamed(name)
			if _, tagged := ref.(reference.Tagged); err == nil && tagged && ref.Name() == repo.Name() {
				refs = append(refs, ref)
			}
		}
	}
	if len(refs) == 0 {
		return nil, errdefs.ErrNotFound.WithMessage("An image does not exist locally with the tag: " + reference.FamiliarName(repo))
	}
	return refs, nil
}
