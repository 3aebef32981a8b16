package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// write puts value into a file of the kernel in one call, which is how it takes them.
func write(dir, file, value string) error {
	name := filepath.Join(dir, file)
	fd, err := openFile(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return writeTo(fd, name, value)
}

func openFile(name string, flags int) (int, error) {
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

func writeTo(fd int, name, value string) error {
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

// read gives a small file of the kernel, trimmed.
func read(dir, file string) (string, error) {
	name := filepath.Join(dir, file)
	fd, err := openFile(name, unix.O_RDONLY)
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

func busy(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) }

func rmdir(dir string) error {
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

// removeTree removes a group and those below it. Where one is busy it tries
// again for a moment: the kernel takes a while to let go of ended processes.
func removeTree(dir string) error {
	deadline := time.Now().Add(time.Second)
	for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
		err := rmdir(dir)
		if err == nil || !busy(err) {
			return err
		}
		if err := removeBelow(dir); err != nil {
			return err
		}
		if err = rmdir(dir); err == nil || !busy(err) || time.Now().After(deadline) {
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
		if err := rmdir(sub); busy(err) {
			if err := removeBelow(sub); err != nil {
				return err
			}
			err = rmdir(sub)
			if err != nil && !busy(err) {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}
