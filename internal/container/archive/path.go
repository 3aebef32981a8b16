// Package archive reads and writes parts of a container's file system as tar
// streams. Every path is resolved by the kernel inside the container's root
// (openat2 with RESOLVE_IN_ROOT) and then only handled by descriptor, so that
// neither links in an image nor a container that swaps files while it runs leads
// out of the root.
package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/rootfs"
)

// maxLinks is how many symbolic links one path may lead through, as in the kernel.
const maxLinks = 40

// target is a path as a client wrote it, split the way that Docker's copy does:
// the last element is itself meant, even where it is a link, unless it is
// followed by a slash or a dot.
type target struct {
	// abs is clean but keeps a final "/" or "/.".
	abs string
	// follow says that a link at the end is followed.
	follow bool
}

func parseTarget(p string) target {
	abs := path.Join("/", p)
	switch {
	case abs == "/":
		return target{abs: "/", follow: true}
	case strings.HasSuffix(p, "/."):
		return target{abs: abs + "/.", follow: true}
	case strings.HasSuffix(p, "/"):
		return target{abs: abs + "/", follow: true}
	}
	return target{abs: abs}
}

// base is the name that the target goes by in answers and archives.
func (t target) base() string { return path.Base(t.abs) }

// open returns an O_PATH descriptor of the target and what it is.
func (t target) open(root *os.File) (*os.File, unix.Stat_t, error) {
	flags := unix.O_PATH
	if !t.follow {
		flags |= unix.O_NOFOLLOW
	}
	var st unix.Stat_t
	f, err := rootfs.OpenInRoot(root, t.abs, flags, 0)
	if err != nil {
		return nil, st, classify(t.abs, err)
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, st, classify(t.abs, err)
	}
	return f, st, nil
}

// classify gives an error of the file system its class. The path is the one the
// client named.
func classify(name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("Could not find the file %s", name))
	case errors.Is(err, unix.ENOTDIR):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: not a directory", name))
	case errors.Is(err, unix.ELOOP):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: too many levels of symbolic links", name))
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EINVAL):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: invalid path", name))
	case errors.Is(err, unix.EROFS):
		return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("%s: the file system is read-only", name))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Stat tells what is at path. Of a link it tells about the link, and where it
// leads inside the root. An absent path is errdefs.ErrNotFound.
func Stat(root *os.File, name string) (container.PathStat, error) {
	if strings.ContainsRune(name, 0) {
		return container.PathStat{}, errdefs.ErrInvalidArgument.WithMessage("path contains NUL")
	}
	t := parseTarget(name)
	f, st, err := t.open(root)
	if err != nil {
		return container.PathStat{}, err
	}
	defer f.Close()
	return t.describe(root, st), nil
}

func (t target) describe(root *os.File, st unix.Stat_t) container.PathStat {
	s := container.PathStat{
		Name:  t.base(),
		Size:  st.Size,
		Mode:  fileMode(st.Mode),
		Mtime: time.Unix(st.Mtim.Unix()),
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		s.LinkTarget = follow(root, t.abs)
	}
	return s
}

// follow says where a path leads when all links are followed, whether or not
// there is anything. The answer is for display: it is never used to open.
func follow(root *os.File, name string) string {
	rest := strings.Split(name, "/")
	done := "/"
	for links := 0; len(rest) > 0; {
		word := rest[0]
		rest = rest[1:]
		next := path.Join(done, word)
		to, err := readlink(root, next)
		if err != nil {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return path.Join(append([]string{next}, rest...)...)
		}
		if path.IsAbs(to) {
			done = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return done
}

func readlink(root *os.File, name string) (string, error) {
	f, err := rootfs.OpenInRoot(root, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readlinkAt(int(f.Fd()), "")
}

func readlinkAt(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// fileMode turns a mode of stat(2) to Go's.
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// self is the path by which an O_PATH descriptor's own file is opened or asked
// for attributes; it leads to that file and nowhere else.
func self(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
