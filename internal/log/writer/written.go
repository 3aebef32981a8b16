package writer

import (
	"bytes"
	"io"
	"os"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/jsonfile"
	"hoy/internal/log/local"
	"hoy/internal/log/squeeze"
)

const (
	// lookBack is how much of a log's end is looked at: one Write of 64 KiB takes
	// less than 400 KiB, and that of the other stream may lie between.
	lookBack = 2 << 20
	// lookFrames is the same in frames.
	lookFrames = 64
)

// Written counts the records of one stream and one time at the end of a log:
// what a WriteAt has come to whose process was killed. The log is opened
// already, so that a torn end is mended.
func Written(cfg log.Config, s log.Stream, at time.Time) (n int) {
	for _, path := range []string{cfg.Path, cfg.Path + ".1"} { // it may have rotated
		f, err := os.Open(path)
		if err != nil {
			n += writtenPacked(path+squeeze.Ext, &cfg, s, at)
			continue
		}
		fi, err := f.Stat()
		if err == nil && cfg.JSON() {
			n += writtenLines(f, fi.Size(), &cfg, s, at)
		} else if err == nil {
			n += writtenFrames(f, fi.Size(), s, at)
		}
		_ = f.Close()
	}
	return n
}

func writtenLines(f io.ReaderAt, size int64, cfg *log.Config, s log.Stream, at time.Time) (n int) {
	attributes, err := jsonfile.Attributes(cfg.Attrs)
	if err != nil {
		return 0
	}
	tail := jsonfile.AppendTail(nil, s, attributes, at)
	from := max(size-lookBack, 0)
	text := make([]byte, size-from)
	if got, _ := f.ReadAt(text, from); got < len(text) {
		text = text[:got]
	}
	// A text cannot have the quotes of a tail: they are escaped in it.
	return bytes.Count(text, tail)
}

func writtenFrames(f io.ReaderAt, size int64, s log.Stream, at time.Time) (n int) {
	for range lookFrames {
		frame, begin, ok := local.Last(f, size)
		if !ok {
			break
		}
		if frame.Kind == local.Lines && frame.Stream == s && frame.Time.Equal(at) {
			n += int(frame.Records())
		}
		size = begin
	}
	return n
}

// writtenPacked is the same where the rotated file was compressed meanwhile.
func writtenPacked(path string, cfg *log.Config, s log.Stream, at time.Time) (n int) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	x, ok := squeeze.Open(f)
	if !ok || len(x.Blocks) == 0 {
		return 0
	}
	first, size := len(x.Blocks)-1, x.Blocks[len(x.Blocks)-1].Size
	for ; first > 0 && size < lookBack; first-- {
		size += x.Blocks[first-1].Size
	}
	in, err := squeeze.Read(f, x.Blocks[first].Offset)
	if err != nil {
		return 0
	}
	text, err := io.ReadAll(io.LimitReader(in, size))
	if err != nil {
		return 0
	}
	if cfg.JSON() {
		return writtenLines(bytes.NewReader(text), int64(len(text)), cfg, s, at)
	}
	return writtenFrames(bytes.NewReader(text), int64(len(text)), s, at)
}
