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
	"strings"
	"time"
)

// extraction unpacks what a container sent. The container is not trusted: every
// path is resolved below the target, links that lead out are not followed.
type extraction struct {
	// target is where the root of the archive comes to lie.
	target string
	owners bool
	warn   func(string)

	root *os.Root
	base string // name of the target in root; "." where root is the target
	dirs []dirTimes
}

type dirTimes struct {
	name  string
	mode  fs.FileMode
	mtime time.Time
}

// extract reads the archive to its end.
func (x *extraction) extract(r io.Reader) error {
	in := tar.NewReader(r)
	top := ""
	for {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			x.close()
			return fmt.Errorf("the archive from the container is damaged: %w", err)
		}
		name := path.Clean("/" + hdr.Name)[1:]
		first, rest, _ := strings.Cut(name, "/")
		if strings.HasPrefix(hdr.Name, "./") || hdr.Name == "." {
			first, rest = ".", name
		}
		if x.root == nil {
			top = first
			if err := x.open(); err != nil {
				return err
			}
		}
		if first != top {
			x.close()
			return fmt.Errorf("the archive from the container is damaged: %q lies outside of %q", hdr.Name, top)
		}
		if err := x.entry(in, hdr, x.place(rest), top); err != nil {
			x.close()
			return err
		}
	}
}

// open opens the directory that everything is written below: the target where it
// is a directory, its parent where it is new or a file.
func (x *extraction) open() error {
	dir := x.target
	x.base = "."
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir, x.base = filepath.Dir(x.target), filepath.Base(x.target)
	}
	var err error
	x.root, err = os.OpenRoot(dir)
	return err
}

func (x *extraction) place(rel string) string { return filepath.Join(x.base, filepath.FromSlash(rel)) }

func (x *extraction) close() {
	if x.root != nil {
		_ = x.root.Close()
	}
}

// finish sets what directories keep from the source, after their content, which
// changes it.
func (x *extraction) finish() error {
	defer x.close()
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		if err := x.root.Chmod(d.name, d.mode); err != nil {
			return err
		}
		if err := x.root.Chtimes(d.name, d.mtime, d.mtime); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) entry(in *tar.Reader, hdr *tar.Header, name, top string) error {
	mode := hdr.FileInfo().Mode()
	if hdr.Typeflag != tar.TypeDir {
		if err := x.clear(name); err != nil {
			return err
		}
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return x.dir(hdr, name, mode)
	case tar.TypeReg:
		if err := x.file(in, name, mode); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := x.root.Symlink(hdr.Linkname, name); err != nil {
			return err
		}
		return x.chown(hdr, name)
	case tar.TypeLink:
		old := strings.TrimPrefix(strings.TrimPrefix(path.Clean("/" + hdr.Linkname)[1:], top), "/")
		return x.root.Link(x.place(old), name)
	default:
		x.warn(fmt.Sprintf("%s is a device, pipe or socket and was not copied", hdr.Name))
		return nil
	}
	if err := x.chown(hdr, name); err != nil {
		return err
	}
	// After chown, which clears the set-user-id bit.
	if err := x.root.Chmod(name, mode); err != nil {
		return err
	}
	return x.root.Chtimes(name, hdr.ModTime, hdr.ModTime)
}

// clear removes what is in the way of a file; a directory is not given up for it.
func (x *extraction) clear(name string) error {
	info, err := x.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("cannot overwrite directory %q with non-directory", filepath.Join(x.root.Name(), name))
	}
	return x.root.Remove(name)
}

func (x *extraction) dir(hdr *tar.Header, name string, mode fs.FileMode) error {
	err := x.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, serr := x.root.Stat(name)
		if serr != nil {
			return serr
		}
		if !info.IsDir() {
			return fmt.Errorf("cannot overwrite non-directory %q with directory", filepath.Join(x.root.Name(), name))
		}
		if name == "." {
			return nil // the user's own directory keeps its mode
		}
	} else if err != nil {
		return err
	}
	x.dirs = append(x.dirs, dirTimes{name, mode.Perm() | mode&(fs.ModeSticky|fs.ModeSetgid|fs.ModeSetuid), hdr.ModTime})
	return x.chown(hdr, name)
}

func (x *extraction) file(in *tar.Reader, name string, mode fs.FileMode) error {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm()|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

func (x *extraction) chown(hdr *tar.Header, name string) error {
	if !x.owners {
		return nil
	}
	return x.root.Lchown(name, hdr.Uid, hdr.Gid)
}
