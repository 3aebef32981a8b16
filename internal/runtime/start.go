package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/identity"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/netdev"
	"hoy/internal/runtime/points"
	"hoy/internal/runtime/program"
	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

// Start starts the first process of a container. It returns when the process
// has become its command, or a *StartError; nothing is left behind then.
func Start(l *Launch) (*Process, error) {
	if l.Spec == nil || l.Spec.Process == nil || l.Spec.Linux == nil {
		return nil, fail("read specification", errors.New("it has no process or no linux part"))
	}
	absolute := *l
	absolute.Spec = points.Absolute(l.Spec, l.Bundle)
	l = &absolute
	joins, err := launchJoins(l)
	if err != nil {
		return nil, fail("join namespaces", err)
	}
	defer joins.close()
	ids, err := idSpace(l, joins)
	if err != nil {
		return nil, fail("prepare user namespace", err)
	}
	defer ids.close()
	l = ids.fill(l)
	root, err := openRoot(l, ids.owners(l))
	if err != nil {
		return nil, fail("prepare root file system", err)
	}
	defer root.Close()
	in, err := launchInput(l, root)
	if err != nil {
		return nil, err
	}
	joins.fill(&in)
	in.MapFD = ids.fd
	uid, gid := ids.root()
	// Mount points belong to the container's root, who made them.
	err = rootfs.As(uid, gid, func() error {
		p, err := points.Make(root, l.Spec, l.Reaper)
		in.Indirect, in.Modes = p.Indirect, p.Modes
		return err
	})
	if err != nil {
		return nil, fail("prepare mount points", err)
	}
	res, err := compile.Start(in, false)
	if err != nil {
		return nil, fail("read specification", err)
	}
	defer res.Program.Close()
	res.Listener = l.Filter.send(specs.StateCreating, 0)
	return launch(res, joins, whilePaused(l))
}

// whilePaused is what is done while the process waits before it leaves the
// host's mounts: network devices moved, then the caller's own.
func whilePaused(l *Launch) func(pid int) error {
	if len(l.Spec.Linux.NetDevices) == 0 {
		return l.BeforePivot
	}
	return func(pid int) error {
		if err := netdev.Move(pid, l.Spec.Linux.NetDevices); err != nil {
			return fail("move network devices", err)
		}
		if l.BeforePivot == nil {
			return nil
		}
		return l.BeforePivot(pid)
	}
}

// Plan is the program of a start as text. Nothing is touched; a user's name is
// not looked up.
func Plan(l *Launch) (string, error) {
	if l.Spec == nil || l.Spec.Process == nil || l.Spec.Linux == nil {
		return "", fail("read specification", errors.New("it has no process or no linux part"))
	}
	in := compile.Input{
		Spec: withProcess(l.Spec, l.ConsoleSize, inherited{}), Joined: joined(l), Root: -1, Seccomp: l.Seccomp, Reaper: l.Reaper,
		User: specUser(l.Spec.Process.User), Cgroups: compile.Cgroups{Tasks: taskLists(l.CgroupProcs)},
		Stdio: stdio(l.Stdio), CanRaise: true, LSM: become.LSM{Landlock: 7}, Own: become.Capabilities{Permitted: ^uint64(0), Bounding: ^uint64(0)},
	}
	held(&in, l)
	in.MapFD = func(userns.Map) (int, error) { return -1, nil }
	res, err := compile.Start(in, true)
	if err != nil {
		return "", fail("read specification", err)
	}
	head := "clone3(" + namespace.Text(res.Flags) + ")\n"
	for _, m := range l.Rootfs {
		head += fmt.Sprintf("root: %s %s %q\n", m.Type, m.Source, m.Options)
	}
	if l.User != "" {
		head += fmt.Sprintf("user: %q, looked up in the root file system\n", l.User)
	}
	return head + res.Program.String(), nil
}

// held puts in what concerns a start in two halves.
func held(in *compile.Input, l *Launch) {
	l.Filter.fill(in)
	in.Landlock = l.Landlock
	in.KeepFDs, in.NoPivot, in.NoKeyring = l.KeepFDs, l.NoPivot, l.NoKeyring
	if l.Start != nil {
		in.Start = int(l.Start.Fd())
	}
	in.Pause = len(l.Spec.Linux.NetDevices) > 0
	if l.BeforePivot != nil {
		in.Pause, in.Hooks = true, true
		if l.Spec.Root != nil {
			in.RootAt = l.Spec.Root.Path
		}
	}
}

func joined(l *Launch) uint64 {
	if l.NetNS != nil {
		return unix.CLONE_NEWNET
	}
	return 0
}

func openRoot(l *Launch, owners *rootfs.Owners) (*os.File, error) {
	mounts := l.Rootfs
	if len(mounts) == 0 {
		if l.Spec.Root == nil || l.Spec.Root.Path == "" {
			return nil, errors.New("there is none")
		}
		mounts = []RootMount{{Type: "rbind", Source: l.Spec.Root.Path, Options: []string{l.Spec.Linux.RootfsPropagation}}}
	}
	// Read-only comes last, by the program: mount points are made before.
	return rootfs.MountMapped(mounts, false, owners)
}

