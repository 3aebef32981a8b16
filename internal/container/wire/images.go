// Package wire fits the rooms below to what a container's life asks of them.
// It holds no logic of its own: one adapter a room, for cmd/hoyd to use.
package wire

import (
	"context"
	"fmt"

	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/container/deps"
	"hoy/internal/image"
	"hoy/internal/image/change"
	"hoy/internal/runtime"
)

// Images gives the image room.
func Images(s *image.Service) deps.Images { return images{s} }

type images struct{ s *image.Service }

func (i images) Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*deps.Image, error) {
	img, err := i.s.Resolve(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	return &deps.Image{
		ID: img.ID, Name: img.Name, Manifest: img.Manifest, Config: img.Config, Platform: img.Platform, Handle: img,
	}, nil
}

func handle(img *deps.Image) (*image.Image, error) {
	if h, ok := img.Handle.(*image.Image); ok {
		return h, nil
	}
	return nil, fmt.Errorf("image %s was not resolved by the image store", img.ID)
}

func (i images) Prepare(ctx context.Context, key string, img *deps.Image) error {
	h, err := handle(img)
	if err != nil {
		return err
	}
	return i.s.Prepare(ctx, key, h)
}

func (i images) ImageSize(ctx context.Context, img *deps.Image) (int64, error) {
	h, err := handle(img)
	if err != nil {
		return 0, err
	}
	return i.s.ImageSize(ctx, h)
}

func (i images) Commit(ctx context.Context, key string, parent *deps.Image, opt deps.CommitOptions) (string, error) {
	h, err := handle(parent)
	if err != nil {
		return "", err
	}
	if err := change.Apply(&opt.Config, opt.Changes); err != nil {
		return "", err
	}
	return i.s.Commit(ctx, key, h, image.CommitOptions{
		Config: opt.Config, Author: opt.Author, Comment: opt.Comment, Ref: opt.Ref, Time: opt.Time, Hide: opt.Hide,
	})
}

func (i images) Mounts(ctx context.Context, key string) ([]runtime.RootMount, error) {
	return i.s.Mounts(ctx, key)
}
func (i images) RemoveSnapshot(ctx context.Context, key string) error {
	return i.s.RemoveSnapshot(ctx, key)
}
func (i images) SnapshotUsage(ctx context.Context, keys ...string) []int64 {
	return i.s.SnapshotUsage(ctx, keys...)
}
func (i images) Snapshots(ctx context.Context) ([]string, error) { return i.s.Snapshots(ctx) }
func (i images) SnapshotChanges(ctx context.Context, key string) ([]container.FilesystemChange, error) {
	return i.s.SnapshotChanges(ctx, key)
}
func (i images) Driver() string { return i.s.Driver() }
