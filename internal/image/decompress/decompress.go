// Package decompress reads a stream that may be compressed, by what it begins with.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds the memory of a zstd or xz stream, in bytes: what their
// strongest usual settings need.
const maxWindow = 128 << 20

// buffered is the size of the look-ahead, in bytes.
const buffered = 256 << 10

var magics = []struct {
	name  string
	begin []byte
	open  func(io.Reader) (io.ReadCloser, error)
}{
	{"gzip", []byte{0x1f, 0x8b, 0x08}, openGzip},
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}, openZstd},
	{"bzip2", []byte("BZh"), func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
	{"xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0}, openXz},
}

// Stream gives the plain content of r, which is compressed with gzip, zstd,
// bzip2 or xz, or not at all. Damaged content is errdefs.ErrInvalidArgument
// from Read. Closing does not close r.
func Stream(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, buffered)
	begin, err := br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	kind := Kind(begin)
	for _, m := range magics {
		if m.name != kind {
			continue
		}
		plain, err := m.open(br)
		if err != nil {
			return nil, fmt.Errorf("damaged %s stream: %w: %w", m.name, err, errdefs.ErrInvalidArgument)
		}
		return &stream{ReadCloser: plain, name: m.name}, nil
	}
	return io.NopCloser(br), nil
}

// Kind names the compression of what begins so (6 bytes suffice); empty is none.
func Kind(begin []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(begin, m.begin) {
			return m.name
		}
	}
	// A zstd stream may begin with a skippable frame.
	if len(begin) >= 4 && begin[0]&0xf0 == 0x50 && bytes.Equal(begin[1:4], []byte{0x2a, 0x4d, 0x18}) {
		return "zstd"
	}
	return ""
}

type stream struct {
	io.ReadCloser
	name string
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("damaged %s stream: %w: %w", s.name, err, errdefs.ErrInvalidArgument)
	}
	return n, err
}

func openGzip(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }

func openZstd(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

func openXz(r io.Reader) (io.ReadCloser, error) {
	x, err := xz.ReaderConfig{DictCap: maxWindow}.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(x), nil
}
