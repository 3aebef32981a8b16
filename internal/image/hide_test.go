package image_test

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/image"
)

var engineMadePlaces = []string{"/dev", "/dev/pts", "/proc", "/etc", "/etc/hosts", "/etc/hostname", "/sbin", "/sbin/docker-init"}

func TestCommitLeavesOutPlacesToMountOn(t *testing.T) {
	for _, driver := range []string{"overlayfs", "native"} {
		t.Run(driver, func(t *testing.T) {
			w, ctx := open(t, driver), t.Context()
			then := dir("etc", 0o755)
			then.ModTime = time.Unix(1000, 0)
			w.imported("base", nil, then, file("etc/passwd", "x"))
			img := w.prepared("clean", "base")
			w.put("clean", "/dev/pts/", "/proc/", "/etc/hosts", "/etc/hostname", "/sbin/docker-init")
			id, err := w.Commit(ctx, "clean", img, image.CommitOptions{Config: container.Config{}, Hide: engineMadePlaces})
			if err != nil {
				t.Fatal(err)
			}
			if info, err := w.Inspect(ctx, id, nil, false); err != nil || len(info.RootFS.Layers) != 1 {
				t.Errorf("a layer of nothing: %+v, %v", info, err)
			}

			img = w.prepared("used", "base")
			w.put("used", "/dev/pts/", "/dev/mine", "/proc/", "/etc/hosts", "/etc/hostname=box", "/sbin/docker-init", "/srv/")
			w.put("used", "/etc/passwd")
			if _, err = w.Commit(ctx, "used", img, image.CommitOptions{Config: container.Config{}, Hide: engineMadePlaces, Ref: "used"}); err != nil {
				t.Fatal(err)
			}
			w.prepared("look", "used")
			root := w.mounted("look")
			for _, p := range []string{"dev/mine", "etc/hostname", "etc/passwd", "srv"} {
				if _, err := os.Lstat(filepath.Join(root, p)); err != nil {
					t.Errorf("what the container has made is not in the image: %v", err)
				}
			}
			for _, p := range []string{"dev/pts", "proc", "etc/hosts", "sbin"} {
				if _, err := os.Lstat(filepath.Join(root, p)); err == nil {
					t.Errorf("the engine's place /%s is in the image", p)
				}
			}
			if names := w.layer("used", 1); !slices.Equal(names, []string{"dev/", "dev/mine", "etc/", "etc/hostname", "etc/passwd", "srv/"}) {
				t.Errorf("layer %q", names)
			}
		})
	}
}

func TestCommitKeepsWhatTheImageHad(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	w.imported("base", nil, dir("proc", 0o555), file("etc/hosts", ""), dir("dev", 0o755))
	img := w.prepared("c", "base")
	upper := w.upper("c")
	if err := os.Mkdir(filepath.Join(upper, "proc"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.put("c", "/etc/hosts")
	if _, err := w.Commit(ctx, "c", img, image.CommitOptions{Config: container.Config{}, Hide: engineMadePlaces, Ref: "next"}); err != nil {
		t.Fatal(err)
	}
	if names := w.layer("next", 1); !slices.Equal(names, []string{"etc/", "etc/hosts", "proc/"}) {
		t.Errorf("layer %q: a place that the image has is an ordinary file", names)
	}
}

// put makes files ("/a", "/a=content") and directories ("/a/") in a writable layer.
func (w *world) put(key string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		name, content, _ := strings.Cut(name, "=")
		p := filepath.Join(w.upper(key), name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else if err == nil {
			err = os.WriteFile(p, []byte(content), 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// layer lists what is in the layer of an image, as saved.
func (w *world) layer(ref string, index int) []string {
	w.t.Helper()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(w.Save(w.t.Context(), []string{ref}, nil, pw)) }()
	info, err := w.Inspect(w.t.Context(), ref, nil, false)
	if err != nil || index >= len(info.RootFS.Layers) {
		w.t.Fatalf("inspect %+v, %v", info, err)
	}
	var names []string
	saved := tar.NewReader(pr)
	for {
		h, err := saved.Next()
		if err != nil {
			break
		}
		if filepath.Base(h.Name) != strings.TrimPrefix(info.RootFS.Layers[index], "sha256:") {
			continue
		}
		for layer := tar.NewReader(saved); ; {
			h, err := layer.Next()
			if err != nil {
				break
			}
			names = append(names, h.Name)
		}
	}
	return names
}
