package reader

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"hoy/internal/log/squeeze"
)

// maxFiles bounds how many rotated files are looked for.
const maxFiles = 10000

// maxGap is how many names may be missing in a row before there are no older
// files: a rotation renames from the oldest on, so that a name is free between
// two renames, and the file that had it has the next one.
const maxGap = 2

// maxScans bounds how often names are gone through while files are rotated.
const maxScans = 100

// source is one file of a log, open.
type source struct {
	f  *os.File
	fi os.FileInfo
	// packed: it is compressed; index where it says what is where.
	packed bool
	index  *squeeze.Index
	// in is what comes out of a compressed one, from block start on; nil until it is read.
	in    io.Reader
	start int
	// skip records at the beginning of what is read.
	skip uint64
}

func openSource(name string) (*source, error) {
	s := &source{}
	var err error
	if s.f, err = os.Open(name); errors.Is(err, fs.ErrNotExist) {
		// Compressed by now: that one is there before this one goes.
		s.f, err = os.Open(name + squeeze.Ext)
		s.packed = true
	}
	if err != nil {
		return nil, err
	}
	if s.fi, err = s.f.Stat(); err != nil {
		_ = s.f.Close()
		return nil, err
	}
	if s.packed {
		s.index, _ = squeeze.Open(s.f)
	}
	return s, nil
}

// same says whether two are the same file, or one what the other was compressed
// to; one of them must be held open, or its number may be another's by now.
func (s *source) same(o *source) bool {
	return os.SameFile(s.fi, o.fi) || s.madeOf(o) || o.madeOf(s)
}

func (s *source) madeOf(o *source) bool {
	if s.index == nil || o.packed {
		return false
	}
	st, ok := o.fi.Sys().(*syscall.Stat_t)
	return ok && st.Ino == s.index.Inode
}

// Read of io.Reader: the records as they were written.
func (s *source) Read(p []byte) (int, error) {
	if !s.packed {
		return s.f.Read(p)
	}
	if s.in == nil {
		at := int64(0)
		if s.index != nil {
			if s.start >= len(s.index.Blocks) {
				return 0, io.EOF
			}
			at = s.index.Blocks[s.start].Offset
		}
		in, err := squeeze.Read(s.f, at)
		if err != nil {
			return 0, damaged(err)
		}
		s.in = in
	}
	n, err := s.in.Read(p)
	return n, damaged(err)
}

// damaged makes the end of what can be read of a damaged file its end: the
// other files are worth reading.
func damaged(err error) error {
	if err == nil || errors.Is(err, fs.ErrClosed) {
		return err
	}
	return io.EOF
}

// toEnd leaves out all that is there.
func (s *source) toEnd() error {
	if s.packed {
		s.start, s.in, s.skip = 1<<30, nil, 0
		if s.index == nil {
			s.index = &squeeze.Index{}
		}
		return nil
	}
	_, err := s.f.Seek(0, io.SeekEnd)
	return err
}

func (s *source) close() { _ = s.f.Close() }

// openAll opens the current file and its rotated ones, oldest first. A rotation
// meanwhile may show a file twice, never hide one: files only get older while
// we go from new to old.
func openAll(path string) ([]*source, error) { return openNewer(path, nil) }

// openNewer opens what is newer than known, oldest first; everything where
// known is nil or not there any more.
func openNewer(path string, known *source) (files []*source, err error) {
	for range maxScans {
		before, _ := os.Stat(path)
		if files, err = scan(path, known); err != nil {
			return nil, err
		}
		// One rotation under way moves each file by one name at most, which scan
		// copes with; one that was completed may have shown a younger file late.
		after, _ := os.Stat(path)
		if before == nil && after == nil || before != nil && after != nil && os.SameFile(before, after) {
			break
		}
		closeAll(files)
		files = nil
	}
	return files, nil
}

func scan(path string, known *source) (files []*source, err error) {
	missing := 0
	for n := range maxFiles {
		name := path
		if n > 0 {
			name += "." + strconv.Itoa(n)
		}
		s, err := openSource(name)
		if errors.Is(err, fs.ErrNotExist) {
			if missing++; missing > maxGap {
				break
			}
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		missing = 0
		if known != nil && s.same(known) {
			s.close()
			break
		}
		if len(files) > 0 && s.same(files[0]) {
			s.close()
			continue
		}
		files = append([]*source{s}, files...)
	}
	return files, nil
}

func closeAll(files []*source) {
	for _, s := range files {
		s.close()
	}
}

// seekTail moves the files to where the last n records of all begin, and drops
// (and closes) those that have none of them.
func seekTail(files []*source, n uint64, c codec) ([]*source, error) {
	for i := len(files) - 1; i >= 0; i-- {
		found, err := files[i].tail(n, c)
		if err != nil {
			return files, err
		}
		if n -= found; n == 0 {
			closeAll(files[:i])
			return files[i:], nil
		}
	}
	return files, nil
}

// tail moves s to where its last n records begin and says how many it has, at most n.
func (s *source) tail(n uint64, c codec) (found uint64, err error) {
	if n == 0 {
		return 0, s.toEnd()
	}
	if !s.packed {
		offset, skip, found, err := c.tail(s.f, n)
		if err == nil {
			_, err = s.f.Seek(offset, io.SeekStart)
		}
		s.skip = skip
		return found, err
	}
	if s.index == nil {
		total, err := c.count(s)
		s.in, s.skip = nil, total-min(total, n)
		return min(total, n), err
	}
	for i := len(s.index.Blocks) - 1; i >= 0; i-- {
		s.start = i
		if found += s.index.Blocks[i].Records; found >= n {
			s.skip = found - n
			return n, nil
		}
	}
	return found, nil
}

// probeSize is how much is read to find a record in the middle of a file; it has
// room for two of the usual largest ones.
const probeSize = 256 << 10

// since moves s on to where records of that time may be.
func (s *source) since(t time.Time, c codec) error {
	if s.index != nil {
		for s.start < len(s.index.Blocks) && s.index.Blocks[s.start].To != 0 && s.index.Blocks[s.start].To < t.UnixNano() {
			s.start++
			s.skip = 0
		}
		return nil
	}
	if s.packed || s.skip > 0 {
		return nil
	}
	low, err := s.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	buf := make([]byte, probeSize)
	for high := s.fi.Size(); high-low > probeSize; {
		middle := low + (high-low)/2
		n, err := s.f.ReadAt(buf, middle)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at, when, ok := c.probe(buf[:n])
		if !ok {
			break
		}
		if when.Before(t) {
			low = middle + int64(at)
		} else {
			high = middle
		}
	}
	_, err = s.f.Seek(low, io.SeekStart)
	return err
}

// tailOffset finds, reading backwards, where the last n lines of f begin and
// how many there are (at most n). A line without its newline at the very end
// does not count.
func tailOffset(f *os.File, n uint64) (offset int64, found uint64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 64<<10)
	newlines := uint64(0)
	for end > 0 {
		size := min(end, int64(len(buf)))
		block := buf[:size]
		if _, err := f.ReadAt(block, end-size); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for {
			at := bytes.LastIndexByte(block, '\n')
			if at < 0 {
				break
			}
			// The first newline met ends the last line; the one after n lines begins them.
			if newlines == n {
				return end - size + int64(at) + 1, n, nil
			}
			newlines++
			block = block[:at]
		}
		end -= size
	}
	return 0, newlines, nil
}
