package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
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
