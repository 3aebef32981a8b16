package ingest

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
)

// uncommitted opens the writer below and then fails, as metadata does whose
// transaction cannot be committed.
type uncommitted struct {
	content.Store
	err error
}

func (u uncommitted) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := u.Store.Writer(ctx, opts...)
	if u.err != nil {
		return nil, u.err
	}
	return w, err
}

func TestANameIsFreeAfterAFailure(t *testing.T) {
	disk, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if _, err := Above(uncommitted{Below(disk), full}).Writer(t.Context(), content.WithRef("one")); !errors.Is(err, full) {
		t.Fatalf("the failure is told as %v", err)
	}
	w, err := Above(uncommitted{Below(disk), nil}).Writer(t.Context(), content.WithRef("one"))
	if err != nil {
		t.Fatalf("the same name again: %v", err)
	}
	if _, err := w.Write([]byte("text")); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
