// Package local is the format of the log files of the driver local, and of all
// drivers that forward: the output as it was written, in frames.
//
// A frame is what was read at once. Its lines stand in it as the process wrote
// them; where one piece ends and the next begins follows from their newlines
// and log.MaxLine. All numbers are little endian.
//
//	 0  2 bytes  magic
//	 2  1        kind
//	 3  1        stream
//	 4  4        length of the body
//	 8  8        time, nanoseconds since 1970
//	16  8        number of the first record in the log
//	24  4        CRC-32C of the above and the body
//	28           the body
//	+n  4        length of the whole frame, for who reads from the end
package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"hoy/internal/log"
)

// Kind of a frame's body.
type Kind uint8

const (
	// Lines are output.
	Lines Kind = iota + 1
	// Attrs is a JSON object of the attributes of all that follows in the file. It is no record.
	Attrs
	// Gap is the text of one record that the engine wrote itself, where others were dropped.
	Gap
)

const (
	headerSize  = 28
	trailerSize = 4
	// Overhead is how much longer than its body a frame is.
	Overhead = headerSize + trailerSize
	// MaxBody bounds a body; writers make them of what is read at once, 64 KiB.
	MaxBody = 1 << 20

	magic0, magic1 = 0xf3, 0x6c
)

var (
	magic = []byte{magic0, magic1}
	table = crc32.MakeTable(crc32.Castagnoli)
)

// Frame is one decoded frame; Body is a part of what was parsed.
type Frame struct {
	Kind   Kind
	Stream log.Stream
	Time   time.Time
	// First is the number of its first record, which is that of the next frame's where it has none.
	First uint64
	Body  []byte
}

// Begin appends the room for a header; the body is appended behind it.
func Begin(buf []byte) []byte {
	var header [headerSize]byte
	return append(buf, header[:]...)
}

// End completes the frame that begins at the start of buf. The body is f's where it has one.
func End(buf []byte, f Frame) []byte {
	buf = append(buf, f.Body...)
	buf[0], buf[1], buf[2], buf[3] = magic0, magic1, byte(f.Kind), byte(f.Stream)
	binary.LittleEndian.PutUint32(buf[4:], uint32(len(buf)-headerSize))
	binary.LittleEndian.PutUint64(buf[8:], uint64(f.Time.UnixNano()))
	binary.LittleEndian.PutUint64(buf[16:], f.First)
	binary.LittleEndian.PutUint32(buf[24:], sum(buf))
	return binary.LittleEndian.AppendUint32(buf, uint32(len(buf)+trailerSize))
}

func sum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:24], table), table, frame[headerSize:])
}

var (
	// ErrShort: the frame goes on behind what was given.
	ErrShort = errors.New("the frame is not complete")
	// ErrDamaged: there is no frame.
	ErrDamaged = errors.New("the frame is damaged")
)

// Parse reads the frame at the start of p and says how long it is.
func Parse(p []byte) (f Frame, n int, err error) {
	if len(p) >= 2 && (p[0] != magic0 || p[1] != magic1) || len(p) == 1 && p[0] != magic0 {
		return f, 0, ErrDamaged
	}
	if len(p) < headerSize {
		return f, 0, ErrShort
	}
	body := binary.LittleEndian.Uint32(p[4:])
	if body > MaxBody || p[2] < byte(Lines) || p[2] > byte(Gap) || p[3] > byte(log.Stderr) {
		return f, 0, ErrDamaged
	}
	n = headerSize + int(body) + trailerSize
	if len(p) < n {
		return f, 0, ErrShort
	}
	frame := p[:n-trailerSize]
	if binary.LittleEndian.Uint32(p[n-trailerSize:]) != uint32(n) || binary.LittleEndian.Uint32(p[24:]) != sum(frame) {
		return f, 0, ErrDamaged
	}
	return Frame{
		Kind: Kind(p[2]), Stream: log.Stream(p[3]), Body: frame[headerSize:],
		Time:  time.Unix(0, int64(binary.LittleEndian.Uint64(p[8:]))).UTC(),
		First: binary.LittleEndian.Uint64(p[16:]),
	}, n, nil
}

// Next is where behind a damaged place at the start of p a frame may begin: its
// end where there is none.
func Next(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	if at := bytes.Index(p[1:], magic); at >= 0 {
		return at + 1
	}
	if p[len(p)-1] == magic0 && len(p) > 1 {
		return len(p) - 1
	}
	return len(p)
}

// Piece is the first record of a body.
func Piece(body []byte) []byte {
	window := body[:min(len(body), log.MaxLine)]
	if at := bytes.IndexByte(window, '\n'); at >= 0 {
		return window[:at+1]
	}
	return window
}

// Records is how many records the frame has.
func (f *Frame) Records() (n uint64) {
	switch f.Kind {
	case Gap:
		return 1
	case Lines:
		for p := f.Body; len(p) > 0; n++ {
			p = p[len(Piece(p)):]
		}
	}
	return n
}

// Last reads the last frame of a file, and says where it begins. ok is false where none ends at size.
func Last(r io.ReaderAt, size int64) (f Frame, at int64, ok bool) {
	var trailer [trailerSize]byte
	if size < Overhead {
		return f, 0, false
	}
	if _, err := r.ReadAt(trailer[:], size-trailerSize); err != nil {
		return f, 0, false
	}
	n := int64(binary.LittleEndian.Uint32(trailer[:]))
	if n < Overhead || n > MaxBody+Overhead || n > size {
		return f, 0, false
	}
	buf := make([]byte, n)
	if _, err := r.ReadAt(buf, size-n); err != nil {
		return f, 0, false
	}
	f, got, err := Parse(buf)
	return f, size - n, err == nil && int64(got) == n
}

// First reads the number of a file's first record.
func First(r io.ReaderAt) (uint64, bool) {
	var header [headerSize]byte
	if _, err := r.ReadAt(header[:], 0); err != nil || header[0] != magic0 || header[1] != magic1 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(header[16:]), true
}

// HeadSize is the length of the frame of attributes that begins with p, of Overhead bytes.
func HeadSize(p []byte) (int, bool) {
	body := binary.LittleEndian.Uint32(p[4:])
	return int(body) + Overhead, p[0] == magic0 && p[1] == magic1 && p[2] == byte(Attrs) && body <= MaxBody
}
