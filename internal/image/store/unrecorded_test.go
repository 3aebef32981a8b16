package store

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestWhatWasNotRecordedGoes leaves what a daemon leaves that is killed after a
// blob or a snapshot was made and before its record was committed.
func TestWhatWasNotRecordedGoes(t *testing.T) {
	root, ctx := t.TempDir(), t.Context()
	opt := Options{Root: root, Snapshotter: "native"}
	s, err := Open(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	put := func(c content.Store, text string) digest.Digest {
		t.Helper()
		d := digest.FromString(text)
		err := content.WriteBlob(s.Context(ctx), c, text, bytes.NewReader([]byte(text)), ocispec.Descriptor{Digest: d, Size: int64(len(text))})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	below, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		t.Fatal(err)
	}
	leased, _, err := s.Lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.layers.Prepare(leased, "kept", ""); err != nil {
		t.Fatal(err)
	}
	lost := put(below, "lost")
	prepare(ctx, t, s.backend, "hoy/90/lost-below", "")
	if err := s.backend.Commit(ctx, "hoy/91/lost-chain", "hoy/90/lost-below"); err != nil {
		t.Fatal(err)
	}
	prepare(ctx, t, s.backend, "hoy/92/lost-above", "hoy/91/lost-chain")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(ctx, opt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := below.Info(ctx, lost); err == nil {
		t.Error("the blob that nobody recorded is still there")
	}
	err = s.backend.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		t.Errorf("the snapshot that nobody recorded is still there: %s", i.Name)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := s.Layers(); len(got) != 1 || got[0] != "kept" {
		t.Errorf("layers %q", got)
	}
}

func prepare(ctx context.Context, t *testing.T, s snapshots.Snapshotter, key, parent string) {
	t.Helper()
	if _, err := s.Prepare(ctx, key, parent); err != nil {
		t.Fatal(err)
	}
}
