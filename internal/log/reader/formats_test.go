package reader

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"compress/gzip"

	"hoy/internal/log"
	"hoy/internal/log/local"
	"hoy/internal/log/writer"
)

// fill writes numbered lines and waits until what is rotated is compressed.
func fill(t *testing.T, cfg log.Config, total int) {
	t.Helper()
	w, err := writer.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < total; i += 50 {
		var p []byte
		for j := i; j < min(i+50, total); j++ {
			p = fmt.Appendf(p, "line %d of many\n", j)
		}
		w.Write(log.Stream(i/50%2), p)
	}
	_ = w.Close()
	for end := time.Now().Add(20 * time.Second); cfg.Compress; {
		plain, _ := filepath.Glob(cfg.Path + ".[0-9]*")
		left := 0
		for _, name := range plain {
			if !strings.HasSuffix(name, ".gz") {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("not compressed")
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // polls
	}
}

var kinds = []log.Config{
	{Driver: log.JSONFile},
	{Driver: log.JSONFile, Compress: true},
	{Driver: log.Local, Attrs: map[string]string{"k": "v"}},
	{Driver: log.Local, Attrs: map[string]string{"k": "v"}, Compress: true},
}

func TestTailIsExactInEveryFormat(t *testing.T) {
	const total = 60_000
	for _, cfg := range kinds {
		cfg.Path = filepath.Join(t.TempDir(), "x.log")
		cfg.MaxSize, cfg.MaxFiles = 1<<20, 50
		fill(t, cfg, total)
		for _, n := range []int{0, 1, 7, 49, 50, 51, 9_999, 30_001, total - 1, total, total + 5} {
			want := min(n, total)
			got, first := 0, ""
			for e, err := range Read(t.Context(), cfg, ReadOptions{Stdout: true, Stderr: true, Tail: n}, nil) {
				if err != nil {
					t.Fatal(err)
				}
				if got == 0 {
					first = string(e.Line)
				}
				if e.Attrs["k"] != cfg.Attrs["k"] {
					t.Fatalf("attributes %v", e.Attrs)
				}
				got++
			}
			if got != want || want > 0 && first != fmt.Sprintf("line %d of many\n", total-want) {
				t.Errorf("%s compress=%t tail %d: %d records from %q", cfg.Driver, cfg.Compress, n, got, first)
			}
		}
	}
}

func TestSinceAndUntilFindTheSameAsReadingAll(t *testing.T) {
	const total = 40_000
	for _, cfg := range kinds {
		cfg.Path = filepath.Join(t.TempDir(), "x.log")
		cfg.MaxSize, cfg.MaxFiles = 1<<20, 50
		fill(t, cfg, total)
		var times []time.Time
		for e := range Read(t.Context(), cfg, both, nil) {
			times = append(times, e.Time)
		}
		if len(times) != total {
			t.Fatalf("%s compress=%t: %d records", cfg.Driver, cfg.Compress, len(times))
		}
		for _, i := range []int{0, 1, 1234, 20_000, 39_000, total - 1} {
			for _, until := range []time.Time{{}, times[min(i+3000, total-1)]} {
				opt := both
				opt.Since, opt.Until = times[i], until
				want := 0
				for _, at := range times {
					if !at.Before(opt.Since) && (until.IsZero() || !at.After(until)) {
						want++
					}
				}
				got := 0
				for range Read(t.Context(), cfg, opt, nil) {
					got++
				}
				if got != want {
					t.Errorf("%s compress=%t since record %d: %d records, want %d", cfg.Driver, cfg.Compress, i, got, want)
				}
			}
		}
	}
}

func TestFollowGoesOnThroughCompression(t *testing.T) {
	for _, driver := range []string{log.JSONFile, log.Local} {
		cfg := log.Config{Driver: driver, Path: filepath.Join(t.TempDir(), "x.log"), MaxSize: 60_000, MaxFiles: 1000, Compress: true}
		w, err := writer.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		const total = 30_000
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
				t.Fatalf("%s: got %q, want %q", driver, e.Line, want)
			}
			next++
			if next%1000 == 0 {
				time.Sleep(5 * time.Millisecond) //nolint:forbidigo // a slow reader, for compression to overtake
			}
		}
		if next != total {
			t.Errorf("%s: %d lines, want %d", driver, next, total)
		}
	}
}

func TestFromANumber(t *testing.T) {
	const total = 30_000
	ended := make(chan struct{})
	close(ended)
	for _, compress := range []bool{false, true} {
		cfg := log.Config{Driver: log.Local, Path: filepath.Join(t.TempDir(), "x.log"), MaxSize: 100_000, MaxFiles: 4, Compress: compress}
		fill(t, cfg, total)
		oldest := uint64(total)
		for e := range From(t.Context(), cfg, 0, ended) {
			oldest = min(oldest, e.Seq)
		}
		if oldest == 0 || oldest > 25_000 {
			t.Fatalf("the oldest is %d", oldest)
		}
		for _, from := range []uint64{oldest, oldest + 1, 27_777, total - 1, total} {
			next := from
			for e, err := range From(t.Context(), cfg, from, ended) {
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf("line %d of many\n", next); e.Seq != next || string(e.Line) != want {
					t.Fatalf("from %d: record %d %q, want %q", from, e.Seq, e.Line, want)
				}
				next++
			}
			if next != total {
				t.Errorf("from %d: ended at %d", from, next)
			}
		}
	}
}

