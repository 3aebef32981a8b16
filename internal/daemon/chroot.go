package daemon

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errChroot refuses a start: pivot_root would put containers where the chroot
// is, below a root that whoever joins their mount namespace arrives at.
var errChroot = errors.New("hoyd runs in a chroot: its / is not the root of its mount namespace, and containers could not be kept from what is outside; start it outside, or make the directory the root with pivot_root in a mount namespace of its own")

// refuseChroot fails where this process's root is not its mount namespace's.
func refuseChroot() error {
	own, err := rootMount()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() {
		// Never unlocked: this thread's root is about to differ from the others', so it ends with the goroutine.
		runtime.LockOSThread()
		result <- func() error {
			ns, err := os.Open("/proc/thread-self/ns/mnt")
			if err != nil {
				return fmt.Errorf("open own mount namespace: %w", err)
			}
			defer ns.Close()
			// setns demands a thread whose root and working directory are its own.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			// Joining a mount namespace, even one's own, leads to its root.
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("join own mount namespace: %w", err)
			}
			real, err := rootMount()
			if err == nil && real != own {
				err = errChroot
			}
			return err
		}()
	}()
	return <-result
}

// rootMount identifies what / is: its mount, and the file there.
func rootMount() (id [3]uint64, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID|unix.STATX_INO, &st); err != nil {
		return id, fmt.Errorf("stat /: %w", err)
	}
	return [3]uint64{st.Mnt_id, st.Ino, uint64(st.Dev_major)<<32 | uint64(st.Dev_minor)}, nil
}
