// Package copyup copies a directory's content into a fresh file system, with
// owners, modes, times and extended attributes, before anybody else sees it.
package copyup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth bounds the descriptors that are open at a time; what an image holds
// is not ours to trust.
const maxDepth = 256

// Dir copies what is in the directory from into to, and from's own attributes.
// Symbolic links are copied, never followed.
func Dir(from, to *os.File) error {
	if err := copyDir(int(from.Fd()), int(to.Fd()), 0); err != nil {
		return fmt.Errorf("copy up: %w", err)
	}
	return nil
}

func copyDir(from, to, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d directories deep", maxDepth)
	}
	dir, err := openDir(from)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if err := copyEntry(from, to, name, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstatat(from, "", &st, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	return attributes(from, to, ".", &st)
}

// openDir opens a directory anew, so that the caller's offset stays.
func openDir(fd int) (*os.File, error) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), "directory"), nil
}

func copyEntry(from, to int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return copySub(from, to, name, depth)
	case unix.S_IFREG:
		err = copyFile(from, to, name)
	case unix.S_IFLNK:
		err = copyLink(from, to, name)
	case unix.S_IFSOCK:
		return nil // nobody listens there
	default:
		err = unix.Mknodat(to, name, st.Mode, int(st.Rdev))
	}
	if errors.Is(err, unix.EEXIST) {
		return nil // the mount point of a later mount
	}
	if err == nil {
		err = attributes(from, to, name, &st)
	}
	if err != nil {
		return &os.PathError{Op: "copy", Path: name, Err: err}
	}
	return nil
}

func copySub(from, to int, name string, depth int) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	src, err := unix.Openat(from, name, flags, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(src) }()
	if err := unix.Mkdirat(to, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	dst, err := unix.Openat(to, name, flags, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(dst) }()
	return copyDir(src, dst, depth+1)
}

func copyFile(from, to int, name string) error {
	// Not to hang on what has become a pipe meanwhile.
	in, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(in), name)
	defer src.Close()
	out, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(out), name)
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func copyLink(from, to int, name string) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, name, buf)
	if err != nil {
		return err
	}
	return unix.Symlinkat(string(buf[:n]), to, name)
}

// attributes gives the copy owner, mode, extended attributes and times of the original.
func attributes(from, to int, name string, st *unix.Stat_t) error {
	if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	link := st.Mode&unix.S_IFMT == unix.S_IFLNK
	if !link {
		if err := unix.Fchmodat(to, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
		if err := xattrs(from, to, name); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// xattrs copies extended attributes; what the copy's file system has no place for is left out.
func xattrs(from, to int, name string) error {
	src, dst := procPath(from, name), procPath(to, name)
	size, err := unix.Llistxattr(src, nil)
	if err != nil || size == 0 {
		return nil //nolint:nilerr // the file system has none
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(src, list); err != nil {
		return err
	}
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(src, key, value)
		if err == nil {
			err = unix.Lsetxattr(dst, key, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("attribute %s: %w", key, err)
		}
	}
	return nil
}

// procPath names an entry of an open directory to calls that take paths only.
func procPath(dir int, name string) string {
	return path.Join(fmt.Sprintf("/proc/self/fd/%d", dir), name)
}
