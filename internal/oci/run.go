package oci

import (
	"flag"
	"os"
	ossignal "os/signal"

	"golang.org/x/sys/unix"

	"hoy/internal/oci/hook"
	"hoy/internal/oci/tty"
)

func newRun(a *app, f *flag.FlagSet) func([]string) (int, error) {
	c := &creation{app: a}
	var detach, keep, noReaper bool
	c.flags(f)
	both(f.BoolVar, &detach, "detach", "d", false, "do not wait for the container's process")
	f.BoolVar(&keep, "keep", false, "do not delete the container when it has ended")
	f.BoolVar(&noReaper, "no-subreaper", false, "do not become the parent of orphans")
	return func(args []string) (int, error) {
		c.id = args[0]
		if err := c.read(); err != nil {
			return 1, err
		}
		if err := c.checkConsole(detach); err != nil {
			return 1, err
		}
		if !detach && !noReaper {
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				return 1, os.NewSyscallError("prctl", err)
			}
		}
		return c.run(detach, keep)
	}
}

func (c *creation) run(detach, keep bool) (int, error) {
	// From before the process is there, so that none is lost.
	signals := make(chan os.Signal, 64)
	if !detach {
		ossignal.Notify(signals)
	}
	c.held = c.spec.Hooks != nil && len(c.spec.Hooks.StartContainer) > 0
	m, err := c.create()
	if err != nil {
		return 1, err
	}
	defer m.close()
	if c.held {
		err = c.start(m.Container, c.spec)
	} else {
		c.poststart(m.Container, c.spec.Hooks)
	}
	if err != nil {
		return 1, joinDelete(c.app, m, err)
	}
	// Others may work on it from here on.
	m.Close()
	if detach {
		return 0, nil
	}
	code, err := tty.Foreground(m.process, signals)
	if keep {
		return code, err
	}
	again, lockErr := c.store.Lock(c.id, true)
	if lockErr != nil {
		return code, err // somebody else has deleted it
	}
	defer again.Close()
	if deleteErr := c.delete(again); err == nil {
		err = deleteErr
	}
	return code, err
}

func joinDelete(a *app, m *made, err error) error {
	_ = unix.PidfdSendSignal(int(m.process.PidFD.Fd()), unix.SIGKILL, nil, 0)
	if _, reapErr := hook.Reap(m.process); reapErr != nil {
		a.log.warn("%v", reapErr)
	}
	if deleteErr := a.delete(m.Container); deleteErr != nil {
		a.log.warn("%v", deleteErr)
	}
	return err
}