func launchInput(l *Launch, root *os.File) (compile.Input, error) {
	in := compile.Input{
		Spec: withProcess(l.Spec, l.ConsoleSize, newInherited()), Joined: joined(l), Root: int(root.Fd()), Seccomp: l.Seccomp, Reaper: l.Reaper, Stdio: stdio(l.Stdio),
	}
	held(&in, l)
	var err error
	if l.ExactUser {
		in.User = exactly(root, l.Spec.Process)
	} else if in.User, err = who(root, l.User, l.Groups, l.Spec.Process.User); err != nil {
		return in, fail("prepare process", err)
	}
	if in.Cgroups, err = cgroups(l.CgroupProcs); err != nil {
		return in, fail("prepare cgroups", err)
	}
	return in, power(&in)
}

// who is the process's user: what the person wrote, looked up in the root, or
// else the specification's.
func who(root *os.File, name string, groups []string, spec specs.User) (identity.User, error) {
	if name == "" && len(groups) == 0 && spec.UID != 0 {
		return specUser(spec), nil
	}
	if name == "" && spec.GID != 0 {
		name = fmt.Sprintf("%d:%d", spec.UID, spec.GID)
	}
	u, err := identity.Lookup(root, name, groups)
	if err == nil && name == "" {
		u.Groups = append(u.Groups, spec.AdditionalGids...)
	}
	return u, err
}

// exactly is the specification's user, whatever the root file system says, with
// the home directory where the environment names none. A file that cannot be
// read knows no home.
func exactly(root *os.File, p *specs.Process) identity.User {
	u := specUser(p.User)
	if slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		return u
	}
	if found, err := identity.Lookup(root, strconv.FormatUint(uint64(u.UID), 10), nil); err == nil {
		u.Home = found.Home
	}
	return u
}

func specUser(u specs.User) identity.User {
	return identity.User{UID: u.UID, GID: u.GID, Groups: u.AdditionalGids, Home: "/"}
}

// inherited is what a process has where its specification does not say, because
// the calling process has other values for its own good.
type inherited struct {
	oom   int
	files unix.Rlimit
}

// softFiles is the usual soft limit of open files; the Go runtime raises its
// own to the hard one, which old programs in a container cannot cope with.
const softFiles = 1024

func newInherited() inherited {
	var in inherited
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &in.files); err == nil {
		in.files.Cur = min(softFiles, in.files.Max)
	}
	return in
}

// withProcess is s with the terminal's size and what the process inherits.
func withProcess(s *specs.Spec, size specs.Box, in inherited) *specs.Spec {
	spec, process := *s, *s.Process
	if size.Height > 0 && size.Width > 0 {
		process.ConsoleSize = &size
	}
	if process.OOMScoreAdj == nil {
		process.OOMScoreAdj = &in.oom
	}
	named := slices.ContainsFunc(process.Rlimits, func(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_NOFILE" })
	if !named && in.files.Max > 0 {
		process.Rlimits = append(slices.Clip(process.Rlimits), specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: in.files.Cur, Hard: in.files.Max})
	}
	spec.Process = &process
	return &spec
}

// stdio are the descriptors of files; -1 asks for the null device of the container.
func stdio(files [3]*os.File) [3]int {
	var fds [3]int
	for i, f := range files {
		fds[i] = -1
		if f != nil && !isNull(f) {
			fds[i] = int(f.Fd())
			// Programs expect blocking streams; a pipe of Go's is not. That only a
			// socket or pipe can be so makes a failure meaningless.
			_ = unix.SetNonblock(fds[i], false)
		}
	}
	return fds
}

// isNull: the host's null device is replaced by the container's own, so that no
// descriptor of the host's /dev is inside.
func isNull(f *os.File) bool {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// launch runs a compiled program to its end.
func launch(res *compile.Result, joins *joins, hooks func(pid int) error) (*Process, error) {
	p := res.Program
	if err := p.Prepare(); err != nil {
		return nil, startError(err)
	}
	if err := points.CopyUps(res); err != nil {
		return nil, fail("fill tmpfs", err)
	}
	unified := -1
	if res.HasUnified {
		unified = p.Value(res.Unified)
	}
	child, err := joins.start(func() (*program.Child, error) { return p.Start(res.Flags, unified) })
	if err != nil {
		return nil, fail("start process", err)
	}
	if res.Born {
		if err := child.Born(); err != nil {
			return nil, startError(err)
		}
	}
	if res.Reborn {
		if err := child.Reborn(); err != nil {
			return nil, startError(err)
		}
	}
	if res.Listener != nil {
		child.OnListener(func(fd int) error { return res.Listener(child.Pid, fd) })
	}
	if hooks != nil {
		if err := child.Paused(); err != nil {
			return nil, startError(err)
		}
		if err := hooks(child.Pid); err != nil {
			child.Kill()
			return nil, fail("run hooks", err)
		}
		// A child that is gone shows at the next read.
		_ = child.Continue()
	}
	if err := child.Exec(); err != nil {
		return nil, startError(err)
	}
	started := &Process{Pid: child.Pid, PidFD: os.NewFile(uintptr(child.PidFD), "pidfd"), Warnings: res.Warnings, Faults: p.Faults()}
	if res.HasConsole {
		started.Console = os.NewFile(uintptr(p.Take(res.Console)), "console")
	}
	return started, nil
}
