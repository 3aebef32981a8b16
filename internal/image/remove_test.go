package image_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"hoy/internal/image"
	"hoy/internal/request"
)

func TestRemoveRules(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	id := w.imported("a:1", nil, file("a", "a"))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Tag(ctx, "a:1", "b", "2"))
	refuse := func(ref string, force bool, words string) {
		t.Helper()
		_, err := w.Remove(ctx, ref, request.ImageRemove{Force: force})
		if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), words) {
			t.Errorf("remove %s: %v, want a conflict with %q", ref, err, words)
		}
	}
	short := strings.TrimPrefix(id, "sha256:")[:12]
	refuse(id, false, "conflict: unable to delete "+short+" (must be forced) - image is referenced in multiple repositories")
	w.uses = []image.Use{{ImageID: id, ContainerID: strings.Repeat("c", 64), Running: true}}
	// One of two names may always go.
	out, err := w.Remove(ctx, "b:2", request.ImageRemove{})
	if err != nil || len(out) != 1 || out[0].Untagged != "b:2" {
		t.Errorf("untag: %v, %v", out, err)
	}
	refuse("a:1", false, "conflict: unable to delete a:1 (must be forced) - container cccccccccccc is using its referenced image "+short)
	refuse(short, false, "conflict: unable to delete "+short+" (cannot be forced) - image is being used by running container cccccccccccc")
	w.uses[0].Running = false
	refuse(short, false, "conflict: unable to delete "+short+" (must be forced) - image is being used by stopped container cccccccccccc")
	out, err = w.Remove(ctx, "nope", request.ImageRemove{})
	if !errdefs.IsNotFound(err) || err.Error() != "No such image: nope:latest" {
		t.Errorf("unknown: %v, %v", out, err)
	}
	out, err = w.Remove(ctx, short, request.ImageRemove{Force: true})
	if err != nil || len(out) != 2 || out[0].Untagged != "a:1" || out[1].Deleted != id {
		t.Errorf("forced: %v, %v", out, err)
	}
	if got := w.actions(); !slices.Equal(got, []string{"import", "tag", "untag", "untag", "delete"}) {
		t.Errorf("events %v", got)
	}
}

func TestForcedRemovalOfAUsedImageKeepsItWithoutAName(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	id := w.imported("a:1", nil, file("a", "a"))
	if err := w.Tag(ctx, "a:1", "a", "2"); err != nil {
		t.Fatal(err)
	}
	for _, running := range []bool{false, true} {
		w.uses = []image.Use{{ImageID: id, ContainerID: strings.Repeat("c", 64), Running: running}}
		for _, name := range []string{"a:2", "a:1"} {
			out, err := w.Remove(ctx, name, request.ImageRemove{Force: true})
			if err != nil || len(out) != 1 || out[0].Untagged != name || out[0].Deleted != "" {
				t.Errorf("running %v, remove %s: %+v, %v", running, name, out, err)
			}
			if err := w.Tag(ctx, id, "a", "1"); err != nil {
				t.Fatalf("the image is gone: %v", err)
			}
			if name == "a:2" {
				continue
			}
			if err := w.Tag(ctx, id, "a", "2"); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.uses = nil
	if _, err := w.Remove(ctx, id, request.ImageRemove{}); !errdefs.IsConflict(err) {
		t.Errorf("by id with two tags of one repository: %v, want a conflict", err)
	}
	// By digest all tags of the repository go, and with them the image.
	out, err := w.Remove(ctx, "a@"+id, request.ImageRemove{})
	if err != nil || len(out) != 3 || out[2].Deleted != id {
		t.Errorf("by digest: %+v, %v", out, err)
	}
}

func TestAnImageOutlivesTheOneItWasMadeFrom(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	base := w.imported("base", nil, file("a", "below"))
	img := w.prepared("c", "base")
	w.put("c", "/b=above")
	if _, err := w.Commit(ctx, "c", img, image.CommitOptions{Ref: "child"}); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveSnapshot(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if out, err := w.Remove(ctx, "base", request.ImageRemove{}); err != nil || len(out) != 2 || out[1].Deleted != base {
		t.Errorf("remove of the parent: %+v, %v", out, err)
	}
	w.prepared("d", "child")
	if got, err := os.ReadFile(filepath.Join(w.mounted("d"), "a")); err != nil || string(got) != "below" {
		t.Errorf("the parent's file: %q, %v", got, err)
	}
}

func TestTheBuiltInImageIsKnownBeforeItsFirstUse(t *testing.T) {
	for verb, do := range map[string]func(*world) error{
		"history": func(w *world) error { _, err := w.History(w.t.Context(), "hoy/hello", nil); return err },
		"inspect": func(w *world) error {
			_, err := w.Inspect(w.t.Context(), "docker.io/hoy/hello:latest", nil, true)
			return err
		},
		"tag":  func(w *world) error { return w.Tag(w.t.Context(), "hoy/hello", "x", "") },
		"save": func(w *world) error { return w.Save(w.t.Context(), []string{"hoy/hello"}, nil, io.Discard) },
	} {
		if err := do(open(t, "")); err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
	w := open(t, "")
	if all, err := w.List(t.Context(), request.ImageList{}); err != nil || len(all) != 0 {
		t.Errorf("list before first use: %v, %v", all, err)
	}
}
