package reap

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Gone waits, without a thread, for the end of a process that is not our child.
func Gone(pidFD *os.File) error {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(gone)
}

// IsGone says whether the process behind pidFD has ended.
func IsGone(pidFD *os.File) bool {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return true
	}
	is := false
	err = raw.Control(func(fd uintptr) { is = gone(fd) })
	return is || err != nil
}

func gone(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// infoTime bounds the wait for another process to reap one that has ended, and
// infoPause is the time between two looks.
const (
	infoTime  = time.Second
	infoPause = 2 * time.Millisecond
)

// Status asks the kernel how a process, of this number and start time, has ended
// that is not our child. While nobody has reaped it /proc tells; then its
// descriptor does, since Linux 6.15.
func Status(pidFD *os.File, pid int, start uint64) (status unix.WaitStatus, known bool) {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return 0, false
	}
	for deadline := time.Now().Add(infoTime); ; {
		if status, known := zombie(pid, start); known {
			return status, true
		}
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

// zombie reads fields 3, 22 and 52 of /proc/PID/stat (proc(5)): state, start time
// and how it has ended, which is 0 for who may not know.
func zombie(pid int, start uint64) (unix.WaitStatus, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 50 || string(fields[0]) != "Z" || string(fields[19]) != strconv.FormatUint(start, 10) {
		return 0, false
	}
	status, err := strconv.Atoi(string(fields[49]))
	if err != nil {
		return 0, false
	}
	// A zombie has no program, for who may look.
	_, err = os.Readlink(dir + "/exe")
	return unix.WaitStatus(status), status != 0 || errors.Is(err, os.ErrNotExist)
}

// Code is an exit code and signal as Wait gives them.
func Code(s unix.WaitStatus) (code, signal int) {
	if s.Signaled() {
		return 128 + int(s.Signal()), int(s.Signal())
	}
	return s.ExitStatus(), 0
}
