package reap

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoChild is siginfo_t as waitid fills it in (signal.h; the same on every
// 64-bit Linux): x/sys leaves the fields behind the code out.
type siginfoChild struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
}

// Wait waits for the end of the child behind pidFD without a thread. The code is
// 128 + the signal's number where a signal ended it. The child is not reaped:
// until Collect the kernel keeps how it ended, for who comes after us as well.
func Wait(pidFD *os.File) (code, signal int, err error) {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var info unix.Siginfo
	var opErr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			opErr = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
			if opErr != unix.EINTR {
				break
			}
		}
		// With WNOHANG nothing is filled in while the process lives.
		return opErr != nil && opErr != unix.EAGAIN || opErr == nil && info.Signo != 0
	})
	if err == nil {
		err = os.NewSyscallError("waitid", opErr)
	}
	if err != nil {
		return 0, 0, err
	}
	// siginfo_t is a union after its first fields; waitid fills the child's
	// form, which is smaller than unix.Siginfo.
	child := (*siginfoChild)(unsafe.Pointer(&info))
	const exited = 1 // CLD_EXITED of signal.h
	if child.code == exited {
		return int(child.status), 0, nil
	}
	return 128 + int(child.status), int(child.status), nil
}

// Collect reaps the child behind pidFD, which has ended.
func Collect(pidFD *os.File) error {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	err = raw.Control(func(fd uintptr) {
		for opErr = unix.EINTR; opErr == unix.EINTR; {
			opErr = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOHANG, nil)
		}
	})
	return errors.Join(err, os.NewSyscallError("waitid", opErr))
}

// StartTime is field 22 of /proc/PID/stat (proc(5)); 0 where it cannot be read.
// The process is our child and not reaped yet, so the number is its own.
func StartTime(pid int) uint64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// Field 2 is the name in parentheses and may hold anything, also ")".
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return n
}
