package oci

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	ossignal "os/signal"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/config"
	"hoy/internal/oci/hook"
	"hoy/internal/oci/state"
	"hoy/internal/oci/tty"
	"hoy/internal/runtime"
	"hoy/internal/runtime/cgroup"
)

// execution is what exec is told by flags.
type execution struct {
	*app
	process, consoleSocket, pidFile, cwd, user string
	label, apparmor                            string
	env, groups, caps, cgroups                 list
	detach, tty, noNewPrivs, ignorePaused      bool
	preserve                                   int
}

func newExec(a *app, f *flag.FlagSet) func([]string) (int, error) {
	e := &execution{app: a}
	both(f.StringVar, &e.process, "process", "p", "", "file with the process as JSON")
	f.StringVar(&e.consoleSocket, "console-socket", "", "unix socket that receives the master side of the terminal")
	f.StringVar(&e.pidFile, "pid-file", "", "file to write the process's number to")
	both(f.BoolVar, &e.detach, "detach", "d", false, "do not wait for the process")
	both(f.BoolVar, &e.tty, "tty", "t", false, "give the process a terminal")
	f.StringVar(&e.cwd, "cwd", "", "working directory in the container")
	both(f.StringVar, &e.user, "user", "u", "", "user and group as numbers (UID[:GID])")
	lists(f, &e.env, "env", "e", "set an environment variable (NAME=VALUE)")
	lists(f, &e.groups, "additional-gids", "g", "additional group, as a number")
	lists(f, &e.caps, "cap", "c", "add a capability")
	f.Var(&e.cgroups, "cgroup", "run in a group below the container's ([CONTROLLER:]PATH), which must exist")
	f.StringVar(&e.label, "process-label", "", "SELinux label of the process")
	f.StringVar(&e.apparmor, "apparmor", "", "AppArmor profile of the process")
	f.BoolVar(&e.noNewPrivs, "no-new-privs", false, "the process can gain no privileges")
	f.BoolVar(&e.ignorePaused, "ignore-paused", false, "begin even where the container is paused")
	f.IntVar(&e.preserve, "preserve-fds", 0, "pass this many descriptors from 3 up")
	return func(args []string) (int, error) {
		if e.process == "" && len(args) < 2 {
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
	switch s := status(c); {
	case s == stopped || s == creating:
		return 255, fmt.Errorf("cannot exec in a %s container", s)
	case s == paused && !e.ignorePaused:
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
	return foreground(p, signals)
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
	spec, err := loadSpec(c)
	if err != nil {
		return nil, err
	}
	if spec.Process, err = e.wanted(spec.Process, args); err != nil {
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
		if in.CgroupProcs, err = e.subgroups(c); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// wanted is the container's own process with the flags' changes, or the file's.
func (e *execution) wanted(own *specs.Process, args []string) (*specs.Process, error) {
	p := own
	if e.process != "" {
		data, err := config.File(e.process)
		if err != nil {
			return nil, err
		}
		p = new(specs.Process)
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("%s: %w", e.process, err)
		}
		return p, config.CheckProcess(p)
	}
	p.Args, p.Terminal = args, e.tty
	p.Env = append(p.Env, e.env...)
	for to, value := range map[*string]string{&p.Cwd: e.cwd, &p.SelinuxLabel: e.label, &p.ApparmorProfile: e.apparmor} {
		if value != "" {
			*to = value
		}
	}
	p.NoNewPrivileges = p.NoNewPrivileges || e.noNewPrivs
	if len(e.caps) > 0 {
		if p.Capabilities == nil {
			p.Capabilities = new(specs.LinuxCapabilities)
		}
		for _, set := range []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted} {
			*set = append(*set, e.caps...)
		}
	}
	if err := e.setUser(&p.User); err != nil {
		return nil, err
	}
	return p, config.CheckProcess(p)
}

func (e *execution) setUser(u *specs.User) error {
	if e.user != "" {
		uid, gid, hasGid := strings.Cut(e.user, ":")
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return fmt.Errorf("parsing %s as int for uid failed: %w", uid, err)
		}
		u.UID = uint32(n)
		if hasGid {
			if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
				return fmt.Errorf("parsing %s as int for gid failed: %w", gid, err)
			}
			u.GID = uint32(n)
		}
	}
	for _, g := range e.groups {
		n, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return fmt.Errorf("parsing %s as int for gid failed: %w", g, err)
		}
		u.AdditionalGids = append(u.AdditionalGids, uint32(n))
	}
	return nil
}

// subgroups are the process lists of the groups that --cgroup names, and of
// the container's in the hierarchies that it does not.
func (e *execution) subgroups(c *state.Container) ([]string, error) {
	p, err := place(c)
	if err != nil {
		return nil, err
	}
	return subgroups(p, e.cgroups)
}

func subgroups(p cgroup.Place, wanted []string) ([]string, error) {
	below := map[string]string{}
	for _, w := range wanted {
		controllers, sub, ok := strings.Cut(w, ":")
		if !ok {
			controllers, sub = "", w
		}
		for _, one := range strings.Split(controllers, ",") {
			if _, known := p.Paths()[one]; one != "" && !known {
				return nil, fmt.Errorf("unknown controller %s in --cgroup %s", one, w)
			}
			below[one] = path.Clean("/" + sub)
		}
	}
	var files []string
	for controller, dir := range p.Paths() {
		sub, ok := below[controller]
		if !ok {
			sub = below[""]
		}
		file := dir + strings.TrimSuffix(sub, "/") + "/cgroup.procs"
		if _, err := os.Stat(file); err != nil {
			if ok || below[""] != "" {
				return nil, fmt.Errorf("--cgroup: %w", err)
			}
			continue
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files, nil
}
