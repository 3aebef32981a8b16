package writer

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/local"
)

// eventually waits for what goes on in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not within 10 s: " + what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // polls
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range list {
		all = append(all, d.Name())
	}
	return strings.Join(all, " ")
}

// number writes lines "line N" from first on, in pieces.
func number(w log.Writer, first, n int) {
	for i := first; i < first+n; i += 100 {
		var p []byte
		for j := i; j < min(i+100, first+n); j++ {
			p = fmt.Appendf(p, "line %d\n", j)
		}
		w.Write(log.Stdout, p)
	}
}

func TestRotatedFilesAreCompressedAsGzip(t *testing.T) {
	for _, driver := range []string{log.JSONFile, log.Local} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.log")
		cfg := log.Config{Driver: driver, Path: path, MaxSize: 100_000, MaxFiles: 3, Compress: true, Attrs: map[string]string{"a": "b"}}
		w, err := open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			number(w, i*5000, 5000)
			eventually(t, "compressed", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.job == nil })
		}
		_ = w.Close()
		if got := names(t, dir); got != "x.log x.log.1.gz x.log.2.gz" {
			t.Errorf("%s: %s", driver, got)
		}
		f, err := os.Open(path + ".1.gz")
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil || bytes.Count(text, []byte("\n")) < 1000 || len(text) > 100_000 {
			t.Errorf("%s: %d bytes, %v", driver, len(text), err)
		}
		_ = f.Close()
	}
}

func TestAnotherWriterGoesOnWithWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	cfg := log.Config{Driver: log.Local, Path: filepath.Join(dir, "x.log"), MaxSize: 50_000, MaxFiles: 4, Compress: true}
	for i := range 5 {
		w, err := open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if w.next != uint64(i)*3000 {
			t.Errorf("round %d goes on at record %d", i, w.next)
		}
		number(w, i*3000, 3000)
		if i%2 == 0 {
			_ = w.Close()
		} else {
			w.Suspend()
		}
		// What a crash leaves: a frame cut short, a file that compression had begun.
		f, _ := os.OpenFile(cfg.Path, os.O_APPEND|os.O_WRONLY, 0)
		_, _ = f.Write(local.Begin(nil)[:20])
		_ = f.Close()
		_ = os.WriteFile(cfg.Path+tmpMark+"x", []byte("left"), 0o600)
	}
	w, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if w.next != 15000 {
		t.Errorf("goes on at record %d", w.next)
	}
	if strings.Contains(names(t, dir), tmpMark) {
		t.Error(names(t, dir))
	}
}

func TestNumbersGoOnWhereTheFilesAreGone(t *testing.T) {
	cfg := log.Config{Driver: log.Syslog, Path: filepath.Join(t.TempDir(), "x.log")}
	if err := os.WriteFile(cfg.SentPath(), SentText(77), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if w.next != 77 {
		t.Errorf("next %d: records below 77 count as sent", w.next)
	}
}

func TestWhatWasNotForwardedIsKeptAndTheWriterWaits(t *testing.T) {
	dir := t.TempDir()
	cfg := log.Config{Driver: log.Syslog, Path: filepath.Join(dir, "x.log"), MaxSize: 20_000, MaxFiles: 3, Compress: true}
	cfg.Sent = cfg.SentPath()
	w, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); number(w, 0, 20_000) }()
	select {
	case <-done:
		t.Fatal("did not wait")
	case <-time.After(300 * time.Millisecond):
	}
	if got := names(t, dir); strings.Count(got, "x.log") > 3 {
		t.Errorf("files: %s", got)
	}
	w.mu.Lock()
	reached := w.next
	w.mu.Unlock()
	if err := os.WriteFile(cfg.Sent, SentText(reached), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "goes on", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.next > reached })
	w.Release() // its process has ended
	<-done
	_ = w.Close()
	eventually(t, "compressed", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.job == nil })
	if first, ok := w.files.firstOf(w.highest()); !ok || first > reached {
		t.Errorf("the oldest record is %d, those from %d on were not forwarded", first, reached)
	}
	if w.Dropped() != 0 || w.next != 20_000 {
		t.Errorf("%d dropped, %d written", w.Dropped(), w.next)
	}
}

func (w *Writer) highest() (n int) {
	for w.files.exists(n + 1) {
		n++
	}
	return n
}

func TestABufferDropsCountsAndShows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	w, err := open(log.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	r := newRing(w, 1000)
	w.mu.Lock() // a disk that stands still
	r.Write(log.Stdout, []byte("first\nbegun"))
	eventually(t, "taken by the goroutine", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.queue) == 0 })
	for range 100 {
		r.Write(log.Stdout, []byte(strings.Repeat("0123456789\n", 10)))
	}
	if d := r.Dropped(); d < 800 || d >= 1000 {
		t.Errorf("%d dropped", d)
	}
	w.mu.Unlock()
	eventually(t, "written", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return !r.running })
	r.Write(log.Stdout, []byte("last\n"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got := records(t, path)
	gap := fmt.Sprintf("hoy: %d log records were dropped here: the buffer of max-buffer-size was full\n", r.Dropped())
	if got[0] != "first\n" || got[len(got)-2] != gap || got[len(got)-1] != "last\n" {
		t.Errorf("%q … %q", got[:2], got[len(got)-3:])
	}
	if len(got)+int(r.Dropped()) != 1000+2+1 {
		t.Errorf("%d records and %d dropped of 1002", len(got), r.Dropped())
	}
}

func BenchmarkWriteLocal(b *testing.B) {
	line := strings.Repeat("0123456789", 10) + "\n"
	chunk := []byte(strings.Repeat(line, 64<<10/len(line)+1))[:64<<10]
	w, err := open(log.Config{Driver: log.Local, Path: filepath.Join(b.TempDir(), "x.log"), MaxSize: 64 << 20, MaxFiles: 2})
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
