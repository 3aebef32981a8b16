package reader

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"hoy/internal/log"
	"hoy/internal/log/writer"
)

var both = ReadOptions{Stdout: true, Stderr: true, Tail: -1}

// lines reads everything; the streams' names stand before the text.
func lines(t *testing.T, cfg log.Config, opt ReadOptions) []string {
	t.Helper()
	var got []string
	for e, err := range Read(t.Context(), cfg, opt, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Stream[3:]+":"+strings.TrimSuffix(string(e.Line), "\n"))
	}
	return got
}

func record(stream, text string, at time.Time) string {
	b, _ := json.Marshal(map[string]any{"log": text + "\n", "stream": stream, "time": at})
	return string(b) + "\n"
}

func TestChoices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }
	files := []string{
		record("stdout", "4", at(4)) + record("stderr", "5", at(5)) + `{"log":"torn`,
		record("stderr", "2", at(2)) + "\x00\x00garbage\n" + record("stdout", "3", at(3)),
		record("stdout", "0", at(0)) + record("stdout", "1", at(1)),
	}
	for n, content := range files {
		name := path
		if n > 0 {
			name = fmt.Sprintf("%s.%d", path, n)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := log.Config{Path: path}
	for name, tc := range map[string]struct {
		opt  ReadOptions
		want string
	}{
		"all":             {both, "out:0 out:1 err:2 out:3 out:4 err:5"},
		"stdout":          {ReadOptions{Stdout: true, Tail: -1}, "out:0 out:1 out:3 out:4"},
		"stderr":          {ReadOptions{Stderr: true, Tail: -1}, "err:2 err:5"},
		"tail 0":          {ReadOptions{Stdout: true, Stderr: true}, ""},
		"tail 1":          {ReadOptions{Stdout: true, Stderr: true, Tail: 1}, "err:5"},
		"tail 3":          {ReadOptions{Stdout: true, Stderr: true, Tail: 3}, "out:3 out:4 err:5"},
		"tail more":       {ReadOptions{Stdout: true, Stderr: true, Tail: 99}, "out:0 out:1 err:2 out:3 out:4 err:5"},
		"tail and stream": {ReadOptions{Stdout: true, Tail: 2}, "out:4"},
		"since":           {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: at(4)}, "out:4 err:5"},
		"until":           {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Until: at(1)}, "out:0 out:1"},
		"between":         {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: at(1), Until: at(3)}, "out:1 err:2 out:3"},
	} {
		if got := strings.Join(lines(t, cfg, tc.opt), " "); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestNoLogYetAndNoLogEver(t *testing.T) {
	cfg := log.Config{Path: filepath.Join(t.TempDir(), "x.log")}
	if got := lines(t, cfg, both); got != nil {
		t.Errorf("got %v", got)
	}
	for _, err := range Read(t.Context(), log.Config{Driver: "none", Path: cfg.Path}, both, nil) {
		if !errdefs.IsNotImplemented(err) {
			t.Errorf("driver none: %v", err)
		}
	}
}

func TestTailOfAFileOfManyBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	w, err := writer.Open(log.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	const total = 20000
	for i := range total {
		w.Write(log.Stdout, fmt.Appendf(nil, "%d\n", i))
	}
	_ = w.Close()
	for _, n := range []int{1, 999, 1000, 1001, 15000} {
		got := lines(t, log.Config{Path: path}, ReadOptions{Stdout: true, Tail: n})
		if len(got) != n || got[0] != fmt.Sprintf("out:%d", total-n) {
			t.Errorf("tail %d: %d lines from %s", n, len(got), got[0])
		}
	}
}

func TestFollowSeesEveryLineAcrossRotations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	cfg := log.Config{Path: path, MaxSize: 20000, MaxFiles: 400}
	w, err := writer.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const total = 50000
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; i < total; i += 10 {
			var chunk []byte
			for j := range 10 {
				chunk = fmt.Appendf(chunk, "line %d\n", i+j)
			}
			w.Write(log.Stdout, chunk)
		}
		_ = w.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	next := 0
	for e, err := range Read(ctx, cfg, ReadOptions{Stdout: true, Follow: true, Tail: -1}, ended) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("line %d\n", next); string(e.Line) != want {
			t.Fatalf("got %q, want %q", e.Line, want)
		}
		next++
	}
	if next != total {
		t.Errorf("%d lines, want %d", next, total)
	}
}

