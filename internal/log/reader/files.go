package reader

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// maxFiles bounds how many rotated files are looked for.
const maxFiles = 10000

// maxGap is how many names may be missing in a row before there are no older
// files: a rotation renames from the oldest on, so that a name is free between
// two renames, and the file that had it has the next one.
const maxGap = 2

// maxScans bounds how often names are gone through while files are rotated.
const maxScans = 100

// openAll opens the current file and its rotated ones, oldest first. A rotation
// meanwhile may show a file twice, never hide one: files only get older while
// we go from new to old.
func openAll(path string) ([]*os.File, error) {
	return openNewer(path, nil)
}

// openNewer opens what is newer than known, oldest first; everything where
// known is nil or not there any more.
func openNewer(path string, known os.FileInfo) (files []*os.File, err error) {
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

func scan(path string, known os.FileInfo) (files []*os.File, err error) {
	var last os.FileInfo
	missing := 0
	for n := range maxFiles {
		name := path
		if n > 0 {
			name += "." + strconv.Itoa(n)
		}
		f, err := os.Open(name)
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
		fi, err := f.Stat()
		if err != nil || (known != nil && os.SameFile(fi, known)) {
			_ = f.Close()
			break
		}
		if last != nil && os.SameFile(fi, last) {
			_ = f.Close()
			continue
		}
		last = fi
		files = append([]*os.File{f}, files...)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// seekTail moves the files to where the last n lines of all begin, and drops
// (and closes) those that have none of them. A line without its newline at the
// very end does not count.
func seekTail(files []*os.File, n int) ([]*os.File, error) {
	for i := len(files) - 1; i >= 0; i-- {
		offset, found, err := tailOffset(files[i], n)
		if err != nil {
			return files, err
		}
		if _, err := files[i].Seek(offset, io.SeekStart); err != nil {
			return files, err
		}
		n -= found
		if n == 0 {
			closeAll(files[:i])
			return files[i:], nil
		}
	}
	return files, nil
}

// tailOffset finds, reading backwards, where the last n lines of f begin and
// how many there are (at most n).
func tailOffset(f *os.File, n int) (offset int64, found int, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	if n <= 0 {
		return end, 0, nil
	}
	buf := make([]byte, 64<<10)
	newlines := 0
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
