package reap

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Gone waits, without a thread, for the end of a process that is not our child.
func Gone(pidFD *os.File) error {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
}

// infoTime bounds the wait for another process to reap one that has ended, and
// infoPause is the time between two looks.
const (
	infoTime  = time.Second
	infoPause = 2 * time.Millisecond
)

// Status asks the kernel how a process has ended that another one has reaped, or
// is about to. Before Linux 6.15 it does not know.
func Status(pidFD *os.File) (status unix.WaitStatus, known bool) {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return 0, false
	}
	for deadline := time.Now().Add(infoTime); ; {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		var opErr error
		err := raw.Control(func(fd uintptr) { opErr = unix.IoctlPidfdInfo(int(fd), &info) })
		switch {
		case err != nil || opErr != nil && !errors.Is(opErr, unix.EINTR):
			return 0, false
		case opErr == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0:
			return unix.WaitStatus(info.Exit_code), true
		case time.Now().After(deadline):
			return 0, false
		}
		time.Sleep(infoPause) //nolint:forbidigo // the end was told, its collection by another process is not
	}
}

// Code is an exit code and signal as Wait gives them.
func Code(s unix.WaitStatus) (code, signal int) {
	if s.Signaled() {
		return 128 + int(s.Signal()), int(s.Signal())
	}
	return s.ExitStatus(), 0
}
