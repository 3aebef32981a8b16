// Package squeeze compresses rotated log files so that a part of one can be
// read without the rest: a file is ordinary gzip, of one member for each block
// of whole records, and an empty last member whose extra field is the index.
// What knows nothing of it reads the whole, as gzip.
package squeeze

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// Ext is the end of a compressed file's name.
const Ext = ".gz"

// Meta is what a block holds. Times are nanoseconds since 1970; 0 is unknown.
type Meta struct {
	// Records in the block, and the number of the first where records have numbers.
	Records, First uint64
	// From and To bound the times of the records.
	From, To int64
}

// Cut says how many bytes at the start of p are whole records, and what those are.
type Cut func(p []byte) (n int, m Meta)

// ErrStopped is Compress's where stop said so.
var ErrStopped = errors.New("stopped")

const (
	blockSize = 256 << 10
	// maxBlocks is what an extra field of 64 KiB has room for; larger files have larger blocks.
	maxBlocks = 1600
	// maxBlock bounds memory; a file of more than maxBlocks of them has no index.
	maxBlock = 16 << 20
)

// Compress writes src to dst. stop is asked between blocks.
func Compress(dst io.Writer, src *os.File, cut Cut, stop func() bool) error {
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	out := &counter{w: dst}
	gz, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	index := Index{Inode: st.Ino}
	in := io.NewSectionReader(src, 0, fi.Size())
	buf := make([]byte, min(maxBlock, max(blockSize, fi.Size()/(maxBlocks/2))))
	for have, ended := 0, false; !ended || have > 0; {
		if stop() {
			return ErrStopped
		}
		n, err := io.ReadFull(in, buf[have:])
		have += n
		ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		if have == 0 {
			break
		}
		whole, meta := cut(buf[:have])
		if whole == 0 || ended && have < len(buf) {
			whole = have // one record larger than a block, or a torn one at the end
		}
		index.Blocks = append(index.Blocks, Block{Offset: out.n, Size: int64(whole), Meta: meta})
		gz.Reset(out)
		if _, err := gz.Write(buf[:whole]); err != nil {
			return err
		}
		if err := gz.Close(); err != nil {
			return err
		}
		have = copy(buf, buf[whole:have])
	}
	if len(index.Blocks) > maxBlocks {
		return nil
	}
	_, err = out.Write(index.member())
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Index is where things are in a compressed file.
type Index struct {
	// Inode is the number that the file had which was compressed: who has that
	// still open knows that this is the same.
	Inode  uint64
	Blocks []Block
}

// Block is one part that can be read alone.
type Block struct {
	// Offset in the compressed file; Size of what comes out.
	Offset, Size int64
	Meta
}

const (
	blockBytes = 48
	// indexHead is version, inode, number of blocks; indexTail the member's length and a mark.
	indexHead = 1 + 8 + 4
	indexTail = 4 + 4
	mark      = "hoyi"
	// memberHead is gzip's header with the extra field's length and its only
	// subfield's head; memberTail an empty stream with its checksum and length.
	memberHead = 10 + 2 + 4
	memberTail = 2 + 8
)

// member is the index as a gzip member with no content (RFC 1952).
func (x *Index) member() []byte {
	size := indexHead + len(x.Blocks)*blockBytes + indexTail
	p := []byte{0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255} // with an extra field, of no known system
	p = binary.LittleEndian.AppendUint16(p, uint16(size+4))
	p = append(p, 'h', 'y')
	p = binary.LittleEndian.AppendUint16(p, uint16(size))
	p = append(p, 1)
	p = binary.LittleEndian.AppendUint64(p, x.Inode)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(x.Blocks)))
	for _, b := range x.Blocks {
		for _, v := range []uint64{uint64(b.Offset), uint64(b.Size), b.Records, b.First, uint64(b.From), uint64(b.To)} {
			p = binary.LittleEndian.AppendUint64(p, v)
		}
	}
	p = binary.LittleEndian.AppendUint32(p, uint32(memberHead+size+memberTail))
	p = append(p, mark...)
	return append(p, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0) // an empty final block, no checksum, no length
}

// Open reads a file's index; false where it has none, or not a sound one.
func Open(f *os.File) (*Index, bool) {
	fi, err := f.Stat()
	if err != nil {
		return nil, false
	}
	var tail [indexTail + memberTail]byte
	if fi.Size() < int64(len(tail)) {
		return nil, false
	}
	if _, err := f.ReadAt(tail[:], fi.Size()-int64(len(tail))); err != nil || string(tail[4:8]) != mark {
		return nil, false
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if n < memberHead+indexHead+indexTail+memberTail || n > 1<<16+memberHead+memberTail || n > fi.Size() {
		return nil, false
	}
	p := make([]byte, n)
	if _, err := f.ReadAt(p, fi.Size()-n); err != nil {
		return nil, false
	}
	return parse(p, fi.Size()-n)
}

// parse reads the last member, which begins at end.
func parse(p []byte, end int64) (*Index, bool) {
	if len(p) < memberHead+indexHead+indexTail+memberTail || p[0] != 0x1f || p[1] != 0x8b || p[3] != 4 || p[memberHead] != 1 {
		return nil, false
	}
	p = p[memberHead+1:]
	x := &Index{Inode: binary.LittleEndian.Uint64(p)}
	count := int(binary.LittleEndian.Uint32(p[8:]))
	p = p[12:]
	if count > maxBlocks || len(p) != count*blockBytes+indexTail+memberTail {
		return nil, false
	}
	last := int64(-1)
	for range count {
		var v [6]uint64
		for i := range v {
			v[i] = binary.LittleEndian.Uint64(p[i*8:])
		}
		p = p[blockBytes:]
		b := Block{Offset: int64(v[0]), Size: int64(v[1]), Meta: Meta{Records: v[2], First: v[3], From: int64(v[4]), To: int64(v[5])}}
		if b.Offset <= last || b.Offset >= end || b.Size < 0 || b.Records > uint64(b.Size) {
			return nil, false
		}
		last = b.Offset
		x.Blocks = append(x.Blocks, b)
	}
	return x, true
}

// Read gives what is in the file from a block's offset on.
func Read(f *os.File, offset int64) (io.Reader, error) {
	return gzip.NewReader(io.NewSectionReader(f, offset, 1<<62))
}
