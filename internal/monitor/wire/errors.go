package wire

import (
	"errors"
	"syscall"

	"github.com/containerd/errdefs"

	"hoy/internal/runtime"
)

// Error is a failure as it travels: its class, its text, and for a start that
// failed the step and the kernel's number.
type Error struct {
	Class string `json:"class,omitempty"`
	Text  string `json:"text"`
	// Start is set where the error is a *runtime.StartError.
	Start *StartFailure `json:"start,omitempty"`
}

// StartFailure is a runtime.StartError as it travels.
type StartFailure struct {
	Step  string `json:"step"`
	Text  string `json:"text"`
	Errno int    `json:"errno,omitempty"`
	Exec  bool   `json:"exec,omitempty"`
}

// classes lists what is kept of an error's class, by the name it has on the wire.
var classes = []struct {
	name string
	err  error
}{
	{"not_found", errdefs.ErrNotFound},
	{"already_exists", errdefs.ErrAlreadyExists},
	{"failed_precondition", errdefs.ErrFailedPrecondition},
	{"invalid_argument", errdefs.ErrInvalidArgument},
	{"permission_denied", errdefs.ErrPermissionDenied},
	{"unavailable", errdefs.ErrUnavailable},
	{"not_implemented", errdefs.ErrNotImplemented},
}

// FromError makes err ready to travel.
func FromError(err error) *Error {
	e := &Error{Text: err.Error()}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			e.Class = c.name
			break
		}
	}
	if start, ok := errors.AsType[*runtime.StartError](err); ok {
		e.Start = &StartFailure{Step: start.Step, Text: start.Err.Error(), Exec: start.Exec}
		if errno, ok := errors.AsType[syscall.Errno](start.Err); ok {
			e.Start.Errno = int(errno)
		}
	}
	return e
}

// Err rebuilds the error: a *runtime.StartError where it was one, else an error
// of the same class and text.
func (e *Error) Err() error {
	if s := e.Start; s != nil {
		err := &remoteError{text: s.Text}
		if s.Errno != 0 {
			err.cause = syscall.Errno(s.Errno)
		}
		return &runtime.StartError{Step: s.Step, Err: err, Exec: s.Exec}
	}
	err := &remoteError{text: e.Text}
	for _, c := range classes {
		if c.name == e.Class {
			err.cause = c.err
		}
	}
	return err
}

// remoteError has the text of the other side and a cause that errors.Is finds.
type remoteError struct {
	text  string
	cause error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.cause }
