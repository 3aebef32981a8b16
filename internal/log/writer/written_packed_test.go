package writer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hoy/internal/log"
)

// TestWhatWasWrittenIsCountedInCompressedFilesToo: a rotation between a crash
// and the count may have compressed what it set aside.
func TestWhatWasWrittenIsCountedInCompressedFilesToo(t *testing.T) {
	for _, driver := range []string{log.JSONFile, log.Local} {
		cfg := log.Config{Driver: driver, Path: filepath.Join(t.TempDir(), "x.log"), MaxSize: 3000, MaxFiles: 5, Compress: true}
		w, err := open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().UTC()
		var p []byte
		for range 30 {
			p = append(p, "0123456789012345678901234567890123456789012345678901234567890123456789\n"...)
		}
		w.WriteAt(log.Stderr, at.Add(-time.Second), p)
		w.WriteAt(log.Stdout, at, p)
		eventually(t, "compressed", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.job == nil })
		if _, err := os.Stat(cfg.Path + ".1.gz"); err != nil {
			t.Fatal(err)
		}
		if n := Written(cfg, log.Stdout, at); n != 30 {
			t.Errorf("%s: %d records, want 30", driver, n)
		}
		_ = w.Close()
	}
}
