package writer

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"hoy/internal/log/local"
	"hoy/internal/log/squeeze"
)

// files are a log's files, by the path of the current one.
type files string

// rotated is the name of the rotated file n, not compressed.
func (f files) rotated(n int) string { return string(f) + "." + strconv.Itoa(n) }

// after is the number of the record behind those of the rotated file n, in the format of local.
func (f files) after(n int) uint64 {
	if plain, err := os.Open(f.rotated(n)); err == nil {
		defer plain.Close()
		if fi, err := plain.Stat(); err == nil {
			_, next, _, _ := (&localFormat{}).resume(plain, fi.Size())
			return next
		}
	}
	if b := f.blocks(n); len(b) > 0 {
		return b[len(b)-1].First + b[len(b)-1].Records
	}
	return 0
}

// firstOf is the number of the first record of the rotated file n; 0 is the current one.
func (f files) firstOf(n int) (uint64, bool) {
	name := string(f)
	if n > 0 {
		name = f.rotated(n)
	}
	if plain, err := os.Open(name); err == nil {
		defer plain.Close()
		return local.First(plain)
	}
	if b := f.blocks(n); len(b) > 0 {
		return b[0].First, true
	}
	return 0, false
}

func (f files) blocks(n int) []squeeze.Block {
	packed, err := os.Open(f.rotated(n) + squeeze.Ext)
	if err != nil {
		return nil
	}
	defer packed.Close()
	x, ok := squeeze.Open(packed)
	if !ok {
		return nil
	}
	return x.Blocks
}

// exists says whether there is a rotated file n, compressed or not.
func (f files) exists(n int) bool {
	_, err := os.Lstat(f.rotated(n))
	if err != nil {
		_, err = os.Lstat(f.rotated(n) + squeeze.Ext)
	}
	return err == nil
}

func (f files) remove(n int) bool {
	plain, packed := os.Remove(f.rotated(n)), os.Remove(f.rotated(n)+squeeze.Ext)
	return plain == nil || packed == nil
}

// todo is the number, below limit, of the newest rotated file that is not compressed; 0 is none.
func (f files) todo(limit int) int {
	for n := 1; n < limit; n++ {
		if _, err := os.Lstat(f.rotated(n)); err == nil {
			return n
		}
		if _, err := os.Lstat(f.rotated(n) + squeeze.Ext); err != nil {
			return 0
		}
	}
	return 0
}

// Sent is the number up to which, itself excluded, records were forwarded.
func Sent(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	var buf [64]byte
	n, _ := f.Read(buf[:])
	first, second, _ := strings.Cut(string(buf[:n]), " ")
	v, err := strconv.ParseUint(first, 10, 64)
	if err != nil || second != first {
		return 0 // damaged: all that is there is sent again
	}
	return v
}

// SentText is what Sent reads: the number twice, so that a damaged one shows.
func SentText(n uint64) []byte { return fmt.Appendf(nil, "%d %d", n, n) }
