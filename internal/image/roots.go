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
	"hoy/internal/image/view"
	"hoy/internal/runtime"
	"hoy/internal/space"
)

// roots makes the root file systems of containers, and images of them.
type roots struct {
	store *store.Store
	names *catalog.Catalog
	view  *view.Images
	tell  *announcer
	room  *room
	meter *space.Meter
}

// Prepare makes the writable layer key for a container of img, unpacking the
// image first where that was not done yet.
func (r *roots) Prepare(ctx context.Context, key string, img *Image) error {
	err := r.store.Prepare(ctx, key, img.ChainID)
	if !errdefs.IsNotFound(err) {
		return err
	}
	lctx, done, err := r.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := r.unpack(lctx, img.Manifest); err != nil {
		return fmt.Errorf("image %s: %w", catalog.Short(img.ID), err)
	}
	return r.store.Prepare(ctx, key, img.ChainID)
}

func (r *roots) unpack(lctx context.Context, desc ocispec.Descriptor) error {
	m, err := r.store.Manifest(lctx, desc)
	if err != nil {
		return err
	}
	_, err = r.store.Unpack(lctx, m, nil, nil)
	return err
}

// Mounts says how the root file system of key is mounted.
func (r *roots) Mounts(ctx context.Context, key string) ([]runtime.RootMount, error) {
	return r.store.Mounts(ctx, key)
}

// RemoveSnapshot removes the writable layer key. The name is free at once; the
// files go in the background, and with them the layers of an image that was
// deleted before its container. An unknown key is errdefs.ErrNotFound.
func (r *roots) RemoveSnapshot(ctx context.Context, key string) error {
	chain, err := r.store.RemoveLayer(key)
	if err != nil || chain == "" {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	r.store.Background(func() {
		if !r.hasImage(ctx, chain) {
			r.store.Discard(ctx)
		}
	})
	return nil
}

// hasImage says whether an image has exactly these unpacked layers.
func (r *roots) hasImage(ctx context.Context, chain digest.Digest) bool {
	groups, err := r.names.All(ctx)
	if err != nil {
		return true
	}
	for _, g := range groups {
		manifests, err := r.store.Manifests(ctx, g.Target)
		if err != nil || slices.ContainsFunc(manifests, func(m *store.Manifest) bool { return m.ChainID() == chain }) {
			return true
		}
	}
	return false
}

// Snapshots lists the keys of all writable layers.
func (r *roots) Snapshots(context.Context) ([]string, error) { return r.store.Layers(), nil }

// SnapshotUsage is what writable layers take on disk, in bytes. One that is not
// there takes nothing; the size of a large one may be some time old.
func (r *roots) SnapshotUsage(ctx context.Context, keys ...string) []int64 {
	trees := make([]space.Tree, len(keys))
	for i, key := range keys {
		trees[i].Dir = r.store.Files(key)
	}
	sizes := make([]int64, len(keys))
	for i, s := range r.meter.Count(ctx, space.Budget, trees...) {
		sizes[i] = s.Bytes
	}
	return sizes
}

// Settled says that no layer of an image is being made.
func (r *roots) Settled() bool { return r.store.Settled() }

// ImageSize is what the unpacked layers of img take, in bytes.
func (r *roots) ImageSize(ctx context.Context, img *Image) (int64, error) {
	z, err := r.view.Sizes(ctx, img.Manifest)
	if err != nil {
		return 0, err
	}
	return z.Unpacked(), nil
}
