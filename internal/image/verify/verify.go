// Package verify looks for damaged content of images.
package verify

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/store"
)

// maxQuick is how long a blob may be to be read each time.
const maxQuick = 256 << 10

// Damaged is a blob of an image that is not what it must be.
type Damaged struct {
	Image string
	Blob  ocispec.Descriptor
	Err   error
}

// Images looks for damaged blobs of all images: at their sizes and, where deep,
// at every byte. A blob that is not here is none that is damaged: an image may
// be here for one platform alone.
func Images(ctx context.Context, s *store.Store, deep bool) ([]Damaged, error) {
	ctx = s.Context(ctx)
	all, err := s.Images().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	v := &verifier{s: s, deep: deep, seen: map[digest.Digest]bool{}}
	for _, im := range all {
		v.image = im.Name
		v.blob(ctx, im.Target)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return v.found, nil
}

type verifier struct {
	s     *store.Store
	deep  bool
	image string
	seen  map[digest.Digest]bool
	found []Damaged
}

func (v *verifier) blob(ctx context.Context, desc ocispec.Descriptor) {
	if v.seen[desc.Digest] || ctx.Err() != nil {
		return
	}
	v.seen[desc.Digest] = true
	err := v.check(ctx, desc)
	if errdefs.IsNotFound(err) {
		return
	}
	if err == nil && (images.IsManifestType(desc.MediaType) || images.IsIndexType(desc.MediaType)) {
		var below []ocispec.Descriptor
		if below, err = images.Children(ctx, verified{v.s}, desc); err == nil {
			for _, d := range below {
				v.blob(ctx, d)
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		v.found = append(v.found, Damaged{Image: v.image, Blob: desc, Err: err})
	}
}

// verified reads documents as the store does: with their digest compared.
type verified struct{ s *store.Store }

func (p verified) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if _, err := p.s.Bytes(ctx, desc); err != nil {
		return nil, err
	}
	return p.s.Content().ReaderAt(ctx, desc)
}

func (v *verifier) check(ctx context.Context, desc ocispec.Descriptor) error {
	info, err := v.s.Content().Info(ctx, desc.Digest)
	if err != nil {
		return err
	}
	ra, err := v.s.Content().ReaderAt(ctx, desc)
	if err != nil {
		return store.DamagedBlob(desc, err.Error())
	}
	defer ra.Close()
	if ra.Size() != desc.Size && desc.Size > 0 || ra.Size() != info.Size {
		return store.DamagedBlob(desc, fmt.Sprintf("it has %d bytes of %d", ra.Size(), max(desc.Size, info.Size)))
	}
	if !v.deep && info.Size > maxQuick {
		return nil
	}
	got, err := desc.Digest.Algorithm().FromReader(content.NewReader(ra))
	if err != nil {
		return store.DamagedBlob(desc, err.Error())
	}
	if got != desc.Digest {
		return store.DamagedBlob(desc, fmt.Sprintf("its content has the digest %s", got))
	}
	return nil
}
