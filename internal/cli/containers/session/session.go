// Package session connects the terminal of this process with a process in a
// container: raw mode, window size, detach keys, signals, and the two directions
// of the stream.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/moby/term"

	"hoy/internal/cli"
)

// DefaultDetachKeys leave a session and let the process run on.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// ErrDetached says that the user typed the detach keys.
var ErrDetached = errors.New("detached")

// ErrOutputClosed says that nobody reads this program's output any more.
var ErrOutputClosed = errors.New("output closed")

// outputClosedCode is what a shell shows for a program that SIGPIPE ended.
const outputClosedCode = 128 + int(syscall.SIGPIPE)

// Ended turns the error of [Session.Stream] into what the verb returns, and says
// what became of the process that name stands for. Its second value is false
// where the stream came to its natural end, so that there is an exit code.
func Ended(app *cli.App, name string, err error) (over bool, _ error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, ErrDetached):
		fmt.Fprintln(app.Err, "read escape sequence")
		return true, nil
	case errors.Is(err, ErrOutputClosed):
		fmt.Fprintf(app.Err, "%s: the output was closed; %s runs on\n", cli.Name, name)
		return true, cli.Exit(outputClosedCode)
	}
	return true, err
}

// Session is one connection to the streams of a process.
type Session struct {
	App *cli.App
	// TTY says that the process has a terminal: one raw stream.
	TTY bool
	// Stdin, Stdout and Stderr say what is connected.
	Stdin, Stdout, Stderr bool
	// DetachKeys as in --detach-keys; empty is the configured or the default.
	DetachKeys string
}

// Keys returns the detach keys in force, after checking them.
func (s *Session) Keys() (string, error) {
	keys := s.DetachKeys
	if keys == "" {
		keys = s.App.Settings().DetachKeys
	}
	if keys == "" {
		keys = DefaultDetachKeys
	}
	if _, err := term.ToBytes(keys); err != nil {
		return "", fmt.Errorf("invalid detach keys (%s): %w", keys, err)
	}
	return keys, nil
}

// Stream copies both directions until the output has ended. It returns
// [ErrDetached] where the user left. Terminal settings are restored.
func (s *Session) Stream(ctx context.Context, conn *client.HijackedResponse) error {
	in, restore, err := s.input()
	if err != nil {
		return err
	}
	defer restore()
	outputDone := make(chan error, 1)
	go func() { outputDone <- s.copyOutput(conn) }()
	inputDone := make(chan error, 1)
	if in != nil {
		go func() { inputDone <- copyInput(conn, in) }()
	} else {
		// The peer must not wait for input that nobody will send.
		_ = conn.CloseWrite()
	}
	for {
		select {
		case err := <-outputDone:
			return err
		case err := <-inputDone:
			if errors.Is(err, ErrDetached) {
				return err
			}
			if !s.Stdout && !s.Stderr {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// input returns what to send, nil for nothing, with the terminal in raw mode
// where the process has one, and what restores it.
func (s *Session) input() (io.Reader, func(), error) {
	if !s.Stdin {
		return nil, func() {}, nil
	}
	if !s.TTY || !s.App.In.IsTerminal() {
		return s.App.In, func() {}, nil
	}
	keys, err := s.Keys()
	if err != nil {
		return nil, nil, err
	}
	escape, err := term.ToBytes(keys)
	if err != nil {
		return nil, nil, err
	}
	restore, err := s.App.In.Raw()
	if err != nil {
		return nil, nil, err
	}
	stop := restoreOnDeath(restore)
	return term.NewEscapeProxy(s.App.In, escape), func() { stop(); restore() }, nil
}

// restoreOnDeath restores the terminal where a signal ends this process. In raw
// mode the keyboard makes no signals, so these come from other processes.
func restoreOnDeath(restore func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	go func() {
		select {
		case sig := <-signals:
			restore()
			code := 1
			if s, ok := sig.(syscall.Signal); ok {
				code = 128 + int(s)
			}
			os.Exit(code)
		case <-done:
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

func copyInput(conn *client.HijackedResponse, in io.Reader) error {
	_, err := io.Copy(conn.Conn, in)
	var escape term.EscapeError
	if errors.As(err, &escape) {
		return ErrDetached
	}
	// End of input: the process sees it, its output goes on.
	_ = conn.CloseWrite()
	return nil
}

func (s *Session) copyOutput(conn *client.HijackedResponse) error {
	var err error
	switch {
	case s.TTY:
		_, err = io.Copy(s.App.Out, conn.Reader)
	default:
		out, errs := io.Writer(s.App.Out), io.Writer(s.App.Err)
		if !s.Stdout {
			out = io.Discard
		}
		if !s.Stderr {
			errs = io.Discard
		}
		_, err = stdcopy.StdCopy(out, errs, conn.Reader)
	}
	switch {
	case errors.Is(err, syscall.EPIPE):
		return ErrOutputClosed
	case errors.Is(err, syscall.ECONNRESET):
		// The process ended without having read all of its input; all that it
		// wrote came before.
		return nil
	}
	return err
}
