package image

import (
	"context"

	"hoy/internal/image/verify"
	"hoy/internal/reconcile"
)

// Check looks for damaged blobs: at their sizes and those of what they name.
func (s *Service) Check(ctx context.Context) []reconcile.Finding { return s.verify(ctx, false) }

// CheckAll reads every byte of every image.
func (s *Service) CheckAll(ctx context.Context) []reconcile.Finding { return s.verify(ctx, true) }

func (s *Service) verify(ctx context.Context, deep bool) []reconcile.Finding {
	const todo = "remove the image and pull or load it again"
	found, err := verify.Images(ctx, s.store, deep)
	if err != nil {
		return []reconcile.Finding{{Kind: "image", Object: "all", Store: "recorded", Machine: err.Error(), Repair: todo}}
	}
	list := make([]reconcile.Finding, 0, len(found))
	for _, d := range found {
		list = append(list, reconcile.Finding{
			Kind: "image", Object: d.Image, Store: d.Blob.Digest.String(), Machine: d.Err.Error(), Repair: todo,
		})
	}
	return list
}

// KeepCopies copies what the store records of images, where that has changed.
func (s *Service) KeepCopies() { s.store.KeepCopies() }