func TestFollowAFileThatIsMadeLaterEmptiedAndLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	cfg := log.Config{Path: path, MaxSize: 250, MaxFiles: 1}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seen := make(chan string)
	go func() {
		defer close(seen)
		for e := range Read(ctx, cfg, ReadOptions{Stdout: true, Follow: true, Tail: -1}, nil) {
			seen <- string(e.Line)
		}
	}()
	w, err := writer.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, want := range []string{"a\n", "a second, longer one\n", "b\n", "c\n", "d, longer again\n", "e\n", "f\n"} {
		w.Write(log.Stdout, []byte(want))
		if got := <-seen; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	cancel()
	if _, open := <-seen; open {
		t.Error("must end with its context")
	}
}

func TestFollowEndsAtUntil(t *testing.T) {
	cfg := log.Config{Path: filepath.Join(t.TempDir(), "x.log")}
	opt := both
	opt.Follow, opt.Until = true, time.Now().Add(50*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range Read(ctx, cfg, opt, nil) {
	}
	if ctx.Err() != nil {
		t.Error("did not end")
	}
}

func TestARecordThatIsTooLongIsSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	now := time.Now()
	content := record("stdout", "before", now) + record("stdout", strings.Repeat("x", maxRecord), now) +
		record("stdout", strings.Repeat("y", blockSize), now) + record("stdout", "after", now)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	got := lines(t, log.Config{Path: path}, both)
	if len(got) != 3 || got[0] != "out:before" || len(got[1]) != blockSize+4 || got[2] != "out:after" {
		t.Errorf("%d lines", len(got))
	}
}

// FuzzDecode: what the fast path takes, encoding/json must read the same way.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"log":"x\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}`,
		`{"log":"\"q\\ \u001b[0m\r\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-01-02T03:04:05Z"}`,
		`{"log":"x\n","stream":"other","time":"2026-01-02T03:04:05.6Z"}`,
		`{"log":"\ud83d\ude00\b","stream":"stdout","time":"2026-01-02T03:04:05+01:00"}`,
		`{"time":"2026-01-02T03:04:05Z","log":"a"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var fast, slow decoder
		want, wantOK := slow.slow(line)
		got, ok := fast.decode(append([]byte(nil), line...))
		if !ok || !wantOK {
			if wantOK {
				t.Fatalf("%q: not decoded", line)
			}
			return
		}
		// Controls and broken UTF-8 inside the string are JSON errors or
		// replaced in the slow path; the fast one hands them on as they are.
		if string(got.Line) != string(want.Line) && json.Valid(line) && !strings.Contains(string(want.Line), "\ufffd") {
			t.Errorf("%q: line %q, want %q", line, got.Line, want.Line)
		}
		if got.Stream != want.Stream || !got.Time.Equal(want.Time) || len(got.Attrs) != len(want.Attrs) {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	})
}

// BenchmarkRead reads 101-byte lines.
func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.log")
	w, err := writer.Open(log.Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	chunk := []byte(strings.Repeat(strings.Repeat("0123456789", 10)+"\n", 640))
	const chunks = 256
	for range chunks {
		w.Write(log.Stdout, chunk)
	}
	_ = w.Close()
	b.SetBytes(int64(chunks * len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for e := range Read(b.Context(), log.Config{Path: path}, both, nil) {
			n += len(e.Line)
		}
		if n != chunks*len(chunk) {
			b.Fatal(n)
		}
	}
}
