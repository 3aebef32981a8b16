package writer

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
)

func TestFormatIsDockers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	w, err := open(log.Config{Path: path, Attrs: map[string]string{"b": "<2>", "a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	w.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 120000000, time.FixedZone("x", 3600)) }
	w.Write(log.Stdout, []byte("hal"))
	w.Write(log.Stderr, []byte("err\ttab <&> \xff \u2028\n"))
	w.Write(log.Stdout, []byte("lo\r\n\nrest"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const attrs = `"attrs":{"a":"1","b":"\u003c2\u003e"},`
	want := `{"log":"err\u0009tab \u003c\u0026\u003e \ufffd \u2028\n","stream":"stderr",` + attrs + `"time":"2026-01-02T02:04:05.12Z"}` + "\n" +
		`{"log":"hallo\r\n","stream":"stdout",` + attrs + `"time":"2026-01-02T02:04:05.12Z"}` + "\n" +
		`{"log":"\n","stream":"stdout",` + attrs + `"time":"2026-01-02T02:04:05.12Z"}` + "\n" +
		`{"log":"rest","stream":"stdout",` + attrs + `"time":"2026-01-02T02:04:05.12Z"}` + "\n"
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
}

// records returns the text of each record of the files, in their order.
func records(t *testing.T, paths ...string) []string {
	t.Helper()
	var list []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var r struct {
				Log string `json:"log"`
			}
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%s: %q: %v", path, line, err)
			}
			list = append(list, r.Log)
		}
	}
	return list
}

func TestLongLinesAreCutWhereDockerCuts(t *testing.T) {
	long := strings.Repeat("x", log.MaxLine)
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"longer":       {long + "tail\n", []string{long, "tail\n"}},
		"exactly":      {long + "\n", []string{long, "\n"}},
		"one less":     {long[1:] + "\n", []string{long[1:] + "\n"}},
		"no newline":   {long + long + "y", []string{long, long, "y"}},
		"exact no end": {long, []string{long}},
	} {
		for _, step := range []int{1 << 20, 4096, 1000, 7} {
			path := filepath.Join(t.TempDir(), "x.log")
			w, err := open(log.Config{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			for rest := []byte(tc.in); len(rest) > 0; {
				n := min(step, len(rest))
				w.Write(log.Stdout, rest[:n])
				rest = rest[n:]
			}
			_ = w.Close()
			got := records(t, path)
			if strings.Join(got, "|") != strings.Join(tc.want, "|") {
				t.Errorf("%s in steps of %d: %d records, want %d", name, step, len(got), len(tc.want))
			}
		}
	}
}

func TestRotationKeepsTheNewestWithinTheirSize(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.log")
	if err := os.WriteFile(path+".3", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := open(log.Config{Path: path, MaxSize: 1000, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for i := range 100 {
		all = append(all, "line "+strings.Repeat("n", 20)+string(rune('0'+i%10))+"\n"...)
	}
	w.Write(log.Stdout, all)
	_ = w.Close()
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 {
		t.Errorf("files: %v, want 3", entries)
	}
	for _, e := range entries {
		if fi, _ := e.Info(); fi.Size() > 1000 {
			t.Errorf("%s has %d bytes", e.Name(), fi.Size())
		}
	}
	got := strings.Join(records(t, path+".2", path+".1", path), "")
	if !strings.HasSuffix(string(all), got) || len(got) < 500 {
		t.Errorf("the kept files are not the end of what was written: %q", got)
	}
}

func TestASingleFileIsEmptiedAtItsSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	w, err := open(log.Config{Path: path, MaxSize: 300, MaxFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		w.Write(log.Stdout, []byte{byte('a' + i%26), '\n'})
		if fi, _ := os.Stat(path); fi.Size() > 300 {
			t.Fatalf("%d bytes", fi.Size())
		}
	}
	_ = w.Close()
	if got := records(t, path); got[len(got)-1] != "x\n" {
		t.Errorf("last record %q", got[len(got)-1])
	}
}

func TestATornLineIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.WriteFile(path, []byte(`{"log":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := open(log.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(log.Stdout, []byte("new\n"))
	_ = w.Close()
	data, _ := os.ReadFile(path)
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 || lines[0] != `{"log":"to` || !strings.HasPrefix(lines[1], `{"log":"new\n"`) {
		t.Errorf("%q", data)
	}
}

// BenchmarkWrite writes 101-byte lines in reads of 64 KiB.
func BenchmarkWrite(b *testing.B) {
	line := strings.Repeat("0123456789", 10) + "\n"
	chunk := []byte(strings.Repeat(line, 64<<10/len(line)+1))[:64<<10]
	path := filepath.Join(b.TempDir(), "x.log")
	w, err := open(log.Config{Path: path, MaxSize: 64 << 20, MaxFiles: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		w.Write(log.Stdout, chunk)
	}
}

func TestAFullDiskDropsWholeRecordsAndWritingGoesOn(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("needs root: mounts a tmpfs: ", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x.log")
	w, err := open(log.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	const total = 2000
	var all []byte
	for range total {
		all = append(all, "0123456789\n"...)
	}
	w.Write(log.Stdout, all)
	kept := len(records(t, path))
	if dropped := w.Dropped(); dropped == 0 || kept == 0 || int(dropped)+kept != total {
		t.Errorf("%d dropped, %d kept of %d", dropped, kept, total)
	}
	w.Write(log.Stdout, []byte("lost\n"))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.Write(log.Stdout, []byte("again\n"))
	_ = w.Close()
	if got := records(t, path); got[len(got)-1] != "again\n" {
		t.Errorf("last record %q", got[len(got)-1])
	}
}