// TestDamageCostsOnlyItself flips, cuts and zeroes.
func TestDamageCostsOnlyItself(t *testing.T) {
	const total = 20_000
	cfg := log.Config{Driver: log.Local, Path: filepath.Join(t.TempDir(), "x.log"), MaxSize: 60_000, MaxFiles: 50, Compress: true}
	fill(t, cfg, total)
	for name, damage := range map[string]func(p []byte) []byte{
		"flipped":   func(p []byte) []byte { p[len(p)/2] ^= 0x40; return p },
		"truncated": func(p []byte) []byte { return p[:len(p)/2] },
		"zeroed":    func(p []byte) []byte { return make([]byte, len(p)) },
		"empty":     func([]byte) []byte { return nil },
		"length":    func(p []byte) []byte { p[6] = 0x0f; return p }, // of a body that goes on behind the file
	} {
		for _, file := range []string{"", ".3.gz"} {
			path := cfg.Path + file
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(append([]byte(nil), whole...)), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, tail := range []int{-1, 1, total} {
				got := len(lines(t, cfg, ReadOptions{Stdout: true, Stderr: true, Tail: tail}))
				if tail != 1 && got < total-15_000 || got > total {
					t.Errorf("%s %s: tail %d: %d records", name, path, tail, got)
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDockersOwnCompressedFiles have no index.
func TestDockersOwnCompressedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	now := time.Now().UTC()
	f, err := os.Create(path + ".1.gz")
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	z.Extra = []byte(`{"lastTime":"2026-01-01T00:00:00Z"}`)
	for i := range 1000 {
		_, _ = io.WriteString(z, record("stdout", fmt.Sprint(i), now))
	}
	_ = z.Close()
	_ = f.Close()
	if err := os.WriteFile(path, []byte(record("stdout", "1000", now)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 500, 1001, 5000} {
		got := lines(t, log.Config{Path: path}, ReadOptions{Stdout: true, Tail: n})
		if len(got) != min(n, 1001) || got[0] != fmt.Sprintf("out:%d", 1001-min(n, 1001)) {
			t.Errorf("tail %d: %d from %s", n, len(got), got[0])
		}
	}
	if got := lines(t, log.Config{Path: path}, both); len(got) != 1001 {
		t.Errorf("%d records", len(got))
	}
}

// FuzzLocal: no bytes may stop, crash or blow up reading, and what is whole is found.
func FuzzLocal(f *testing.F) {
	frame := local.End(append(local.Begin(nil), "a\nb\nrest"...), local.Frame{Kind: local.Lines, Time: time.Unix(1, 2), First: 5})
	f.Add(frame, 3)
	f.Add(append([]byte("junk"), frame...), 0)
	f.Add(frame[:20], 100)
	f.Fuzz(func(t *testing.T, p []byte, at int) {
		for _, last := range []bool{false, true} {
			c := &localCodec{}
			if n := c.records(p, last, func(e log.Entry) bool { return len(e.Line) > 0 || e.Seq > 0 }); n < 0 || n > len(p) {
				t.Fatal(n)
			}
		}
		if len(p) > 0 && p[len(p)-1] == 0xf3 {
			return // it may be the beginning of one
		}
		found := false
		(&localCodec{}).records(append(append([]byte(nil), p...), frame...), true, func(e log.Entry) bool {
			found = found || string(e.Line) == "rest" && e.Seq == 7
			return true
		})
		if !found {
			t.Errorf("%q: the frame behind it was not found", p)
		}
	})
}

func BenchmarkTailOfCompressed(b *testing.B) {
	for _, driver := range []string{log.JSONFile, log.Local} {
		cfg := log.Config{Driver: driver, Path: filepath.Join(b.TempDir(), "x.log"), MaxSize: 20 << 20, MaxFiles: 5, Compress: true}
		w, err := writer.Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		chunk := []byte(strings.Repeat(strings.Repeat("0123456789", 10)+"\n", 640))
		for range 1200 {
			w.Write(log.Stdout, chunk)
		}
		_ = w.Close()
		for _, tail := range []int{10, 400_000} {
			b.Run(fmt.Sprintf("%s/%d", driver, tail), func(b *testing.B) {
				for b.Loop() {
					for range Read(b.Context(), cfg, ReadOptions{Stdout: true, Tail: tail}, nil) {
						break
					}
				}
			})
		}
	}
}
