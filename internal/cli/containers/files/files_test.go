package files

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type entry struct {
	name, link, body string
	kind             byte
	mode             int64
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		hdr := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)), ModTime: time.Unix(1000, 0)}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func listing(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); rel != "." {
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	data := archiveOf(t,
		entry{name: "src/", kind: tar.TypeDir, mode: 0o750},
		entry{name: "src/f", body: "one", mode: 0o4711},
		entry{name: "src/hard", kind: tar.TypeLink, link: "src/f"},
		entry{name: "src/soft", kind: tar.TypeSymlink, link: "/etc/passwd"},
		entry{name: "src/dev", kind: tar.TypeChar},
		entry{name: "src/ro/", kind: tar.TypeDir, mode: 0o500},
		entry{name: "src/ro/g", body: "two"},
	)
	var warned []string
	x := extraction{target: filepath.Join(dir, "dst"), warn: func(s string) { warned = append(warned, s) }}
	if err := x.extract(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if got, want := listing(t, dir), []string{"dst", "dst/f", "dst/hard", "dst/ro", "dst/ro/g", "dst/soft"}; !slices.Equal(got, want) {
		t.Errorf("extracted %q, want %q", got, want)
	}
	info, err := os.Stat(filepath.Join(dir, "dst/f"))
	if err != nil || info.Mode() != 0o711|fs.ModeSetuid || info.ModTime().Unix() != 1000 {
		t.Errorf("f: %v %v %v", info.Mode(), info.ModTime(), err)
	}
	other, _ := os.Stat(filepath.Join(dir, "dst/hard"))
	if !os.SameFile(info, other) {
		t.Error("the hard link is a file of its own")
	}
	if info, _ := os.Stat(filepath.Join(dir, "dst/ro")); info.Mode().Perm() != 0o500 || info.ModTime().Unix() != 1000 {
		t.Errorf("ro: %v %v", info.Mode(), info.ModTime())
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "src/dev is a device") {
		t.Errorf("warned %q", warned)
	}
}

// TestExtractHostile has what a container could send to write elsewhere.
func TestExtractHostile(t *testing.T) {
	for name, tc := range map[string]struct {
		entries []entry
		cut     int
		want    string // of the error, empty where it is just tamed
	}{
		"dots":            {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "top/../../victim", body: "x"}}, want: "lies outside"},
		"absolute":        {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "/victim", body: "x"}}, want: "lies outside"},
		"other root":      {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "victim", body: "x"}}, want: "lies outside"},
		"through a link":  {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "top/l", kind: tar.TypeSymlink, link: "../.."}, {name: "top/l/victim", body: "x"}}, want: "escapes"},
		"link as the dir": {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "top/l", kind: tar.TypeSymlink, link: ".."}, {name: "top/l/", kind: tar.TypeDir, mode: 0o777}, {name: "top/l/../../victim", body: "x"}}, want: "escapes|lies outside"},
		"hard link out":   {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "top/h", kind: tar.TypeLink, link: "../../secret"}}, want: "no such file"},
		"loop":            {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "top/l", kind: tar.TypeSymlink, link: "l"}, {name: "top/l/x", body: "x"}}, want: "too many levels"},
		"half":            {entries: []entry{{name: "top/", kind: tar.TypeDir, mode: 0o755}, {name: "top/f", body: strings.Repeat("x", 5000)}}, cut: 3000, want: "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			if err := os.WriteFile(filepath.Join(outer, "secret"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			inner := filepath.Join(outer, "inner")
			if err := os.Mkdir(inner, 0o755); err != nil {
				t.Fatal(err)
			}
			data := archiveOf(t, tc.entries...)
			if tc.cut > 0 {
				data = data[:len(data)-tc.cut]
			}
			x := extraction{target: filepath.Join(inner, "dst"), warn: func(string) {}}
			err := x.extract(bytes.NewReader(data))
			matched := false
			for want := range strings.SplitSeq(tc.want, "|") {
				matched = matched || err != nil && strings.Contains(err.Error(), want)
			}
			if !matched {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if got := listing(t, outer); slices.ContainsFunc(got, func(p string) bool { return p != "secret" && p != "inner" && !strings.HasPrefix(p, "inner/dst") }) {
				t.Errorf("written outside: %q", got)
			}
		})
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(archiveOf(f, entry{name: "a/", kind: tar.TypeDir}, entry{name: "a/b", body: "x"}, entry{name: "a/c", kind: tar.TypeSymlink, link: "../x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		x := extraction{target: filepath.Join(inner, "dst"), warn: func(string) {}}
		_ = x.extract(bytes.NewReader(data))
		for _, p := range listing(t, outer) {
			if p != "inner" && !strings.HasPrefix(p, "inner/dst") {
				t.Fatalf("written outside: %q", p)
			}
		}
	})
}

