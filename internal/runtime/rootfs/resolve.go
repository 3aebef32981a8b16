package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// resolve keeps every path below the root, whatever its links say; links of
// /proc that lead anywhere are refused.
const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// OpenInRoot opens name as if root were "/". flags and mode are as in open(2);
// the descriptor closes on exec. The error is an *os.PathError.
func OpenInRoot(root *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := openat2(int(root.Fd()), name, flags, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openat2(root int, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: resolve,
	}
	if flags&(unix.O_CREAT|unix.O_TMPFILE) != 0 {
		how.Mode = uint64(mode)
	}
	if name == "" {
		name = "."
	}
	for range 10000 {
		fd, err := unix.Openat2(root, name, &how)
		// EAGAIN: something was renamed while the kernel looked at "..".
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// MkdirAllInRoot makes the directory name and those above it that are missing,
// as if root were "/"; new ones get mode, uid and gid. A symbolic link that
// leads nowhere is followed: what it names is made. The directory is returned
// as an O_PATH descriptor.
func MkdirAllInRoot(root *os.File, name string, mode uint32, uid, gid int) (*os.File, error) {
	fd, err := openat2(int(root.Fd()), name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = mkdirAll(int(root.Fd()), name, mode, uid, gid)
	}
	if err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func mkdirAll(root int, name string, mode uint32, uid, gid int) (int, error) {
	rest := strings.Split(path.Clean("/"+name), "/")[1:]
	done := "/"
	links := 0
	for len(rest) > 0 {
		word := rest[0]
		next := path.Join(done, word)
		fd, err := openat2(root, next, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err == nil {
			_ = unix.Close(fd)
			done, rest = next, rest[1:]
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return -1, err
		}
		target, err := makeDir(root, done, word, mode, uid, gid)
		if err != nil {
			return -1, err
		}
		if target == "" {
			continue
		}
		// A link to nowhere: go on with what it names in its place.
		if links++; links > maxLinks {
			return -1, unix.ELOOP
		}
		if !path.IsAbs(target) {
			target = path.Join(done, target)
		}
		rest = append(strings.Split(path.Clean("/"+target), "/")[1:], rest[1:]...)
		done = "/"
	}
	return openat2(root, done, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// makeDir makes word in dir. Where a symbolic link is in its place, it returns
// what that says instead.
func makeDir(root int, dir, word string, mode uint32, uid, gid int) (target string, err error) {
	parent, err := openat2(root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(parent) }()
	err = unix.Mkdirat(parent, word, mode)
	if errors.Is(err, unix.EEXIST) {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(parent, word, buf)
		if errors.Is(err, unix.EINVAL) {
			// Made by somebody else in between, or not a directory: the caller's next look tells.
			return "", notDir(parent, word)
		}
		if err != nil {
			return "", err
		}
		return string(buf[:n]), nil
	}
	if err != nil {
		return "", err
	}
	fd, err := unix.Openat(parent, word, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	// The umask may have taken bits away.
	if err := unix.Fchmod(fd, mode); err != nil {
		return "", err
	}
	if uid != 0 || gid != 0 {
		return "", unix.Fchown(fd, uid, gid)
	}
	return "", nil
}

func notDir(parent int, word string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, word, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

// CreateInRoot makes an empty file name where nothing is, and the directories
// above it, as mount point for a file. A symbolic link that leads nowhere is
// followed: what it names is made.
func CreateInRoot(root *os.File, name string, uid, gid int) error {
	for range maxLinks {
		fd, err := openat2(int(root.Fd()), name, unix.O_PATH, 0)
		if err == nil {
			return unix.Close(fd)
		}
		if !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "create", Path: name, Err: err}
		}
		target, err := createFile(root, name, uid, gid)
		if err != nil || target == "" {
			return err
		}
		name = target
	}
	return &os.PathError{Op: "create", Path: name, Err: unix.ELOOP}
}

// createFile makes one file. Where a symbolic link is in its place, it returns
// the path that this leads to.
func createFile(root *os.File, name string, uid, gid int) (target string, err error) {
	dirName, base := path.Split(path.Clean("/" + name))
	dir, err := MkdirAllInRoot(root, dirName, 0o755, uid, gid)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EEXIST) {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(dir.Fd()), base, buf)
		if err != nil {
			return "", &os.PathError{Op: "create", Path: name, Err: err}
		}
		link := string(buf[:n])
		if !path.IsAbs(link) {
			link = path.Join(dirName, link)
		}
		return link, nil
	}
	if err != nil {
		return "", &os.PathError{Op: "create", Path: name, Err: err}
	}
	if uid != 0 || gid != 0 {
		err = unix.Fchown(fd, uid, gid)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", fmt.Errorf("create %s: %w", name, err)
	}
	return "", nil
}
