// Package reaper is PID 1 of a container that asked for an init process: it
// starts the command, hands every signal on to it, reaps orphans, and ends as
// the command ended.
package reaper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Main runs the command in args, which may begin with "--", and returns the
// exit code: the command's own, 128 + N where signal N ended it, 127 where
// there is no such command and 126 where it cannot be run.
func Main(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "docker-init: no command given")
		return 125
	}
	// Without this, orphans of the command go past us where we are not PID 1.
	if os.Getpid() != 1 {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	// Before the start, so that no signal in between is lost.
	signals := make(chan os.Signal, 128)
	signal.Notify(signals)
	pid, err := start(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "docker-init: %v\n", err)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			return 127
		}
		return 126
	}
	return serve(pid, signals)
}

// start runs the command in a process group of its own, in the foreground of
// the terminal where there is one.
func start(args []string) (int, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	attr := &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	p, err := os.StartProcess(path, args, attr)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EPERM) {
		// A terminal, but not the one that controls us.
		attr.Sys.Foreground = false
		p, err = os.StartProcess(path, args, attr)
	}
	if err != nil {
		return 0, err
	}
	return p.Pid, nil
}

// serve hands signals on and reaps until the command has ended.
func serve(pid int, signals <-chan os.Signal) int {
	for sig := range signals {
		switch sig {
		case unix.SIGCHLD:
			if code, ended := reap(pid); ended {
				return code
			}
		case unix.SIGURG:
			// The Go runtime interrupts its own threads with it.
		case unix.SIGTTIN, unix.SIGTTOU, unix.SIGPIPE:
			// About our own use of terminal and streams.
		default:
			// ESRCH: it is gone, and the next SIGCHLD tells.
			_ = unix.Kill(pid, sig.(syscall.Signal))
		}
	}
	return 125
}

// reap takes every process that has ended; one SIGCHLD may stand for many.
func reap(pid int) (code int, ended bool) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || got <= 0:
			return code, ended
		case got != pid:
		case ws.Signaled():
			code, ended = 128+int(ws.Signal()), true
		case ws.Exited():
			code, ended = ws.ExitStatus(), true
		}
	}
}
