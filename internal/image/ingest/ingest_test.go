package ingest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

// TestAWriterThatCannotBeginLeavesNothing has a directory where one of its files is to be.
func TestAWriterThatCannotBeginLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	disk, err := local.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Below(disk).Writer(t.Context(), content.WithRef("one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	begun, err := filepath.Glob(dir + "/ingest/*")
	if err != nil || len(begun) != 1 {
		t.Fatalf("%q, %v", begun, err)
	}
	if err := errors.Join(os.RemoveAll(begun[0]+"/startedat"), os.Mkdir(begun[0]+"/startedat", 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := Below(disk).Writer(t.Context(), content.WithRef("one")); err == nil {
		t.Fatal("it began all the same")
	}
	if left, _ := filepath.Glob(dir + "/ingest/*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
