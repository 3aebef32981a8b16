package cli

import (
	"errors"
	"fmt"
	"sync"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// Exit codes that Docker's users and their scripts know.
const (
	// ExitUsage is for a flag that cannot be parsed, and for what keeps run
	// and exec from starting the command.
	ExitUsage = 125
	// ExitNotExecutable is for a command that cannot be executed.
	ExitNotExecutable = 126
	// ExitNotFound is for a command that does not exist.
	ExitNotFound = 127
)

// StatusError ends the program with Code. A nil Cause ends it without a word:
// all was said before, or it is the exit code of a container's command.
type StatusError struct {
	Code  int
	Cause error
}

func (e *StatusError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Cause.Error()
}

func (e *StatusError) Unwrap() error { return e.Cause }

// Exit returns the error that ends the program silently with code, nil for 0.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return &StatusError{Code: code}
}

// Fail returns err with an exit code.
func Fail(code int, err error) error { return &StatusError{Code: code, Cause: err} }

// ExitCode returns the code that the program ends with on err.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 1
}

// Report prints err on the error stream and returns the exit code. A daemon that
// cannot be reached is explained once, however many requests failed.
func (a *App) Report(err error) int {
	code := ExitCode(err)
	if err == nil {
		return code
	}
	if client.IsErrConnectionFailed(err) {
		fmt.Fprintln(a.Err, a.explainConnection(err))
		return code
	}
	var status *StatusError
	if errors.As(err, &status) && status.Cause == nil {
		return code
	}
	fmt.Fprintln(a.Err, err)
	return code
}

// Usage is the error of a verb that is called the wrong way: the message, where
// to read on, the usage line and what the verb does.
func Usage(cmd *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%q %s.\nSee '%s --help'.\n\nUsage:  %s\n\n%s",
		cmd.CommandPath(), fmt.Sprintf(format, args...), cmd.CommandPath(), UseLine(cmd), cmd.Short)
}

// flagError completes an error of the flag parser.
func flagError(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return Fail(ExitUsage, fmt.Errorf("%w\nSee '%s --help'.", err, cmd.CommandPath())) //nolint:staticcheck // users know this sentence
}

// parallel bounds how many objects [Each] works on at once.
const parallel = 50

// Each does work for every name, many at once, and calls done with each name
// that succeeded, in the order given and as soon as it and those before it are
// ready. The errors are joined in the same order.
func Each(names []string, work func(name string) error, done func(name string)) error {
	results := make([]chan error, len(names))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, name := range names {
		results[i] = make(chan error, 1)
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] <- work(name)
		})
	}
	var errs []error
	for i, name := range names {
		if err := <-results[i]; err != nil {
			errs = append(errs, err)
		} else if done != nil {
			done(name)
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// EachPrint is [Each] that prints the names that succeeded, a line each.
func (a *App) EachPrint(names []string, work func(name string) error) error {
	return Each(names, work, func(name string) { fmt.Fprintln(a.Out, name) })
}
