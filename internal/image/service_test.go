package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"hoy/internal/filter"
	"hoy/internal/image"
	"hoy/internal/request"
)

// world is a service with what a test wants to see of it.
type world struct {
	*image.Service
	t    *testing.T
	root string

	mu     sync.Mutex
	events []events.Message
	uses   []image.Use
}

func open(t *testing.T, snapshotter string) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: layers keep their owners")
	}
	return reopen(t, t.TempDir(), snapshotter)
}

func reopen(t *testing.T, root, snapshotter string) *world {
	t.Helper()
	w := &world{t: t, root: root}
	s, err := image.Open(t.Context(), image.Options{
		Root: root, Snapshotter: snapshotter,
		Events: func(m events.Message) { w.mu.Lock(); defer w.mu.Unlock(); w.events = append(w.events, m) },
		Users:  func() []image.Use { return w.uses },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	t.Cleanup(func() { _ = s.Close() })
	return w
}

func (w *world) actions() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.events {
		out = append(out, string(e.Action))
	}
	return out
}

// entry of a test archive; Body is the content of a regular file.
type entry struct {
	tar.Header
	Body string
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
}

func dir(name string, mode int64) entry {
	return entry{tar.Header{Name: name, Mode: mode, Typeflag: tar.TypeDir}, ""}
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.Body))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) imported(ref string, changes []string, entries ...entry) string {
	w.t.Helper()
	id, err := w.Import(w.t.Context(), bytes.NewReader(tarOf(w.t, entries...)), request.ImageImport{Ref: ref, Changes: changes}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// upper is where what a container writes goes.
func (w *world) upper(key string) string { return filepath.Join(w.root, "writable", key, "fs") }

func (w *world) prepared(key, ref string) *image.Image {
	w.t.Helper()
	img, err := w.Resolve(w.t.Context(), ref, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.Prepare(w.t.Context(), key, img); err != nil {
		w.t.Fatal(err)
	}
	return img
}

// diskUse counts the bytes of blobs and of unpacked files, and their number.
func (w *world) diskUse() (bytes int64, files int) {
	w.t.Helper()
	for _, sub := range []string{"content", "overlayfs/snapshots", "native/snapshots", "writable", "trash"} {
		_ = filepath.WalkDir(filepath.Join(w.root, sub), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() { // what goes away meanwhile does not count
				if info, err := d.Info(); err == nil {
					bytes += info.Size()
					files++
				}
			}
			return nil
		})
	}
	return bytes, files
}

func TestLifeOfAnImage(t *testing.T) {
	for _, driver := range []string{"overlayfs", "native"} {
		t.Run(driver, func(t *testing.T) { lifeOfAnImage(t, driver) })
	}
}

func lifeOfAnImage(t *testing.T, driver string) {
	w, ctx := open(t, driver), t.Context()
	id := w.imported("base", []string{`CMD ["/bin/sh"]`, "ENV A=b"}, dir("etc/", 0o750), file("etc/hosts", "x"), file("big", strings.Repeat("y", 1<<20)))
	img := w.prepared("c1", "base")
	if img.ID != id || img.Name != "docker.io/library/base:latest" || !slices.Equal(img.Config.Config.Cmd, []string{"/bin/sh"}) {
		t.Errorf("resolved %+v, want id %s", img, id)
	}
	mounts, err := w.Mounts(ctx, "c1")
	if err != nil || len(mounts) != 1 {
		t.Fatalf("mounts %v, %v", mounts, err)
	}
	if want := map[string]string{"overlayfs": "overlay", "native": "bind"}[driver]; mounts[0].Type != want {
		t.Errorf("mount type %s, want %s", mounts[0].Type, want)
	}
	if err := w.Prepare(ctx, "c1", img); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second prepare: %v, want already exists", err)
	}
	if err := os.WriteFile(filepath.Join(w.upper("c1"), "new"), []byte("12345678"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := w.SnapshotUsage(ctx, "c1")[0]; n < 8 {
		t.Errorf("usage %d, %v", n, err)
	}
	changes, err := w.SnapshotChanges(ctx, "c1")
	if err != nil || !slices.Contains(changes, container.FilesystemChange{Kind: container.ChangeAdd, Path: "/new"}) {
		t.Errorf("changes %v, %v", changes, err)
	}
	id2, err := w.Commit(ctx, "c1", img, image.CommitOptions{Config: container.Config{Cmd: []string{"/new"}}, Comment: "hi", Author: "me", Ref: "derived:1"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.Inspect(ctx, id2, nil, true)
	if err != nil || len(info.RootFS.Layers) != 2 || info.Comment != "hi" || info.Author != "me" || len(info.Manifests) != 1 {
		t.Errorf("inspect %+v, %v", info, err)
	}
	hist, err := w.History(ctx, "derived:1", nil)
	if err != nil || len(hist) != 2 || hist[0].Comment != "hi" || hist[0].ID != id2 || hist[1].ID != "<missing>" || hist[1].Size < 1<<20 {
		t.Errorf("history %+v, %v", hist, err)
	}
	w.prepared("c2", "derived:1")
	if keys, _ := w.Snapshots(ctx); !slices.Equal(keys, []string{"c1", "c2"}) {
		t.Errorf("snapshots %v", keys)
	}
	for _, ref := range []string{"base", "derived:1"} {
		if _, err := w.Remove(ctx, ref, request.ImageRemove{}); err != nil {
			t.Error(err)
		}
	}
	// The containers go on without their images' names.
	if _, err := w.Mounts(ctx, "c2"); err != nil {
		t.Errorf("mounts after the image went: %v", err)
	}
	for _, key := range []string{"c1", "c2"} {
		if err := w.RemoveSnapshot(ctx, key); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w.root, driver)
	if n, files := w.diskUse(); files != 0 {
		t.Errorf("%d bytes in %d files are left", n, files)
	}
	if w.Count() != 0 {
		t.Errorf("%d images are left", w.Count())
	}
}

func TestWritableLayersOutliveTheProcess(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	w.imported("base", nil, file("f", "x"))
	w.prepared("c1", "base")
	before, err := w.Mounts(ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Remove(ctx, "base", request.ImageRemove{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w.root, "")
	after, err := w.Mounts(ctx, "c1")
	if err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("mounts %v, %v; before %v", after, err, before)
	}
	if _, files := w.diskUse(); files < 1 {
		t.Errorf("the image's files went away under a container: %d are left", files)
	}
}

// mounted mounts a container's file system in a private place for the test.
func (w *world) mounted(key string) string {
	w.t.Helper()
	mounts, err := w.Mounts(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	target := w.t.TempDir()
	m := mounts[0]
	flags := uintptr(0)
	data := strings.Join(m.Options, ",")
	if m.Type == "bind" {
		flags, data = unix.MS_BIND, ""
	}
	if err := unix.Mount(m.Source, target, m.Type, flags, data); err != nil {
		w.t.Fatalf("mount %v: %v", m, err)
	}
	w.t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	return target
}

func TestChangesAndCommitSeeWhatTheContainerDid(t *testing.T) {
	for _, driver := range []string{"overlayfs", "native"} {
		t.Run(driver, func(t *testing.T) { changesAndCommit(t, driver) })
	}
}

func changesAndCommit(t *testing.T, driver string) {
	w, ctx := open(t, driver), t.Context()
	w.imported("base", nil, dir("d/", 0o755), file("d/keep", "k"), file("d/gone", "g"), dir("e/", 0o755), file("e/old", "o"), file("mod", "m"), dir("f/", 0o700), file("f/x", "x"))
	img := w.prepared("c", "base")
	root := w.mounted("c")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.Remove(filepath.Join(root, "d/gone")))
	do(os.RemoveAll(filepath.Join(root, "e")))
	do(os.Mkdir(filepath.Join(root, "e"), 0o755))
	do(os.WriteFile(filepath.Join(root, "e/new"), []byte("n"), 0o640))
	do(os.Link(filepath.Join(root, "e/new"), filepath.Join(root, "e/twin")))
	do(os.WriteFile(filepath.Join(root, "mod"), []byte("mm"), 0o644))
	do(os.Symlink("/etc/passwd", filepath.Join(root, "link")))
	do(unix.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	got, err := w.SnapshotChanges(ctx, "c")
	do(err)
	kinds := map[string]container.ChangeType{}
	for _, c := range got {
		kinds[c.Path] = c.Kind
	}
	want := map[string]container.ChangeType{
		"/d": container.ChangeModify, "/d/gone": container.ChangeDelete,
		"/e": container.ChangeModify, "/e/old": container.ChangeDelete, "/e/new": container.ChangeAdd, "/e/twin": container.ChangeAdd,
		"/mod": container.ChangeModify, "/link": container.ChangeAdd, "/pipe": container.ChangeAdd,
	}
	for p, k := range want {
		if g, ok := kinds[p]; !ok || g != k {
			t.Errorf("%s: %v (%v), want %v", p, g, ok, k)
		}
	}
	for p := range kinds {
		if _, ok := want[p]; !ok {
			t.Errorf("unexpected change %v %s", kinds[p], p)
		}
	}
	_, err = w.Commit(ctx, "c", img, image.CommitOptions{Ref: "next"})
	do(err)
	w.prepared("c2", "next")
	root = w.mounted("c2")
	for _, p := range []string{"d/gone", "e/old"} {
		if _, err := os.Lstat(filepath.Join(root, p)); err == nil {
			t.Errorf("%s is back", p)
		}
	}
	a, err := os.Stat(filepath.Join(root, "e/new"))
	do(err)
	b, err := os.Stat(filepath.Join(root, "e/twin"))
	do(err)
	if !os.SameFile(a, b) || a.Mode().Perm() != 0o640 {
		t.Errorf("hard link or mode lost: %v, %v", a, b)
	}
	if fi, err := os.Lstat(filepath.Join(root, "f")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode of an untouched directory: %v, %v", fi, err)
	}
	if l, err := os.Readlink(filepath.Join(root, "link")); err != nil || l != "/etc/passwd" {
		t.Errorf("link %q, %v", l, err)
	}
}

func TestPruneAndFilters(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	a := w.imported("a:1", []string{"LABEL k=v"}, file("a", "a"))
	w.imported("a:1", nil, file("b", "b"))
	list := func(f filter.Args) int {
		t.Helper()
		l, err := w.List(ctx, request.ImageList{Filters: f})
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	for name, c := range map[string]struct {
		f    filter.Args
		want int
	}{
		"all":       {nil, 2},
		"dangling":  {filter.Args{"dangling": {"true"}}, 1},
		"named":     {filter.Args{"dangling": {"false"}}, 1},
		"label":     {filter.Args{"label": {"k=v"}}, 1},
		"not label": {filter.Args{"label!": {"k"}}, 1},
		"reference": {filter.Args{"reference": {"a:*"}}, 1},
		"none":      {filter.Args{"reference": {"b"}}, 0},
		"until":     {filter.Args{"until": {"1h"}}, 0},
		"since":     {filter.Args{"since": {a}}, 1},
		"before":    {filter.Args{"before": {"a:1"}}, 1},
	} {
		if got := list(c.f); got != c.want {
			t.Errorf("%s: %d images, want %d", name, got, c.want)
		}
	}
	w.uses = []image.Use{{ImageID: a, ContainerID: "c"}}
	if r, err := w.Prune(ctx, nil); err != nil || len(r.ImagesDeleted) != 0 {
		t.Errorf("prune of a used image: %+v, %v", r, err)
	}
	w.uses = nil
	r, err := w.Prune(ctx, nil)
	if err != nil || len(r.ImagesDeleted) != 1 || r.ImagesDeleted[0].Deleted != a || r.SpaceReclaimed == 0 {
		t.Errorf("prune: %+v, %v", r, err)
	}
	if r, err = w.Prune(ctx, filter.Args{"dangling": {"false"}}); err != nil || len(r.ImagesDeleted) != 2 {
		t.Errorf("prune of all: %+v, %v", r, err)
	}
	if _, files := w.diskUse(); files != 0 {
		t.Errorf("%d files are left", files)
	}
}

func TestRefusals(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	for name, c := range map[string]struct {
		ref  string
		is   func(error) bool
		text string
	}{
		"unknown":     {"nope", errdefs.IsNotFound, "No such image: nope:latest"},
		"with digest": {"x@sha256:" + strings.Repeat("0", 64), errdefs.IsNotFound, "No such image: x@sha256:" + strings.Repeat("0", 64)},
		"bad":         {"UPPER:x", errdefs.IsInvalidArgument, "invalid reference format"},
		"empty":       {"", errdefs.IsInvalidArgument, "invalid reference format"},
	} {
		_, err := w.Resolve(ctx, c.ref, nil)
		if !c.is(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.imported("a", nil, file("a", "a"))
	for _, target := range []string{"Bad", "x@sha256:" + strings.Repeat("0", 64), "", "sha256:x"} {
		if err := w.Tag(ctx, "a", target, ""); !errdefs.IsInvalidArgument(err) {
			t.Errorf("tag %q: %v", target, err)
		}
	}
	full := tarOf(t, file("f", strings.Repeat("z", 100_000)))
	for name, data := range map[string][]byte{
		"half a tar":  full[:50_000],
		"not a tar":   bytes.Repeat([]byte("no tar "), 1000),
		"half a gzip": gz(t, full)[:60],
	} {
		if _, err := w.Import(ctx, bytes.NewReader(data), request.ImageImport{}, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("import of %s: %v", name, err)
		}
	}
	if _, err := w.Import(ctx, bytes.NewReader(full), request.ImageImport{Changes: []string{"FROM x"}}, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad change: %v", err)
	}
	if w.Count() != 1 {
		t.Errorf("%d images, want 1", w.Count())
	}
	if _, files := w.diskUse(); files != 4 { // config, manifest, layer, the file
		t.Errorf("%d files, want 4: a failed import left something", files)
	}
}

func TestHostileTarStaysInside(t *testing.T) {
	w := open(t, "")
	outside := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(outside, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(name, to string, kind byte) entry {
		return entry{tar.Header{Name: name, Linkname: to, Typeflag: kind, Mode: 0o777}, ""}
	}
	evil := file("xattr", "")
	evil.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/../..", "SCHILY.xattr.user.ok": "1"}
	for name, entries := range map[string][]entry{
		"dotdot":        {file("../../../../../../.."+outside, "evil")},
		"absolute":      {file(outside, "evil")},
		"absolute link": {link("l", filepath.Dir(outside), tar.TypeSymlink), file("l/victim", "evil")},
		"relative link": {link("l", "../../../../../../../../../.."+filepath.Dir(outside), tar.TypeSymlink), file("l/victim", "evil")},
		"hard link":     {link("h", outside, tar.TypeLink), file("h", "evil")},
		"loop":          {link("a", "b", tar.TypeSymlink), link("b", "a", tar.TypeSymlink), file("a/x", "evil")},
		"device":        {entry{tar.Header{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, ""}},
		"xattr":         {evil},
		"whiteout":      {file("../.wh.victim", ""), file(".wh..wh..opq", "")},
	} {
		_, err := w.Import(t.Context(), bytes.NewReader(tarOf(t, entries...)), request.ImageImport{}, nil)
		t.Logf("%s: %v", name, err)
		if got, rerr := os.ReadFile(outside); rerr != nil || string(got) != "safe" {
			t.Fatalf("%s: wrote outside: %q, %v", name, got, rerr)
		}
	}
	err := filepath.WalkDir(filepath.Join(w.root, "overlayfs"), func(p string, _ fs.DirEntry, _ error) error {
		if n, err := unix.Lgetxattr(p, "trusted.overlay.redirect", nil); err == nil && n > 0 {
			t.Errorf("%s: an archive set overlay's own attribute", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHelloIsThereWithoutANetwork(t *testing.T) {
	w, ctx := open(t, ""), t.Context()
	var status []string
	if err := w.Pull(ctx, "hoy/hello", request.ImageTransfer{}, collect(&status)); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(status, "Status: Downloaded newer image for hoy/hello:latest") {
		t.Errorf("messages %q", status)
	}
	w.prepared("c", "hoy/hello")
	root := w.mounted("c")
	out, err := runProgram(ctx, filepath.Join(root, "hello"))
	if err != nil || !strings.Contains(out, "Hello from hoy!") {
		t.Errorf("program: %q, %v", out, err)
	}
	list, err := w.List(ctx, request.ImageList{Manifests: true})
	if err != nil || len(list) != 1 || list[0].RepoTags[0] != "hoy/hello:latest" || len(list[0].Manifests) != 2 {
		t.Errorf("list %+v, %v", list, err)
	}
}

func TestSaveThenLoadElsewhereGivesTheSameImage(t *testing.T) {
	a, b, ctx := open(t, ""), open(t, "native"), t.Context()
	id := a.imported("x:1", []string{"ENV Q=1"}, file("f", "content"))
	if _, err := a.Resolve(ctx, "hoy/hello", nil); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := a.Save(ctx, []string{"x:1", "hoy/hello"}, nil, &buf); err != nil {
		t.Fatal(err)
	}
	saved := buf.Bytes()
	for name, data := range map[string][]byte{"plain": saved, "gzip": gz(t, saved)} {
		var status []string
		if err := b.Load(ctx, bytes.NewReader(data), nil, collect(&status)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Contains(status, "Loaded image: x:1\n") || !slices.Contains(status, "Loaded image: hoy/hello:latest\n") {
			t.Errorf("%s: messages %q", name, status)
		}
		img := b.prepared(name, "x:1")
		if img.ID != id {
			t.Errorf("%s: id %s, want %s", name, img.ID, id)
		}
	}
}

func collect(status *[]string) request.Progress {
	var mu sync.Mutex
	return func(m jsonMessage) {
		mu.Lock()
		defer mu.Unlock()
		*status = append(*status, m.Status+m.Stream)
	}
}

func runProgram(ctx context.Context, path string) (string, error) {
	out, err := command(ctx, path).CombinedOutput()
	return string(out), err
}
