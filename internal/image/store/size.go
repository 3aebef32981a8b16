package store

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Sizes are bytes of the blobs and of the unpacked layers that are there, each
// counted once.
type Sizes struct {
	Blobs  map[digest.Digest]int64
	Chains map[digest.Digest]int64
}

// NewSizes is an empty count.
func NewSizes() *Sizes {
	return &Sizes{Blobs: map[digest.Digest]int64{}, Chains: map[digest.Digest]int64{}}
}

// Content is the sum over the blobs.
func (z *Sizes) Content() (n int64) {
	for _, v := range z.Blobs {
		n += v
	}
	return n
}

// Unpacked is the sum over the unpacked layers.
func (z *Sizes) Unpacked() (n int64) {
	for _, v := range z.Chains {
		n += v
	}
	return n
}

// sizer counts what blobs and unpacked layers take.
type sizer struct {
	blobs *blobs
	snaps snapshots.Snapshotter
}

// Add counts everything below desc that is there.
func (s *sizer) Add(ctx context.Context, z *Sizes, desc ocispec.Descriptor) error {
	if _, seen := z.Blobs[desc.Digest]; seen {
		return nil
	}
	info, err := s.blobs.content.Info(in(ctx), desc.Digest)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	z.Blobs[desc.Digest] = info.Size
	if images.IsIndexType(desc.MediaType) {
		children, err := s.blobs.Index(ctx, desc)
		if err != nil {
			return err
		}
		for _, c := range children {
			if err := s.Add(ctx, z, c); err != nil {
				return err
			}
		}
		return nil
	}
	if !images.IsManifestType(desc.MediaType) {
		return nil
	}
	var doc ocispec.Manifest
	if err := s.blobs.Document(ctx, desc, &doc); err != nil {
		return err
	}
	for _, c := range append([]ocispec.Descriptor{doc.Config}, doc.Layers...) {
		if err := s.Add(ctx, z, c); err != nil {
			return err
		}
	}
	if !images.IsConfigType(doc.Config.MediaType) {
		return nil
	}
	m, err := s.blobs.Manifest(ctx, desc)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	return s.addChains(ctx, z, m)
}

func (s *sizer) addChains(ctx context.Context, z *Sizes, m *Manifest) error {
	for i := range m.Config.RootFS.DiffIDs {
		chain := identity.ChainID(m.Config.RootFS.DiffIDs[:i+1])
		if _, seen := z.Chains[chain]; seen {
			continue
		}
		size, err := s.ChainSize(ctx, chain)
		if err != nil {
			if errdefs.IsNotFound(err) {
				return nil
			}
			return err
		}
		z.Chains[chain] = size
	}
	return nil
}

// ChainSize is what one unpacked layer takes, in bytes; it is a counter, the
// disk is not walked.
func (s *sizer) ChainSize(ctx context.Context, chain digest.Digest) (int64, error) {
	u, err := s.snaps.Usage(in(ctx), chain.String())
	if err != nil {
		return 0, fmt.Errorf("image layer %s: %w", chain, err)
	}
	return u.Size, nil
}

// Total is what all blobs and all unpacked layers take, in bytes.
func (s *sizer) Total(ctx context.Context) (int64, error) {
	ctx = in(ctx)
	var total int64
	err := s.blobs.content.Walk(ctx, func(i content.Info) error {
		total += i.Size
		return nil
	})
	if err != nil {
		return 0, err
	}
	var names []string
	err = s.snaps.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindCommitted {
			names = append(names, i.Name)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		u, err := s.snaps.Usage(ctx, name)
		if err != nil && !errdefs.IsNotFound(err) {
			return 0, err
		}
		total += u.Size
	}
	return total, nil
}
