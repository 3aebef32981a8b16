package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// BenchmarkHalfAGigabyte is the time from start to end of a container that
// writes 500 MB in lines of 101 bytes, by driver. HOY_LOG_DRIVERS names others than all.
func BenchmarkHalfAGigabyte(b *testing.B) {
	path := filepath.Join(b.TempDir(), "big")
	line := strings.Repeat("0123456789", 10) + "\n"
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	chunk := bytes.Repeat([]byte(line), 10_000)
	for range 500_000_000 / len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	e := engine.Start(b)
	e.Busybox()
	drivers := []string{"json-file", "local", "none"}
	if s := os.Getenv("HOY_LOG_DRIVERS"); s != "" {
		drivers = strings.Split(s, ",")
	}
	for _, driver := range drivers {
		b.Run(driver, func(b *testing.B) {
			b.SetBytes(500_000_000)
			for b.Loop() {
				begun := time.Now()
				id := e.Must("run", "-d", "--log-driver", driver, "-v", path+":/big:ro", "busybox", "cat", "/big")
				e.Must("wait", id)
				b.Logf("%s: %v", driver, time.Since(begun))
				e.Must("rm", id)
			}
		})
	}
}
