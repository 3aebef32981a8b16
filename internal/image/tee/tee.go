// Package tee gives one stream to two readers that run side by side.
package tee

import (
	"errors"
	"io"
	"sync"
)

// block and depth bound how far the writer may be behind the reader.
const (
	block = 1 << 20
	depth = 4
)

// errStopped ends a tee whose reader gave up early.
var errStopped = errors.New("the stream was not read to its end")

// Reader is an io.Reader whose bytes also go to a writer, on a second goroutine,
// so that hashing and storing run beside unpacking.
type Reader struct {
	src    io.Reader
	blocks chan []byte
	free   chan []byte
	failed chan struct{}
	done   chan struct{}
	stop   sync.Once

	cur  []byte // being read into and out of
	off  int
	fill int
	eof  error
	werr error
}

// New reads src; what is read goes to w too. Wait must be called in the end.
func New(src io.Reader, w io.Writer) *Reader {
	t := &Reader{
		src: src, blocks: make(chan []byte, depth), free: make(chan []byte, depth+1),
		failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range depth + 1 {
		t.free <- nil
	}
	go func() {
		defer close(t.done)
		for b := range t.blocks {
			if t.werr == nil {
				if _, t.werr = w.Write(b); t.werr != nil {
					close(t.failed)
				}
			}
			t.free <- b[:0]
		}
	}()
	return t
}

// Read gives bytes of the source; a block goes to the writer once it is read whole.
func (t *Reader) Read(p []byte) (int, error) {
	if t.off == t.fill {
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.cur[t.off:t.fill])
	t.off += n
	return n, nil
}

func (t *Reader) next() error {
	t.flush()
	if t.eof != nil {
		return t.eof
	}
	select {
	case <-t.failed:
		t.eof = t.werr
		return t.eof
	case t.cur = <-t.free:
	}
	if t.cur == nil {
		t.cur = make([]byte, block)
	}
	t.cur = t.cur[:cap(t.cur)]
	t.off, t.fill = 0, 0
	for t.fill == 0 && t.eof == nil {
		t.fill, t.eof = t.src.Read(t.cur)
	}
	if t.fill == 0 {
		return t.eof
	}
	return nil
}

func (t *Reader) flush() {
	if t.fill > 0 {
		t.blocks <- t.cur[:t.fill]
		t.cur, t.off, t.fill = nil, 0, 0
	}
}

// Wait hands over the rest and waits for the writer. It is an error where the
// source was not read to its end.
func (t *Reader) Wait() error {
	t.stop.Do(func() {
		t.flush()
		close(t.blocks)
	})
	<-t.done
	switch {
	case t.werr != nil:
		return t.werr
	case t.eof == nil:
		return errStopped
	case !errors.Is(t.eof, io.EOF):
		return t.eof
	}
	return nil
}
