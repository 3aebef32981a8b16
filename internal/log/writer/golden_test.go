package writer

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hoy/internal/log"
)

func unpack(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBytesAreThoseOfDocker compares with what Debian's dockerd 20.10.24 wrote
// of the same output: every byte value, broken and whole UTF-8, lines around 16
// KiB, labels, env and tag. Times alone were made the same.
func TestBytesAreThoseOfDocker(t *testing.T) {
	in, want := unpack(t, "docker.in.gz"), unpack(t, "docker.json.gz")
	for _, step := range []int{1 << 20, 64 << 10, 4096, 61} {
		path := filepath.Join(t.TempDir(), "x.log")
		w, err := open(log.Config{Path: path, Attrs: map[string]string{"l": "<v>", "E": `"q"`, "tag": "gold&"}})
		if err != nil {
			t.Fatal(err)
		}
		w.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			w.Write(log.Stdout, rest[:n])
			rest = rest[n:]
		}
		_ = w.Close()
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(got, want) {
			continue
		}
		g, d := bytes.Split(got, newline), bytes.Split(want, newline)
		for i := range min(len(g), len(d)) {
			if !bytes.Equal(g[i], d[i]) {
				t.Fatalf("in steps of %d, record %d:\n got %.300s\nwant %.300s", step, i, g[i], d[i])
			}
		}
		t.Errorf("in steps of %d: %d records, want %d", step, len(g), len(d))
	}
}
