package server

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/monitor"
)

// maxID bounds the two halves of a process id; ids are 64 hexadecimal digits.
const maxID = 128

// checkID refuses ids that cannot be part of a file's name.
func checkID(id monitor.ProcessID) error {
	if !idOK(id.Container) || (id.Exec != "" && !idOK(id.Exec)) {
		return fmt.Errorf("process id %q: up to %d letters, digits, - and _ each: %w", name(id), maxID, errdefs.ErrInvalidArgument)
	}
	return nil
}

// idOK leaves the dot to stand between the halves.
func idOK(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// name is how a process is called in errors and in the names of records.
func name(id monitor.ProcessID) string {
	if id.Exec == "" {
		return id.Container
	}
	return id.Container + "." + id.Exec
}

// siginfoChild is siginfo_t as waitid fills it in (signal.h; the same on every
// 64-bit Linux): x/sys leaves the fields behind the code out.
type siginfoChild struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
}

// reap waits for the process behind pidFD without a thread and reaps it. The
// code is 128 + the signal's number where a signal ended it.
func reap(pidFD *os.File) (code, signal int, err error) {
	raw, err := pidFD.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var info unix.Siginfo
	var opErr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			opErr = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG, nil)
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
	const exited = 1 // CLD_EXITED
	if child.code == exited {
		return int(child.status), 0, nil
	}
	return 128 + int(child.status), int(child.status), nil
}

// startTime is field 22 of /proc/PID/stat (proc(5)); 0 where it cannot be read.
// The process is our child and not reaped yet, so the number is its own.
func startTime(pid int) uint64 {
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
