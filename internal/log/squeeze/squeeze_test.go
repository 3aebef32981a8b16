package squeeze

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func cutLines(p []byte) (int, Meta) {
	n := bytes.LastIndexByte(p, '\n') + 1
	return n, Meta{Records: uint64(bytes.Count(p[:n], []byte("\n")))}
}

func TestEachBlockIsReadAlone(t *testing.T) {
	dir := t.TempDir()
	text := bytes.Repeat([]byte("some line of text that repeats\n"), 40_000)
	text = append(text, "torn"...)
	src := filepath.Join(dir, "src")
	if err := os.WriteFile(src, text, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := Compress(out, in, cutLines, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	x, ok := Open(out)
	if !ok || len(x.Blocks) < 4 {
		t.Fatal("no index")
	}
	at := int64(0)
	for i, b := range x.Blocks {
		r, err := Read(out, b.Offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, text[at:]) {
			t.Errorf("block %d: %d bytes, want %d, %v", i, len(got), len(text)-int(at), err)
		}
		at += b.Size
	}
	if err := Compress(io.Discard, in, cutLines, func() bool { return true }); err == nil {
		t.Error("did not stop")
	}
}

func FuzzIndex(f *testing.F) {
	x := Index{Inode: 5, Blocks: []Block{{Offset: 0, Size: 9, Meta: Meta{Records: 3}}, {Offset: 7, Size: 1}}}
	f.Add(x.member(), int64(100))
	f.Fuzz(func(t *testing.T, p []byte, end int64) {
		x, ok := parse(p, end)
		if !ok {
			return
		}
		last := int64(-1)
		for _, b := range x.Blocks {
			if b.Offset <= last || b.Offset >= end || b.Size < 0 {
				t.Fatalf("%+v", x)
			}
			last = b.Offset
		}
	})
}
