// Package oom counts the processes of a group that were killed for want of memory.
package oom

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/kernfs"
	"hoy/internal/runtime/cgroup/tree"
)

// Kills is the kernel's count; one says that dir is version 1's.
func Kills(dir string, one bool) (uint64, error) {
	file := "memory.events"
	if one {
		file = "memory.oom_control"
	}
	text, err := kernfs.Read(dir, file)
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(l), "oom_kill "); ok {
			return strconv.ParseUint(n, 10, 64)
		}
	}
	return 0, nil
}

// Watch counts into killed until the group is gone.
func Watch(dir string, one bool, killed *atomic.Uint64) {
	open, count := watchTwo, countTwo
	if one {
		open, count = watchOne, countOne
	}
	f, err := open(dir)
	if err != nil {
		return // gone already: there is nothing to count
	}
	go func() {
		defer func() { _ = f.Close() }()
		count(f, dir, killed)
	}()
}

// watchOne has the kernel count into an event descriptor.
func watchOne(dir string) (*os.File, error) {
	control, err := kernfs.Open(filepath.Join(dir, "memory.oom_control"), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(control) }()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	f := os.NewFile(uintptr(fd), "eventfd")
	if err := kernfs.Write(dir, "cgroup.event_control", fmt.Sprintf("%d %d", fd, control)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// countOne adds events, of which the group's removal is the last.
func countOne(f *os.File, dir string, killed *atomic.Uint64) {
	var count [8]byte
	for {
		if _, err := f.Read(count[:]); err != nil {
			return
		}
		n := binary.NativeEndian.Uint64(count[:])
		if !tree.File(dir, "") {
			killed.Add(n - 1)
			return
		}
		killed.Add(n)
	}
}

// watchTwo is told of changes to the two files of events.
func watchTwo(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	for _, name := range []string{"memory.events", "cgroup.events"} {
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(dir, name), unix.IN_MODIFY); err != nil {
			_ = f.Close()
			return nil, &os.PathError{Op: "watch", Path: filepath.Join(dir, name), Err: err}
		}
	}
	return f, nil
}

func countTwo(f *os.File, dir string, killed *atomic.Uint64) {
	buf := make([]byte, 1024)
	for {
		n, err := Kills(dir, false)
		if err != nil {
			return
		}
		killed.Store(n)
		if text, err := kernfs.Read(dir, "cgroup.events"); err != nil || strings.Contains(text, "populated 0") {
			return
		}
		if _, err := f.Read(buf); err != nil {
			return
		}
	}
}
