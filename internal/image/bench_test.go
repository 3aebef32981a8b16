package image_test

import (
	"archive/tar"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"hoy/internal/image"
	"hoy/internal/request"
)

// rootfs streams a root file system of about 170 MB in 8000 files.
func rootfs(b *testing.B) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		body := make([]byte, 1<<20)
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		w := tar.NewWriter(pw)
		for i := range 8000 {
			n := 4096 + rnd.IntN(34_000)
			h := &tar.Header{Name: fmt.Sprintf("usr/share/d%d/f%d", i%200, i), Mode: 0o644, Size: int64(n), Typeflag: tar.TypeReg}
			if err := w.WriteHeader(h); err != nil {
				b.Error(err)
			}
			off := rnd.IntN(len(body) - n)
			if _, err := w.Write(body[off : off+n]); err != nil {
				b.Error(err)
			}
		}
		pw.CloseWithError(w.Close())
	}()
	return pr
}

func BenchmarkImport170MB(b *testing.B) {
	s, err := image.Open(b.Context(), image.Options{Root: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Import(b.Context(), rootfs(b), request.ImageImport{Ref: fmt.Sprint("bench:", i)}, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := s.Remove(b.Context(), fmt.Sprint("bench:", i), request.ImageRemove{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkPrepareAndRemove(b *testing.B) {
	s, err := image.Open(b.Context(), image.Options{Root: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	img, err := s.Resolve(b.Context(), "hoy/hello", nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		key := fmt.Sprint("k", i)
		if err := s.Prepare(b.Context(), key, img); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Mounts(b.Context(), key); err != nil {
			b.Fatal(err)
		}
		if err := s.RemoveSnapshot(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	s, err := image.Open(b.Context(), image.Options{Root: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if _, err := s.Resolve(b.Context(), "hoy/hello", nil); err != nil {
			b.Fatal(err)
		}
	}
}
