package oci

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/durable"
	"hoy/internal/oci/box"
	"hoy/internal/oci/config"
	"hoy/internal/oci/filter"
	"hoy/internal/oci/hook"
	"hoy/internal/oci/self"
	"hoy/internal/oci/state"
	"hoy/internal/oci/tty"
	"hoy/internal/runtime"
	"hoy/internal/runtime/cgroup"
	"hoy/internal/runtime/landlock"
	"hoy/internal/undo"
)

// creation is what create and run are told by flags.
type creation struct {
	*app
	id            string
	bundle        string
	consoleSocket string
	pidFile       string
	preserve      int
	noPivot       bool
	noKeyring     bool

	spec  *specs.Spec
	stdio [3]*os.File
	// held: the container waits for start. Without, it is started at once.
	held bool
	// hooked: hooks have begun to run, so that those of the end must run too.
	hooked bool
}

func (c *creation) flags(f *flag.FlagSet) {
	both(f.StringVar, &c.bundle, "bundle", "b", "", "path of the bundle's directory (default: the current one)")
	f.StringVar(&c.consoleSocket, "console-socket", "", "unix socket that receives the master side of the terminal")
	f.StringVar(&c.pidFile, "pid-file", "", "file to write the process's number to")
	f.IntVar(&c.preserve, "preserve-fds", 0, "pass this many descriptors from 3 up, beside those of LISTEN_FDS")
	f.BoolVar(&c.noPivot, "no-pivot", false, "cover the host's mounts instead of pivoting, where the root is a ramdisk")
	f.BoolVar(&c.noKeyring, "no-new-keyring", false, "stay in the caller's session keyring")
}

func newCreate(a *app, f *flag.FlagSet) func([]string) (int, error) {
	c := &creation{app: a, held: true}
	c.flags(f)
	return func(args []string) (int, error) {
		c.id = args[0]
		if err := c.read(); err != nil {
			return 1, err
		}
		if err := c.checkConsole(true); err != nil {
			return 1, err
		}
		made, err := c.create()
		if err != nil {
			return 1, err
		}
		made.close()
		return 0, nil
	}
}

// read reads and completes the specification.
func (c *creation) read() error {
	if err := state.CheckID(c.id); err != nil {
		return err
	}
	if err := self.MayMount(); err != nil {
		return err
	}
	dir := c.bundle
	if dir == "" {
		dir = "."
	}
	var err error
	if c.bundle, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.Chdir(c.bundle); err != nil {
		return err
	}
	// Who finds the bundle by way of a link keeps the name.
	if c.spec, _, err = config.Read(c.bundle); err != nil {
		return err
	}
	if err := config.Complete(c.spec, c.bundle); err != nil {
		return err
	}
	c.stdio = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	return nil
}

// checkConsole refuses a terminal that nobody would hold, and a socket that
// nothing would go to.
func (c *creation) checkConsole(detached bool) error {
	switch terminal := c.spec.Process.Terminal; {
	case terminal && detached && c.consoleSocket == "":
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	case c.consoleSocket != "" && (!terminal || !detached):
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

// made is a container that was just made.
type made struct {
	*state.Container
	process *runtime.Process
}

func (m *made) close() {
	m.Close()
	if m.process != nil {
		_ = m.process.PidFD.Close()
		if m.process.Console != nil {
			_ = m.process.Console.Close()
		}
	}
}

// create makes the container, or nothing.
func (c *creation) create() (_ *made, err error) {
	// What is kept for later verbs is without the descriptors of this one.
	record, spec, err := c.record()
	if err != nil {
		return nil, err
	}
	keep, err := config.PassedFDs(c.spec.Process, self.ListenFDs(), c.preserve)
	if err != nil {
		return nil, err
	}
	var back undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, back.Run(context.Background()))
			if c.hooked {
				c.poststop(&state.Container{Record: record}, c.spec.Hooks)
			}
		}
	}()
	m := new(made)
	if err := c.at("make state"); err != nil {
		return nil, err
	}
	if m.Container, err = c.store.Create(record, spec); err != nil {
		return nil, err
	}
	back.Push("state", func(context.Context) error {
		defer m.Close()
		return m.Remove()
	})
	group, err := c.group(m.Container, &back)
	if err != nil {
		return nil, err
	}
	if err := c.at("start"); err != nil {
		return nil, err
	}
	if err := c.launch(m, group, keep, &back); err != nil {
		return nil, err
	}
	if err := c.finish(m); err != nil {
		return nil, err
	}
	back.Release()
	return m, nil
}

