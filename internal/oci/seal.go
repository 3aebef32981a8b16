package oci

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seal executes this program anew from a read-only mount of its file that
// nobody else has. Until its last call a container's process is a copy of ours,
// and whoever in a shared pid namespace may look at it finds the program there:
// through a mount that cannot be written, it is not the way to the host's file.
// It returns where that is so already, or cannot be.
func seal() error {
	const self = "/proc/self/exe"
	var fs unix.Statfs_t
	if err := unix.Statfs(self, &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("execve", unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args, os.Environ()))
}

// mayMount: all mounts of a container are prepared by this process.
func mayMount() error {
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
