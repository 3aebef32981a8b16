package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/store"
	"hoy/internal/runtime"
)

// Resolve finds the image that ref names and its manifest for the platform; a
// nil platform is the host's where the image has it, else what it has. What is
// not there is errdefs.ErrNotFound.
func (s *Service) Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*Image, error) {
	if err := s.helloFor(ctx, ref); err != nil {
		return nil, err
	}
	g, record, err := s.names.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := s.view.Manifest(ctx, g, ref, platform)
	if err != nil {
		return nil, err
	}
	return &Image{
		ID: g.ID(), Name: record, Target: g.Target, Manifest: m.Descriptor, Config: m.Config,
		ChainID: m.ChainID(), Platform: m.Platform(),
	}, nil
}

// Prepare makes the writable layer key for a container of img, unpacking the
// image first where that was not done yet.
func (s *Service) Prepare(ctx context.Context, key string, img *Image) error {
	err := s.store.Prepare(ctx, key, img.ChainID)
	if !errdefs.IsNotFound(err) {
		return err
	}
	lctx, done, err := s.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.unpack(lctx, img.Manifest); err != nil {
		return fmt.Errorf("image %s: %w", catalog.Short(img.ID), err)
	}
	return s.store.Prepare(ctx, key, img.ChainID)
}

func (s *Service) unpack(lctx context.Context, desc ocispec.Descriptor) error {
	m, err := s.store.Manifest(lctx, desc)
	if err != nil {
		return err
	}
	_, err = s.store.Unpack(lctx, m, nil, nil)
	return err
}

// Mounts says how the root file system of key is mounted.
func (s *Service) Mounts(ctx context.Context, key string) ([]runtime.RootMount, error) {
	return s.store.Mounts(ctx, key)
}

// RemoveSnapshot removes the writable layer key. The name is free at once; the
// files go in the background, and with them the layers of an image that was
// deleted before its container. An unknown key is errdefs.ErrNotFound.
func (s *Service) RemoveSnapshot(ctx context.Context, key string) error {
	chain, err := s.store.RemoveLayer(key)
	if err != nil || chain == "" {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	s.store.Background(func() {
		if !s.hasImage(ctx, chain) {
			s.store.Discard(ctx)
		}
	})
	return nil
}

// hasImage says whether an image has exactly these unpacked layers.
func (s *Service) hasImage(ctx context.Context, chain digest.Digest) bool {
	groups, err := s.names.All(ctx)
	if err != nil {
		return true
	}
	for _, g := range groups {
		manifests, err := s.store.Manifests(ctx, g.Target)
		if err != nil || slices.ContainsFunc(manifests, func(m *store.Manifest) bool { return m.ChainID() == chain }) {
			return true
		}
	}
	return false
}

// Snapshots lists the keys of all writable layers.
func (s *Service) Snapshots(context.Context) ([]string, error) { return s.store.Layers(), nil }

// SnapshotUsage is what the writable layer key takes on disk, in bytes.
func (s *Service) SnapshotUsage(ctx context.Context, key string) (int64, error) {
	return s.store.Usage(ctx, key)
}

// ImageSize is what the unpacked layers of img take, in bytes.
func (s *Service) ImageSize(ctx context.Context, img *Image) (int64, error) {
	z, err := s.view.Sizes(ctx, img.Manifest)
	if err != nil {
		return 0, err
	}
	return z.Unpacked(), nil
}