func TestLocalTarget(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		dst             string
		isDir, contents bool
		want, err       string
	}{
		{dst: dir, want: dir + "/base"},
		{dst: dir, isDir: true, want: dir + "/base"},
		{dst: dir, isDir: true, contents: true, want: dir},
		{dst: dir + "/.", isDir: true, want: dir + "/base"},
		{dst: file, want: file},
		{dst: file, isDir: true, err: "cannot copy directory"},
		{dst: dir + "/new", want: dir + "/new"},
		{dst: dir + "/new/", isDir: true, want: dir + "/new"},
		{dst: dir + "/new/", err: "no such directory"},
		{dst: dir + "/no/new", err: "does not exist"},
	} {
		got, err := localTarget(tc.dst, "base", tc.isDir, tc.contents)
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) || tc.err == "" && (err != nil || got != tc.want) {
			t.Errorf("%+v: %q, %v", tc, got, err)
		}
	}
}

func TestSplit(t *testing.T) {
	for arg, want := range map[string][2]string{
		"web:/a": {"web", "/a"}, "/a:b": {"", "/a:b"}, "./a:b": {"", "./a:b"}, "a": {"", "a"}, "-": {"", "-"}, "web:a/b:c": {"web", "a/b:c"}, "web:": {"web", ""},
	} {
		if name, file := split(arg); name != want[0] || file != want[1] {
			t.Errorf("%s: %q %q", arg, name, file)
		}
	}
}

// TestRoundTrip packs a directory, unpacks it and compares.
func TestRoundTrip(t *testing.T) {
	src := t.TempDir()
	for name, body := range map[string]string{"a": "1", "d/b": "22", "d/e/c": strings.Repeat("3", 100000)} {
		path := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../a", filepath.Join(src, "d/l")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(src, "a"), filepath.Join(src, "h")); err != nil {
		t.Fatal(err)
	}
	tree := &localTree{path: src, name: "x", isDir: true}
	archive := tree.archive()
	defer archive.Close()
	dst := filepath.Join(t.TempDir(), "out")
	x := extraction{target: dst, warn: func(s string) { t.Error(s) }}
	if err := x.extract(archive); err != nil {
		t.Fatal(err)
	}
	if got, want := listing(t, dst), listing(t, src); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	body, err := os.ReadFile(filepath.Join(dst, "d/e/c"))
	if err != nil || len(body) != 100000 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestSaveReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "o.tar")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := save(out, io.MultiReader(strings.NewReader("half"), broken{})); err == nil {
		t.Error("no error")
	}
	if body, _ := os.ReadFile(out); string(body) != "old" {
		t.Errorf("half an archive took the place: %q", body)
	}
	if got := listing(t, dir); len(got) != 1 {
		t.Errorf("left behind: %q", got)
	}
	if err := save(out, strings.NewReader("new")); err != nil {
		t.Error(err)
	}
	if body, _ := os.ReadFile(out); string(body) != "new" {
		t.Errorf("%q", body)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
