// Package self is what this process knows of itself, and makes of itself, before
// it makes a container.
package self

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Seal executes this program anew from a read-only mount of its file that
// nobody else has. Until its last call a container's process is a copy of ours,
// and whoever in a shared pid namespace may look at it finds the program there:
// through a mount that cannot be written, it is not the way to the host's file.
// It returns where that is so already, or cannot be.
func Seal() error {
	const exe = "/proc/self/exe"
	var fs unix.Statfs_t
	if err := unix.Statfs(exe, &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, exe, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("execve", unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args, os.Environ()))
}

// MayMount: all mounts of a container are prepared by this process.
func MayMount() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return errors.New("this runtime needs CAP_SYS_ADMIN: as root, or in a user namespace that the caller has made, as rootless podman does")
	}
	return nil
}

// ListenFDs is LISTEN_FDS where it is meant for this process.
func ListenFDs() string {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return ""
	}
	return os.Getenv("LISTEN_FDS")
}

// Cgroup is where a relative path begins: the verbs that come later may be
// in another group, so that it is made absolute once. On version 2 it is the
// parent of the own group, since a group with processes has no children with
// controllers.
func Cgroup() (string, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	own := ""
	for line := range strings.Lines(string(data)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, dir, _ := strings.Cut(rest, ":")
		if strings.Contains(","+controllers+",", ",devices,") {
			return dir, nil
		}
		if controllers == "" {
			own = filepath.Dir(dir)
		}
	}
	return own, nil
}
