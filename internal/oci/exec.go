package oci

import (
	"errors"
	"flag"
	"fmt"
	"os"
	ossignal "os/signal"

	"golang.org/x/sys/unix"

	"hoy/internal/oci/box"
	"hoy/internal/oci/config"
	"hoy/internal/oci/hook"
	"hoy/internal/oci/state"
	"hoy/internal/oci/tty"
	"hoy/internal/runtime"
)

// execution is what exec is told by flags.
type execution struct {
	*app
	config.Further
	consoleSocket, pidFile string
	cgroups                list
	detach, ignorePaused   bool
	preserve               int
}

func newExec(a *app, f *flag.FlagSet) func([]string) (int, error) {
	e := &execution{app: a}
	both(f.StringVar, &e.File, "process", "p", "", "file with the process as JSON")
	f.StringVar(&e.consoleSocket, "console-socket", "", "unix socket that receives the master side of the terminal")
	f.StringVar(&e.pidFile, "pid-file", "", "file to write the process's number to")
	both(f.BoolVar, &e.detach, "detach", "d", false, "do not wait for the process")
	both(f.BoolVar, &e.Terminal, "tty", "t", false, "give the process a terminal")
	f.StringVar(&e.Cwd, "cwd", "", "working directory in the container")
	both(f.StringVar, &e.User, "user", "u", "", "user and group as numbers (UID[:GID])")
	lists(f, (*list)(&e.Env), "env", "e", "set an environment variable (NAME=VALUE)")
	lists(f, (*list)(&e.Groups), "additional-gids", "g", "additional group, as a number")
	lists(f, (*list)(&e.Caps), "cap", "c", "add a capability")
	f.Var(&e.cgroups, "cgroup", "run in a group below the container's ([CONTROLLER:]PATH), which must exist")
	f.StringVar(&e.Label, "process-label", "", "SELinux label of the process")
	f.StringVar(&e.AppArmor, "apparmor", "", "AppArmor profile of the process")
	f.BoolVar(&e.NoNewPrivs, "no-new-privs", false, "the process can gain no privileges")
	f.BoolVar(&e.ignorePaused, "ignore-paused", false, "begin even where the container is paused")
	f.IntVar(&e.preserve, "preserve-fds", 0, "pass this many descriptors from 3 up")
	return func(args []string) (int, error) {
		if e.File == "" && len(args) < 2 {
			return 255, errors.New("process args cannot be empty")
		}
		return e.run(args[0], args[1:])
	}
}

func lists(f *flag.FlagSet, to *list, long, short, about string) {
	f.Var(to, long, about)
	f.Var(to, short, "the same as --"+long)
}

func (e *execution) run(id string, args []string) (int, error) {
	c, err := e.store.Open(id)
	if err != nil {
		return 255, err
	}
	switch s := box.Status(c); {
	case s == box.Stopped || s == box.Creating:
		return 255, fmt.Errorf("cannot exec in a %s container", s)
	case s == box.Paused && !e.ignorePaused:
		return 255, errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	in, err := e.input(c, args)
	if err != nil {
		return 255, err
	}
	signals := make(chan os.Signal, 64)
	if !e.detach {
		ossignal.Notify(signals)
	}
	p, err := runtime.StartExec(in)
	if err != nil {
		return 255, fmt.Errorf("unable to start container process: %w", err)
	}
	defer p.PidFD.Close()
	for _, w := range p.Warnings {
		e.log.warn("%s", w)
	}
	if err := e.handOut(p); err != nil {
		_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
		_, reapErr := hook.Reap(p)
		return 255, errors.Join(err, reapErr)
	}
	if e.detach {
		return 0, nil
	}
	return tty.Foreground(p, signals)
}

// handOut gives the caller what it asked for of the process.
func (e *execution) handOut(p *runtime.Process) error {
	if e.consoleSocket != "" {
		if err := tty.Send(e.consoleSocket, p.Console); err != nil {
			return err
		}
	}
	return writePid(e.pidFile, p.Pid)
}

// input is the process in the container that the flags ask for.
func (e *execution) input(c *state.Container, args []string) (*runtime.Exec, error) {
	spec, err := box.Spec(c)
	if err != nil {
		return nil, err
	}
	if spec.Process, err = e.Process(spec.Process, args); err != nil {
		return nil, err
	}
	switch terminal := spec.Process.Terminal; {
	case terminal && e.detach && e.consoleSocket == "":
		return nil, errors.New("cannot allocate tty if runc will detach without setting console socket")
	case e.consoleSocket != "" && (!terminal || !e.detach):
		return nil, errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	in, err := e.inside(c, spec)
	if err != nil {
		return nil, err
	}
	if in.KeepFDs, err = config.PassedFDs(spec.Process, "", e.preserve); err != nil {
		return nil, err
	}
	in.Stdio = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	if len(e.cgroups) > 0 {
		if in.CgroupProcs, err = box.Subgroups(c, e.cgroups); err != nil {
			return nil, err
		}
	}
	return in, nil
}
