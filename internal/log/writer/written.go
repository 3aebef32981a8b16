package writer

import (
	"bytes"
	"io"
	"os"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/jsonfile"
	"hoy/internal/log/local"
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
