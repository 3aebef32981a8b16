package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"hoy/internal/runtime/program"
)

// StartError says at which step of a start the kernel refused, and why.
type StartError struct {
	// Step is what was being done, in words ("mount /proc", "exec \"/bin/sh\"").
	Step string
	// Err is the kernel's or our own reason.
	Err error
	// Exec is set where everything was ready and only the command could not run.
	Exec bool
}

func (e *StartError) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }

func (e *StartError) Unwrap() error { return e.Err }

// ExitCode is what a shell and Docker report for it: 127 for a command that
// does not exist, 126 for one that cannot be run, 125 for all else.
func (e *StartError) ExitCode() int {
	switch {
	case !e.Exec:
		return 125
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ENOTDIR):
		return 127
	default:
		return 126
	}
}

// reason is a cause in the words that people know from the Docker command line;
// it still is the kernel's errno to errors.Is.
type reason struct {
	text  string
	errno syscall.Errno
}

func (r *reason) Error() string { return r.text }

func (r *reason) Unwrap() error { return r.errno }

// startError tells a command that cannot run from everything else.
func startError(err error) *StartError {
	fault, ok := errors.AsType[*program.Fault](err)
	if !ok {
		return fail("start process", err)
	}
	verb, object, _ := strings.Cut(fault.Step, " ")
	name, quoted := strconv.Unquote(object)
	switch {
	case verb == "exec:" && quoted == nil:
		return &StartError{Step: "exec: " + object, Err: lookReason(name, fault.Errno), Exec: true}
	case verb == "exec" && fault.Call == "execve":
		return &StartError{Step: fault.Step, Err: fault.Errno, Exec: true}
	case strings.HasPrefix(fault.Step, "map ids of mount ") && fault.Errno == syscall.EINVAL:
		return &StartError{Step: fault.Step, Err: &reason{"its file system cannot map ids on this kernel", fault.Errno}}
	default:
		return &StartError{Step: fault.Step, Err: fault.Errno}
	}
}

// Started reads from a connection to Launch.Start, to the end: the error is
// nil where the process has become its command, and a *StartError otherwise.
func Started(conn io.Reader, faults *program.Faults) error {
	if err := faults.Read(conn); err != nil {
		return startError(err)
	}
	return nil
}

// lookReason is why a command was not found, as Go's own look-up would say it.
func lookReason(name string, errno syscall.Errno) error {
	if !strings.Contains(name, "/") {
		return &reason{"executable file not found in $PATH", syscall.ENOENT}
	}
	switch errno {
	case syscall.EISDIR, syscall.EACCES:
		return errno
	default:
		return &reason{"stat " + name + ": " + errno.Error(), errno}
	}
}
