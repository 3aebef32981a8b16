package store

import (
	"errors"
	"io"
	"sync"
)

// teeBlock and teeDepth bound how far the writer may be behind the reader.
const (
	teeBlock = 1 << 20
	teeDepth = 4
)

// errTeeStopped ends a tee whose reader gave up early.
var errTeeStopped = errors.New("the stream was not read to its end")

// tee is an io.Reader whose bytes also go to a writer, on a second goroutine,
// so that hashing and storing run beside unpacking.
type tee struct {
	src    io.Reader
	blocks chan []byte
	free   chan []byte
	failed chan struct{}
	done   chan struct{}
	stop   sync.Once

	block []byte // being read into and out of
	off   int
	fill  int
	eof   error
	werr  error
}

func newTee(src io.Reader, w io.Writer) *tee {
	t := &tee{
		src: src, blocks: make(chan []byte, teeDepth), free: make(chan []byte, teeDepth+1),
		failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range teeDepth + 1 {
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
func (t *tee) Read(p []byte) (int, error) {
	if t.off == t.fill {
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.block[t.off:t.fill])
	t.off += n
	return n, nil
}

func (t *tee) next() error {
	t.flush()
	if t.eof != nil {
		return t.eof
	}
	select {
	case <-t.failed:
		t.eof = t.werr
		return t.eof
	case t.block = <-t.free:
	}
	if t.block == nil {
		t.block = make([]byte, teeBlock)
	}
	t.block = t.block[:cap(t.block)]
	t.off, t.fill = 0, 0
	for t.fill == 0 && t.eof == nil {
		t.fill, t.eof = t.src.Read(t.block)
	}
	if t.fill == 0 {
		return t.eof
	}
	return nil
}

func (t *tee) flush() {
	if t.fill > 0 {
		t.blocks <- t.block[:t.fill]
		t.block, t.off, t.fill = nil, 0, 0
	}
}

// wait hands over the rest and waits for the writer. It is an error where the
// source was not read to its end.
func (t *tee) wait() error {
	t.stop.Do(func() {
		t.flush()
		close(t.blocks)
	})
	<-t.done
	switch {
	case t.werr != nil:
		return t.werr
	case t.eof == nil:
		return errTeeStopped
	case t.eof != io.EOF:
		return t.eof
	}
	return nil
}
