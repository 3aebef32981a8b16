package layerdiff

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/tarheader"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// Writer writes changes as a layer in the OCI image specification's format.
// The same changes give the same bytes.
type Writer struct {
	root  *os.Root
	tw    *tar.Writer
	links map[[2]uint64]string
	count int
}

// NewWriter makes a writer of changes to the file system at root.
func NewWriter(w io.Writer, root *os.Root) *Writer {
	return &Writer{root: root, tw: tar.NewWriter(w), links: map[[2]uint64]string{}}
}

// Count is how many changes were written.
func (w *Writer) Count() int { return w.count }

// Close ends the archive.
func (w *Writer) Close() error { return w.tw.Close() }

// Change writes one change; it is an Emit.
func (w *Writer) Change(kind container.ChangeType, p string, info fs.FileInfo) error {
	w.count++
	if kind == container.ChangeDelete {
		// A whiteout has no time of its own.
		return w.tw.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: rel(path.Join(path.Dir(p), ".wh."+path.Base(p))), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		})
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	var target string
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = w.root.Readlink(rel(p)); err != nil {
			return gone(err)
		}
	}
	h, err := tarheader.FileInfoHeaderNoLookups(info, target)
	if err != nil {
		return fmt.Errorf("layer: %s: %w", p, err)
	}
	h.Name = rel(p)
	if info.IsDir() {
		h.Name += "/"
	}
	h.Format = tar.FormatPAX
	h.ModTime = h.ModTime.Truncate(time.Second)
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && !info.IsDir() {
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		}
		if st.Nlink > 1 {
			inode := [2]uint64{st.Dev, st.Ino}
			if first, ok := w.links[inode]; ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
				return w.tw.WriteHeader(h)
			}
			w.links[inode] = h.Name
		}
	}
	if h.Typeflag != tar.TypeReg {
		return w.tw.WriteHeader(h)
	}
	return w.file(p, h)
}

func (w *Writer) file(p string, h *tar.Header) error {
	// Not blocking: a pipe may have taken the file's place meanwhile.
	f, err := w.root.OpenFile(rel(p), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !now.Mode().IsRegular() {
		return nil
	}
	h.Size = now.Size()
	if value := capability(f); value != "" {
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": value}
	}
	if err := w.tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w.tw}, io.LimitReader(f, h.Size), make([]byte, 256<<10))
	if err != nil {
		return fmt.Errorf("layer: %s: %w", p, err)
	}
	if n < h.Size {
		return fmt.Errorf("layer: %s shrank while it was read: %w", p, io.ErrUnexpectedEOF)
	}
	return nil
}

// capability is the file capabilities attribute as stored; at most 24 bytes.
func capability(f *os.File) string {
	var v [64]byte
	n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", v[:])
	if err != nil || n <= 0 {
		return ""
	}
	return string(v[:n])
}
