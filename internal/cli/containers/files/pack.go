package files

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// localTree is a file or directory to send.
type localTree struct {
	path     string // where it lies
	name     string // the name of its root in the archive
	isDir    bool
	contents bool // only what is in the directory
}

// placeIn decides by cp's rules into which directory of the container the archive
// is unpacked, and what its root is called there.
func (t *localTree) placeIn(dst string, exists, isDir bool) (string, error) {
	switch {
	case exists && isDir:
		if t.contents {
			t.name = "."
		}
		return dst, nil
	case exists && t.isDir:
		return "", fmt.Errorf("cannot copy directory to %s: it is a file", dst)
	case exists && asDirectory(dst):
		return "", fmt.Errorf("not a directory: %s", dst)
	case !exists && asDirectory(dst) && !t.isDir:
		return "", fmt.Errorf("no such directory: %s", dst)
	}
	dst = path.Clean(dst)
	t.name = path.Base(dst)
	return path.Dir(dst), nil
}

// archive streams the tree as tar.
func (t *localTree) archive() io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		out := tar.NewWriter(w)
		err := t.write(out)
		if err == nil {
			err = out.Close()
		}
		_ = w.CloseWithError(err)
	}()
	return r
}

type inode struct{ dev, ino uint64 }

func (t *localTree) write(out *tar.Writer) error {
	links := map[inode]string{}
	return filepath.WalkDir(t.path, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.path, file)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) && rel != "." {
			return nil // gone since the directory was read
		}
		if err != nil {
			return err
		}
		return writeEntry(out, file, path.Join(t.name, filepath.ToSlash(rel)), info, links)
	})
}

func writeEntry(out *tar.Writer, file, name string, info fs.FileInfo, links map[inode]string) error {
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // tar has no sockets
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	}
	hdr, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	hdr.Name = name
	if info.IsDir() {
		hdr.Name += "/"
	}
	hdr.Uname, hdr.Gname = "", ""
	hdr.Format = tar.FormatPAX
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, seen := links[key]; seen {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
			return out.WriteHeader(hdr)
		}
		links[key] = name
	}
	if !info.Mode().IsRegular() {
		return out.WriteHeader(hdr)
	}
	return writeFile(out, file, hdr)
}

// writeFile writes exactly as many bytes as the header promises, also where the
// file grows or shrinks meanwhile.
func writeFile(out *tar.Writer, file string, hdr *tar.Header) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := out.WriteHeader(hdr); err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(f, hdr.Size))
	if err == nil && n < hdr.Size {
		err = fmt.Errorf("%s became shorter while it was read", file)
	}
	return err
}
