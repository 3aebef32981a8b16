package stuck

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The parts of include/uapi/linux/fuse.h that a server needs that never answers.
const (
	fuseInit      = 26
	fuseHeaderIn  = 40
	fuseHeaderOut = 16
	fuseInitOut   = 64
	fuseMajor     = 7
	fuseMinor     = 31
)

// hangs mounts a file system that takes every request and answers none. Who
// asks it for something waits in the kernel, where no signal reaches, until
// release is called or this process ends.
func hangs(t *testing.T) (dir string, release func()) {
	t.Helper()
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine has no FUSE: %v", err)
	}
	dir, err = os.MkdirTemp("", "hoy-hung-") //nolint:usetesting // the test's own directory is removed by a walk, which would hang
	if err != nil {
		t.Fatal(err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", dev.Fd())
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		t.Fatalf("mount a FUSE file system: %v", err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			// The last descriptor's end ends the connection, and every wait with it.
			_ = dev.Close()
		}
	}
	t.Cleanup(func() {
		release()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Fd has made it block; a read that blocks would keep Close from closing it.
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	_ = dev.Close()
	dev = os.NewFile(uintptr(fd), "/dev/fuse")
	go serve(dev)
	return dir, release
}

// serve agrees on a version, and from then on only takes.
func serve(dev *os.File) {
	buf := make([]byte, 1<<17)
	for {
		n, err := dev.Read(buf)
		if err != nil {
			return
		}
		if n < fuseHeaderIn || binary.NativeEndian.Uint32(buf[4:]) != fuseInit {
			continue
		}
		answer := make([]byte, fuseHeaderOut+fuseInitOut)
		binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
		copy(answer[8:16], buf[8:16]) // the request's number
		binary.NativeEndian.PutUint32(answer[16:], fuseMajor)
		binary.NativeEndian.PutUint32(answer[20:], fuseMinor)
		binary.NativeEndian.PutUint16(answer[32:], 12)    // max_background
		binary.NativeEndian.PutUint16(answer[34:], 9)     // congestion_threshold
		binary.NativeEndian.PutUint32(answer[36:], 1<<16) // max_write
		if _, err := dev.Write(answer); err != nil {
			return
		}
	}
}