// record is what is known beforehand.
func (c *creation) record() (state.Record, []byte, error) {
	lin := c.spec.Linux
	if lin.CgroupsPath == "" && !c.systemd {
		lin.CgroupsPath = c.id
	}
	if !c.systemd && !filepath.IsAbs(lin.CgroupsPath) {
		base, err := self.Cgroup()
		if err != nil {
			return state.Record{}, nil, err
		}
		lin.CgroupsPath = filepath.Join(base, filepath.Join("/", lin.CgroupsPath))
	}
	spec, err := json.Marshal(c.spec)
	return state.Record{
		ID: c.id, Phase: state.Creating, Bundle: c.bundle, Rootfs: c.spec.Root.Path, Created: time.Now().UTC(), Owner: os.Geteuid(),
		CgroupsPath: lin.CgroupsPath, Systemd: c.systemd, Annotations: c.spec.Annotations, Namespaces: config.OwnNamespaces(lin),
	}, spec, err
}

// group makes the control group.
func (c *creation) group(m *state.Container, back *undo.Stack) (cgroup.Place, error) {
	if err := c.at("make cgroup"); err != nil {
		return nil, err
	}
	p, err := box.Place(m)
	if err == nil {
		err = p.Make(c.spec.Linux.Resources)
	}
	if err == nil {
		back.Push("cgroup", func(context.Context) error { return errors.Join(p.Kill(), p.Remove()) })
		return p, nil
	}
	if c.isRootless() && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS)) {
		c.log.debug("no control group: %v", err)
		return nil, nil
	}
	return nil, err
}

// launch starts the process.
func (c *creation) launch(m *made, group cgroup.Place, keep int, back *undo.Stack) error {
	l := &runtime.Launch{
		ID: c.id, Spec: c.spec, ExactUser: true, Stdio: c.stdio, KeepFDs: keep, NoPivot: c.noPivot, NoKeyring: c.noKeyring,
	}
	l.Landlock = landlock.Annotated(c.spec.Annotations)
	if group != nil {
		l.CgroupProcs = group.Procs()
	}
	var err error
	if l.Seccomp, l.Filter, err = filter.Compile(c.spec, c.id, c.bundle); err != nil {
		return err
	}
	if c.held {
		if l.Start, err = listen(m.Container); err != nil {
			return err
		}
		defer l.Start.Close()
	}
	if h := c.spec.Hooks; h != nil {
		l.BeforePivot = func(pid int) error { return c.hooks(m, pid) }
	}
	if m.process, err = runtime.Start(l); err != nil {
		return fmt.Errorf("unable to start container process: %w", err)
	}
	if group != nil {
		group.Joined()
	}
	for _, w := range m.process.Warnings {
		c.log.warn("%s", w)
	}
	back.Push("process", func(context.Context) error {
		_ = unix.PidfdSendSignal(int(m.process.PidFD.Fd()), unix.SIGKILL, nil, 0)
		_, err := hook.Reap(m.process)
		m.close()
		return err
	})
	return nil
}

// listen makes the socket at which the container waits for start.
func listen(c *state.Container) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), state.StartSocket)
	err = c.WithSocket(func(path string) error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) })
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make start socket: %w", err)
	}
	return f, nil
}

// hooks runs those that belong before the container's root becomes the root.
func (c *creation) hooks(m *made, pid int) error {
	if err := c.at("hooks"); err != nil {
		return err
	}
	m.Pid, c.hooked = pid, true
	var err error
	if m.Birth, _, err = state.Birth(pid); err != nil {
		return err
	}
	// Hooks may ask for the state, which names the process.
	if err := m.Save(); err != nil {
		return err
	}
	h, st := c.spec.Hooks, box.HookState(m.Container, specs.StateCreating)
	here := hook.Here{Bundle: c.bundle}
	//nolint:staticcheck // Prestart is deprecated, and in use.
	if err := hook.Run("prestart", h.Prestart, here, st); err != nil {
		return err
	}
	if err := hook.Run("createRuntime", h.CreateRuntime, here, st); err != nil {
		return err
	}
	return hook.Run("createContainer", h.CreateContainer, hook.Beside{Pid: pid}, st)
}

// finish hands out the terminal and writes down what is there now.
func (c *creation) finish(m *made) (err error) {
	if err := c.at("finish"); err != nil {
		return err
	}
	if c.consoleSocket != "" {
		if err := tty.Send(c.consoleSocket, m.process.Console); err != nil {
			return err
		}
	}
	m.Pid, m.Phase, m.Faults = m.process.Pid, state.Created, m.process.Faults
	if !c.held {
		m.Phase = state.Started
	}
	if m.Birth, _, err = state.Birth(m.Pid); err != nil {
		return err
	}
	if err := m.Save(); err != nil {
		return err
	}
	if err := c.at("write pid file"); err != nil {
		return err
	}
	return writePid(c.pidFile, m.Pid)
}

func writePid(file string, pid int) error {
	if file == "" {
		return nil
	}
	return durable.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644)
}
