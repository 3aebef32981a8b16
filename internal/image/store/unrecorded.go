package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// dropUnrecorded removes blobs and snapshots that were made and whose record an
// earlier process did not live to commit. The collector looks for those only
// after it has removed something of their kind.
func (s *Store) dropUnrecorded(ctx context.Context, blobs content.Store) error {
	recorded := s.meta.ContentStore()
	var gone []content.Info
	err := blobs.Walk(ctx, func(i content.Info) error {
		if _, err := recorded.Info(ctx, i.Digest); errdefs.IsNotFound(err) {
			gone = append(gone, i)
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a new store has no directory of blobs
		return fmt.Errorf("image store: content: %w", err)
	}
	for _, i := range gone {
		if err := blobs.Delete(ctx, i.Digest); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("image store: unrecorded content %s: %w", i.Digest, err)
		}
	}
	return s.dropUnrecordedSnapshots(ctx)
}

// dropUnrecordedSnapshots: the snapshotter below names what is recorded under a
// key "namespace/number/key".
func (s *Store) dropUnrecordedSnapshots(ctx context.Context) error {
	keys := map[string]bool{}
	err := s.meta.Snapshotter(s.driver).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		keys[i.Name] = true
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("image store: layers: %w", err)
	}
	var gone []string
	err = s.backend.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if part := strings.SplitN(i.Name, "/", 3); len(part) == 3 && part[0] == Namespace && !keys[part[2]] {
			gone = append(gone, i.Name)
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("image store: layers: %w", err)
	}
	// One that others stand on goes after those; what does not go has a recorded one on it.
	for again := true; again; {
		again = false
		var left []string
		for _, name := range gone {
			switch err := s.backend.Remove(ctx, name); {
			case err == nil || errdefs.IsNotFound(err):
				again = true
			case errdefs.IsFailedPrecondition(err):
				left = append(left, name)
			default:
				return fmt.Errorf("image store: unrecorded layer %s: %w", name, err)
			}
		}
		gone = left
	}
	return nil
}
