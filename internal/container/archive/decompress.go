package archive

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/go-archive/compression"
	"github.com/ulikunitz/xz"
)

// Bounds of the memory that a compressed stream may make its reader take.
const (
	maxWindow = 128 << 20
	sniff     = 10
)

// decompress returns the plain stream, whatever the compression: none, gzip,
// bzip2, xz or zstd, told by the first bytes. It starts no process.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(sniff)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, badStream(err)
	}
	var out io.Reader
	switch kind := compression.Detect(head); kind {
	case compression.None:
		return io.NopCloser(in), nil
	case compression.Gzip:
		out, err = gzip.NewReader(in)
	case compression.Bzip2:
		out = bzip2.NewReader(in)
	case compression.Xz:
		out, err = newXZ(in)
	case compression.Zstd:
		var d *zstd.Decoder
		if d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			return d.IOReadCloser(), nil
		}
	default:
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unpack: unknown compression %d", kind))
	}
	if err != nil {
		return nil, badStream(err)
	}
	return io.NopCloser(out), nil
}

func newXZ(in io.Reader) (io.Reader, error) { return xz.NewReader(in) }
