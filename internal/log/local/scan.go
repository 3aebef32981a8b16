package local

import (
	"bufio"
	"errors"
	"io"
	"os"
)

// Whole goes through a file from its start and says where its last whole frame
// ends and which number the next record has. It is the way out where Last
// finds nothing: a write was cut short, or something is damaged.
func Whole(f *os.File) (end int64, next uint64, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), MaxBody+Overhead)
	for at := int64(0); ; {
		p, err := r.Peek(MaxBody + Overhead)
		if err != nil && !errors.Is(err, io.EOF) {
			return end, next, err
		}
		if len(p) == 0 {
			return end, next, nil
		}
		frame, n, parseErr := Parse(p)
		if parseErr != nil {
			n = Next(p)
		}
		at += int64(n)
		if parseErr == nil {
			end, next = at, frame.First+frame.Records()
		}
		if _, err := r.Discard(n); err != nil {
			return end, next, err
		}
	}
}
