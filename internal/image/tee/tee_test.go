package tee

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBothGetEverything(t *testing.T) {
	for _, size := range []int{0, 1, 100, block, 3*block + 7, 20 * block} {
		data := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		var second bytes.Buffer
		var src io.Reader = bytes.NewReader(data)
		if size < block {
			src = iotest.OneByteReader(src)
		}
		r := New(src, &second)
		first, err := io.ReadAll(r)
		if werr := r.Wait(); err != nil || werr != nil {
			t.Fatalf("%d bytes: %v, %v", size, err, werr)
		}
		if !bytes.Equal(first, data) || !bytes.Equal(second.Bytes(), data) {
			t.Errorf("%d bytes: got %d and %d", size, len(first), second.Len())
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestErrors(t *testing.T) {
	sick := errors.New("sick")
	r := New(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(sick)), io.Discard)
	if _, err := io.ReadAll(r); !errors.Is(err, sick) || !errors.Is(r.Wait(), sick) {
		t.Errorf("a source's error: %v", err)
	}
	r = New(bytes.NewReader(make([]byte, 30*block)), failing{sick})
	if _, err := io.ReadAll(r); !errors.Is(err, sick) || !errors.Is(r.Wait(), sick) {
		t.Errorf("a writer's error: %v", err)
	}
	r = New(bytes.NewReader(make([]byte, 30*block)), io.Discard)
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); !errors.Is(err, errStopped) {
		t.Errorf("a stream left early: %v", err)
	}
	if err := r.Wait(); !errors.Is(err, errStopped) {
		t.Errorf("a second wait: %v", err)
	}
}
