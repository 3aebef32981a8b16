// Package kernfs reads, writes and removes what the kernel shows as files and
// directories of control groups, with no more system calls than it takes.
package kernfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Write puts value into a file of the kernel in one call, which is how it takes them.
func Write(dir, file, value string) error {
	name := filepath.Join(dir, file)
	fd, err := Open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return WriteTo(fd, name, value)
}

// Open opens a file of the kernel.
func Open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// WriteTo puts value into an open file.
func WriteTo(fd int, name, value string) error {
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "write " + value + " to", Path: name, Err: err}
		}
	}
}

// Read gives a small file of the kernel, trimmed.
func Read(dir, file string) (string, error) {
	name := filepath.Join(dir, file)
	fd, err := Open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			return strings.TrimSpace(string(all)), nil
		}
		all = append(all, buf[:n]...)
	}
}

// Busy says that a directory cannot be removed for what is in it.
func Busy(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) }

// Rmdir removes an empty group; one that is gone is no error.
func Rmdir(dir string) error {
	for {
		switch err := unix.Rmdir(dir); err {
		case nil, unix.ENOENT:
			return nil
		case unix.EINTR:
		default:
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
}

// RemoveTree removes a group and those below it. Where one is busy it tries
// again for a moment: the kernel takes a while to let go of ended processes.
func RemoveTree(dir string) error {
	deadline := time.Now().Add(time.Second)
	for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
		err := Rmdir(dir)
		if err == nil || !Busy(err) {
			return err
		}
		if err := removeBelow(dir); err != nil {
			return err
		}
		if err = Rmdir(dir); err == nil || !Busy(err) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause) //nolint:forbidigo // nothing tells when a group has become empty on version 1
	}
}

// removeBelow removes the groups below dir, deepest first; a busy one is left to the next try.
func removeBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub := filepath.Join(dir, e.Name())
		if err := Rmdir(sub); Busy(err) {
			if err := removeBelow(sub); err != nil {
				return err
			}
			err = Rmdir(sub)
			if err != nil && !Busy(err) {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// WaitEvent waits until a line is in a version 2 group's cgroup.events, which
// the kernel tells of by poll.
func WaitEvent(dir, line string, limit time.Duration) error {
	name := filepath.Join(dir, "cgroup.events")
	fd, err := Open(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 256)
	for deadline := time.Now().Add(limit); ; {
		n, err := unix.Pread(fd, buf, 0)
		if err == unix.ENODEV {
			return nil // the group is gone, and with it whatever was waited for
		}
		if err != nil {
			return &os.PathError{Op: "read", Path: name, Err: err}
		}
		if slices.Contains(strings.Split(string(buf[:n]), "\n"), line) {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("not %q after %s", line, limit)
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}
