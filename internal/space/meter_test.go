package space

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// du is what du(1) says of a directory, in bytes.
func du(t *testing.T, dir string) int64 {
	t.Helper()
	out, err := exec.Command("du", "-sx", "--block-size=1", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func write(t *testing.T, path string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil { //nolint:forbidigo // a test's own file
		t.Fatal(err)
	}
}

// dataRoot has one of everything.
func dataRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, n := range map[string]int{
		"hoy.db": 40_000, "reserve": 100_000, "events/1": 3000, "image/meta.db": 9000, "image/overlayfs/metadata.db": 8000,
		"image/content/blobs/sha256/a": 123_456, "image/content/ingest/x/data": 5000, "image/trash/y/z": 10_000,
		"image/overlayfs/snapshots/1/fs/bin/sh": 70_000, "image/overlayfs/snapshots/1/work/.": 0, "image/overlayfs/snapshots/new-2/fs/f": 100,
		"image/writable/c1/fs/file": 30_000, "image/writable/c1/work/w": 1, "containers/c1/c1-json.log": 65_000, "containers/c1/record.json": 2000,
		"volumes/v1/_data/a/b/c": 44_000, "volumes/.removed.v2~1/_data/x": 1, "unknown/deep/er": 1234,
	} {
		if strings.HasSuffix(path, "/.") {
			continue
		}
		write(t, filepath.Join(root, path), n)
	}
	// Links count once, holes not at all.
	if err := os.Link(filepath.Join(root, "image/overlayfs/snapshots/1/fs/bin/sh"), filepath.Join(root, "image/overlayfs/snapshots/1/fs/bin/ash")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "volumes/v1/_data/a/b/c"), 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(root, "volumes/v1/_data/root")); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(root, "image/writable/c1/fs")
	for i := range 3 * maxOpen {
		deep = filepath.Join(deep, fmt.Sprint("d", i))
	}
	write(t, filepath.Join(deep, "bottom"), 20_000)
	return root
}

func usageOf(t *testing.T, m *Meter, root string) *Usage {
	t.Helper()
	return m.Usage(t.Context(), root, 10*time.Second, func() bool { return true })
}

func TestUsageEqualsDu(t *testing.T) {
	root := dataRoot(t)
	m := NewMeter("")
	u := usageOf(t, m, root)
	if want := du(t, root); u.Total() != want || u.Stale != 0 {
		t.Errorf("%d bytes with %d stale trees, du says %d: %+v", u.Total(), u.Stale, want, u)
	}
	for what, pair := range map[string][2]int64{
		"volume":   {u.Volumes["v1"], du(t, root+"/volumes/v1/_data")},
		"writable": {u.Writable["c1"], du(t, root+"/image/writable/c1/fs")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %d bytes, du says %d", what, pair[0], pair[1])
		}
	}
	// What changes is seen; what is gone is forgotten.
	write(t, filepath.Join(root, "volumes/v1/_data/more"), 300_000)
	write(t, filepath.Join(root, "image/writable/c2/fs/more"), 300_000)
	if err := os.RemoveAll(filepath.Join(root, "containers/c1")); err != nil {
		t.Fatal(err)
	}
	if u = usageOf(t, m, root); u.Total() != du(t, root) {
		t.Errorf("%d bytes after a change, du says %d: %+v", u.Total(), du(t, root), u)
	}
	if _, ok := m.known[Tree{Dir: filepath.Join(root, "containers/c1")}.key()]; ok {
		t.Error("a directory that is gone is remembered")
	}
}

func TestFixedTreesAreCountedOnceAndKept(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "usage.json")
	write(t, filepath.Join(dir, "f"), 10_000)
	m := NewMeter(file)
	fixed := Tree{Dir: dir, Fixed: true}
	first := m.Count(t.Context(), time.Second, fixed)[0]
	write(t, filepath.Join(dir, "g"), 50_000)
	if again := m.Count(t.Context(), time.Second, fixed)[0]; again.Bytes != first.Bytes || !again.Current {
		t.Errorf("%+v, then %+v", first, again)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = NewMeter(file)
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	if again := m.Count(t.Context(), 0, fixed)[0]; again.Bytes != first.Bytes || !again.Current {
		t.Errorf("after a restart %+v, before %+v", again, first)
	}
	if now := m.Count(t.Context(), time.Second, Tree{Dir: dir})[0]; now.Bytes != du(t, dir) {
		t.Errorf("no longer fixed: %+v, du says %d", now, du(t, dir))
	}
}

func TestBigTreesDoNotKeepRequestsWaiting(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		for j := range 100 {
			write(t, filepath.Join(dir, fmt.Sprint(i), fmt.Sprint(j)), 10)
		}
	}
	m := NewMeter("")
	tree := Tree{Dir: dir}
	began := time.Now()
	if s := m.Count(t.Context(), 0, tree)[0]; s.Current || time.Since(began) > 100*time.Millisecond {
		t.Errorf("%+v after %v", s, time.Since(began))
	}
	s := m.Count(t.Context(), 10*time.Second, tree)[0]
	if s.Bytes != du(t, dir) || !s.Current {
		t.Errorf("%+v, du says %d", s, du(t, dir))
	}
	m.mu.Lock()
	m.known[tree.key()].took = time.Minute // as if it were large
	m.mu.Unlock()
	began = time.Now()
	if again := m.Count(t.Context(), time.Second, tree)[0]; again.Current || again.At != s.At || time.Since(began) > 500*time.Millisecond {
		t.Errorf("a large tree: %+v after %v, want the last count", again, time.Since(began))
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
