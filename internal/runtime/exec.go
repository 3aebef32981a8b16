package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/userns"
)

// StartExec starts a further process in a running container. It returns when
// the process has become its command, or a *StartError; nothing is left behind
// then.
func StartExec(e *Exec) (*Process, error) {
	if e.Process == nil {
		return nil, fail("read specification", errors.New("it has no process"))
	}
	t, err := openTarget(e)
	if err != nil {
		return nil, fail("find container's process", err)
	}
	defer t.close()
	in := compile.ExecInput{
		Input: compile.Input{
			Spec: withProcess(&specs.Spec{Process: e.Process}, e.ConsoleSize, t.inherited),
			Root: int(t.root.Fd()), Seccomp: e.Seccomp, Stdio: stdio(e.Stdio),
			KeepFDs: e.KeepFDs, NoKeyring: e.NoKeyring, Landlock: e.Landlock,
		},
		PidFD: int(t.pidfd.Fd()), Join: t.join, Birth: bornLast(e),
		Chroot: t.joins.kinds&unix.CLONE_NEWNS == 0, Map: t.ids,
	}
	e.Filter.fill(&in.Input)
	if in.Birth {
		in.First = t.joins.kinds
		t.joins.target, t.joins.kinds = nil, 0
	}
	if e.ExactUser {
		in.User = exactly(t.root, e.Process)
	} else if in.User, err = who(t.root, e.User, e.Groups, e.Process.User); err != nil {
		return nil, fail("prepare process", err)
	}
	if in.Cgroups, err = cgroups(e.CgroupProcs); err != nil {
		return nil, fail("prepare cgroups", err)
	}
	if err := power(&in.Input); err != nil {
		return nil, err
	}
	res, err := compile.Exec(in, false)
	if err != nil {
		return nil, fail("read specification", err)
	}
	defer res.Program.Close()
	res.Born = in.Birth
	res.Listener = e.Filter.send(specs.StateRunning, e.Target)
	return launch(res, &t.joins, nil)
}

// bornLast: a scheduling policy would be lost, or forbid the copy.
func bornLast(e *Exec) bool {
	return e.Process.Scheduler == nil && !e.Filter.listens() && become.BirthPasses(e.Seccomp, e.Process.Terminal)
}

// target is the container's first process, held so that its number cannot
// come to mean another.
type target struct {
	pidfd *os.File
	root  *os.File
	join  uint64
	joins joins
	// inherited are the first process's own values.
	inherited inherited
	ids       userns.Map
}

func (t *target) close() {
	if t.root != nil {
		_ = t.root.Close()
	}
	_ = t.pidfd.Close()
}

func openTarget(e *Exec) (*target, error) {
	fd, err := openPidFD(e)
	if err != nil {
		return nil, fmt.Errorf("pid %d: %w", e.Target, err)
	}
	t := &target{pidfd: os.NewFile(uintptr(fd), "pidfd")}
	for _, typ := range e.Namespaces {
		if _, ok := namespace.Flags[typ]; !ok {
			t.close()
			return nil, fmt.Errorf("namespace type %q is not supported", typ)
		}
	}
	kinds, err := foreign(e.Target)
	if err != nil {
		t.close()
		return nil, err
	}
	// What the forking thread cannot enter, the child does.
	t.joins.target, t.joins.kinds, t.join = t.pidfd, kinds&^namespace.Single, kinds&namespace.Single
	if err := t.read(e.Target); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func openPidFD(e *Exec) (int, error) {
	if e.TargetFD != nil {
		return unix.FcntlInt(e.TargetFD.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	return unix.PidfdOpen(e.Target, 0)
}

// read takes what /proc says of the process, and then makes sure that it was
// this process all the time.
func (t *target) read(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid)
	fd, err := unix.Open(dir+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir + "/root", Err: err}
	}
	t.root = os.NewFile(uintptr(fd), "root")
	oom, err := os.ReadFile(dir + "/oom_score_adj")
	if err != nil {
		return err
	}
	if t.inherited.oom, err = strconv.Atoi(strings.TrimSpace(string(oom))); err != nil {
		return fmt.Errorf("%s/oom_score_adj: %w", dir, err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &t.inherited.files); err != nil {
		return fmt.Errorf("read limits of pid %d: %w", pid, err)
	}
	if t.join&unix.CLONE_NEWUSER != 0 {
		if t.ids, err = userns.Read(pid); err != nil {
			return err
		}
	}
	if err := unix.PidfdSendSignal(int(t.pidfd.Fd()), 0, nil, 0); err != nil {
		return fmt.Errorf("pid %d: %w", pid, err)
	}
	return nil
}

// foreign are the kinds of namespaces in which pid is and the caller is not.
func foreign(pid int) (uint64, error) {
	var kinds uint64
	for kind, name := range namespace.Files {
		own, err := os.Readlink("/proc/self/ns/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // this kernel has none of the kind
		}
		if err != nil {
			return 0, err
		}
		other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			return 0, fmt.Errorf("pid %d: %w", pid, err)
		}
		if own != other {
			kinds |= kind
		}
	}
	return kinds, nil
}
