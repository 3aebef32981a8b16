package rootfs

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// As calls f on a thread whose new files belong to uid and gid, with all its
// capabilities: below a mapped mount, who is not in the map can make nothing.
func As(uid, gid int, f func() error) error {
	if uid == 0 && gid == 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := become(uid, gid)
		if err == nil {
			err = f()
		}
		// A thread that cannot come back ends with this goroutine.
		if back == nil || back() == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// become changes the calling thread's ids for files and keeps its capabilities,
// some of which the kernel takes away with the id 0.
func become(uid, gid int) (back func() error, err error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return nil, os.NewSyscallError("capget", err)
	}
	set := func(uid, gid int) error {
		for _, id := range []struct {
			nr uintptr
			id int
		}{{unix.SYS_SETFSGID, gid}, {unix.SYS_SETFSUID, uid}} {
			// Both answer with the old id, whether or not there is a new one.
			_, _, _ = unix.RawSyscall(id.nr, uintptr(id.id), 0, 0)
			if now, _, _ := unix.RawSyscall(id.nr, ^uintptr(0), 0, 0); int(now) != id.id {
				return fmt.Errorf("take id %d for new files: refused", id.id)
			}
		}
		return os.NewSyscallError("capset", unix.Capset(&head, &caps[0]))
	}
	back = func() error { return set(os.Geteuid(), os.Getegid()) }
	return back, set(uid, gid)
}
