package core

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"hoy/internal/runtime"
)

// Conflict is errdefs.ErrConflict with exactly this text.
func Conflict(format string, args ...any) error {
	return errdefs.ErrConflict.WithMessage(fmt.Sprintf(format, args...))
}

// Invalid is errdefs.ErrInvalidArgument with exactly this text.
func Invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// StartFailure turns the reason why a process did not start into an exit code
// and an error for people. The words "executable file not found", "permission
// denied" and the like are those that Docker's clients derive their own exit
// code from.
func StartFailure(what, command string, err error) (code int, out error) {
	var se *runtime.StartError
	if !errors.As(err, &se) {
		return 125, fmt.Errorf("failed to start %s: %w", what, err)
	}
	code = se.ExitCode()
	if code == 125 {
		return code, fmt.Errorf("failed to start %s: %w: unknown", what, err)
	}
	return code, errdefs.ErrInvalidArgument.WithMessage(
		fmt.Sprintf("failed to start %s: exec: %q: %s: unknown", what, command, execReason(command, se.Err)))
}

// ExecFailure is StartFailure for a command that was to run in a container that
// runs: the code is 127 where something named does not exist, else 126. ok is
// false where it was not the command's fault.
func ExecFailure(command string, err error) (code int, out error, ok bool) {
	var se *runtime.StartError
	if !errors.As(err, &se) {
		return 126, fmt.Errorf("exec failed: %w", err), false
	}
	code = 126
	if errors.Is(se.Err, fs.ErrNotExist) || se.ExitCode() == 127 {
		code = 127
	}
	why := se.Error()
	if se.ExitCode() != 125 {
		why = fmt.Sprintf("exec: %q: %s", command, execReason(command, se.Err))
	}
	return code, errdefs.ErrInvalidArgument.WithMessage(
		"OCI runtime exec failed: exec failed: unable to start container process: " + why + ": unknown"), true
}

func execReason(command string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.Contains(command, "/"):
		return "executable file not found in $PATH"
	case errors.Is(err, fs.ErrNotExist):
		return "stat " + command + ": no such file or directory"
	case errors.Is(err, syscall.ENOTDIR):
		return "stat " + command + ": not a directory: no such file or directory"
	case errors.Is(err, syscall.EISDIR):
		return "is a directory: permission denied"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case errors.Is(err, syscall.ENOEXEC):
		return "exec format error"
	default:
		return err.Error()
	}
}
