package compile

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/program"
)

// namespaces works out how each namespace comes to be. Of those with a path,
// user, time and cgroup namespaces are entered by the child; the others by the
// thread that forks.
func (b *builder) namespaces() (err error) {
	if b.ns, err = namespace.Read(&specs.Spec{Linux: b.lin, Hostname: b.spec.Hostname, Domainname: b.spec.Domainname}, b.in.Joined, b.in.Shared); err != nil {
		return err
	}
	b.userns = b.ns.Own&unix.CLONE_NEWUSER != 0
	// A cgroup namespace's root is the group that its maker is in, and a time
	// namespace needs its offsets before it has a process: the child makes both.
	flags := b.ns.Fresh &^ (unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME)
	if b.userns {
		// They are to belong to the user namespace, so the child makes them in there.
		b.late = flags &^ unix.CLONE_NEWUSER
		return checkIDs(b)
	}
	b.res.Flags = flags
	return nil
}

// enterNamespaces takes the child where the forking thread could not go, while
// the host's /proc and privileges are still its own.
func enterNamespaces(b *builder, ready beginning) {
	if b.ns.Joins(unix.CLONE_NEWTIME) {
		b.Step("join time namespace", "")
		setns(b, b.Given("time", uintptr(b.in.TimeNS)), unix.CLONE_NEWTIME)
	}
	if b.ns.Joins(unix.CLONE_NEWCGROUP) {
		b.Step("join cgroup namespace", "")
		setns(b, b.Given("cgroup", uintptr(b.in.CgroupNS)), unix.CLONE_NEWCGROUP)
	}
	if b.userns {
		become.RaiseLimits(b.Program, b.proc, b.in.Limits, b.in.CanRaise)
		b.Step("join user namespace", "")
		setns(b, b.Given("user", uintptr(b.in.UserNS)), unix.CLONE_NEWUSER)
	}
	newTime(b, ready)
	if b.ns.Makes(unix.CLONE_NEWCGROUP) {
		b.Step("unshare cgroup namespace", "")
		b.Call(unix.SYS_UNSHARE, program.Flag(unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"))
	}
	if b.userns {
		becomeRoot(b)
	}
	makeLate(b)
}

func setns(b *builder, fd program.Reg, kind uint64) {
	b.Call(unix.SYS_SETNS, program.R(fd), program.Flag(kind, namespace.Text(kind)))
}

// makeLate makes what is to belong to a joined user namespace.
func makeLate(b *builder) {
	if b.late == 0 {
		return
	}
	b.Step("make namespaces", "")
	if b.late&unix.CLONE_NEWPID == 0 {
		b.Call(unix.SYS_UNSHARE, program.Flag(b.late, namespace.Text(b.late)))
		return
	}
	b.res.Reborn = true
	b.Reborn(b.late, namespace.Text(b.late))
	b.Call(unix.SYS_SETSID)
}

// newTime makes a time namespace, sets its clocks and goes into it: from Linux
// 6.3 on an execve would do that, before it only a fork.
func newTime(b *builder, ready beginning) {
	if !b.ns.Makes(unix.CLONE_NEWTIME) {
		return
	}
	b.Step("make time namespace", "")
	b.Call(unix.SYS_UNSHARE, program.Flag(unix.CLONE_NEWTIME, "CLONE_NEWTIME"))
	if text := namespace.Offsets(b.lin.TimeOffsets); text != "" {
		b.Step("set time offsets", strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
		fd := b.FD("offsets")
		b.Call(unix.SYS_OPENAT, program.R(ready.proc), program.Str("self/timens_offsets"), program.Flag(unix.O_WRONLY|unix.O_CLOEXEC, "O_WRONLY")).Into(fd)
		b.Call(unix.SYS_WRITE, program.R(fd), program.Str(text), program.Num(len(text)))
	}
	b.Step("join time namespace", "")
	fd := b.FD("time")
	b.Call(unix.SYS_OPENAT, program.R(ready.proc), program.Str("self/ns/time_for_children"), program.Flag(unix.O_RDONLY|unix.O_CLOEXEC, "O_RDONLY")).Into(fd)
	setns(b, fd, unix.CLONE_NEWTIME)
}

// cgroups opens the control groups; the child enters them first of all.
func (b *builder) cgroups() error {
	if b.in.Cgroups.Unified != "" {
		b.Step("open cgroup", b.in.Cgroups.Unified)
		b.res.Unified, b.res.HasUnified = b.FD("unified"), true
		b.Call(unix.SYS_OPENAT, program.CWD(), program.Str(b.in.Cgroups.Unified),
			program.Flag(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY")).Into(b.res.Unified)
	}
	return nil
}

// beginning is what every child uses first, and only the caller can open: a
// child may be born in a container, whose /proc is the container's word.
type beginning struct {
	tasks []program.Reg
	// proc is the host's.
	proc program.Reg
}

func prepareBegin(b *builder) beginning {
	ready := beginning{tasks: openTasks(b)}
	if b.proc.OOMScoreAdj != nil || b.ns.Makes(unix.CLONE_NEWTIME) || len(b.lin.Sysctl) > 0 || become.NeedsProc(b.proc) {
		b.Step("open /proc", "")
		ready.proc = b.FD("proc")
		b.Call(unix.SYS_OPENAT, program.CWD(), program.Str("/proc"),
			program.Flag(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY")).Into(ready.proc)
		b.hostProc = ready.proc
	}
	return ready
}

// openTasks opens the version 1 task lists.
func openTasks(b *builder) []program.Reg {
	var regs []program.Reg
	for _, file := range b.in.Cgroups.Tasks {
		b.Step("open cgroup", path.Dir(file))
		r := b.FD("tasks" + fmt.Sprint(len(regs)))
		b.Call(unix.SYS_OPENAT, program.CWD(), program.Str(file),
			program.Flag(unix.O_WRONLY|unix.O_CLOEXEC, "O_WRONLY")).Into(r)
		regs = append(regs, r)
	}
	return regs
}

// joinTasks writes the child itself, "0", into the lists. A thread that moves
// itself by the task list needs no lock over all of the system's threads, which
// after a pause takes 10 ms and more to get.
func joinTasks(b *builder, regs []program.Reg) {
	for i, r := range regs {
		b.Step("join cgroup", path.Dir(b.in.Cgroups.Tasks[i]))
		b.Call(unix.SYS_WRITE, program.R(r), program.Str("0"), program.Num(1))
	}
}

// enter begins the child's part: into the cgroups, through the id maps, into a
// session, and with its root file system in place of the host's.
func (b *builder) enter() error {
	ready := prepareBegin(b)
	b.Fork()
	begin(b, ready)
	enterNamespaces(b, ready)
	b.Step("make host mounts private", "")
	b.Call(unix.SYS_MOUNT, program.Num(0), program.Str("/"), program.Num(0),
		program.Flag(unix.MS_REC|unix.MS_PRIVATE, "MS_REC|MS_PRIVATE"), program.Num(0))
	attachMask(b)
	if err := b.mountOwn(); err != nil {
		return err
	}
	// The host's root must not be stacked over the new one while paths are
	// resolved: ".." at the new root would lead onto it. So the child changes its
	// root first, and pivots when all is in place.
	b.Step("enter root file system", "")
	b.oldRoot = b.FD("host")
	b.Call(unix.SYS_OPENAT, program.CWD(), program.Str("/"), program.Flag(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY")).Into(b.oldRoot)
	b.Move(program.R(b.root), program.CWD(), cmp.Or(b.in.RootAt, "/"))
	b.Call(unix.SYS_FCHDIR, program.R(b.root))
	b.Call(unix.SYS_CHROOT, program.Str("."))
	return nil
}

// begin is what every child does first.
func begin(b *builder, ready beginning) {
	b.Step("begin", "")
	// Nobody who shares a pid namespace may look into this copy of the caller.
	b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), program.Num(0))
	b.Call(unix.SYS_SETSID)
	b.Call(unix.SYS_UMASK, program.Num(0))
	// The caller's session keyring stays the caller's. A machine without
	// keyrings, or out of quota, has nothing to share either.
	if !b.in.NoKeyring {
		b.Call(unix.SYS_KEYCTL, program.Flag(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), program.Num(0)).Tolerate()
	}
	joinTasks(b, ready.tasks)
	if b.proc.OOMScoreAdj != nil {
		value := fmt.Sprint(*b.proc.OOMScoreAdj)
		b.Step("set oom_score_adj to", value)
		fd := b.FD("oom")
		b.Call(unix.SYS_OPENAT, program.R(ready.proc), program.Str("self/oom_score_adj"), program.Flag(unix.O_WRONLY|unix.O_CLOEXEC, "O_WRONLY")).Into(fd)
		call := b.Call(unix.SYS_WRITE, program.R(fd), program.Str(value), program.Num(len(value)))
		if !b.in.CanRaise {
			call.Tolerate(unix.EACCES, unix.EPERM)
		}
	}
}

// becomeRoot takes the identity of the user namespace's root, whose ids files
// made from here on carry.
func becomeRoot(b *builder) {
	b.Step("become root of the user namespace", "")
	b.Call(unix.SYS_SETRESGID, program.Num(0), program.Num(0), program.Num(0))
	b.Call(unix.SYS_SETRESUID, program.Num(0), program.Num(0), program.Num(0))
	b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), program.Num(0))
	// The session keyring of before belongs to the host's root.
	if !b.in.NoKeyring {
		b.Call(unix.SYS_KEYCTL, program.Flag(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), program.Num(0)).Tolerate()
	}
}

// leaveHost lets go of the host's mounts.
func (b *builder) leaveHost() error {
	if b.in.NoPivot {
		coverHost(b)
	} else {
		pivot(b)
	}
	flags, ok := mountop.Propagations[b.lin.RootfsPropagation]
	switch {
	case b.lin.RootfsPropagation == "":
	case !ok:
		return fmt.Errorf("unknown root file system propagation %q", b.lin.RootfsPropagation)
	case flags&unix.MS_PRIVATE == 0:
		b.Call(unix.SYS_MOUNT, program.Num(0), program.Str("/"), program.Num(0), program.Flag(flags, strings.ToUpper(b.lin.RootfsPropagation)), program.Num(0))
	}
	return nil
}

func pivot(b *builder) {
	b.Step("pivot to root file system", "")
	b.Call(unix.SYS_FCHDIR, program.R(b.oldRoot))
	b.Call(unix.SYS_CHROOT, program.Str("."))
	b.Call(unix.SYS_FCHDIR, program.R(b.root))
	b.Call(unix.SYS_PIVOT_ROOT, program.Str("."), program.Str("."))
	b.Step("detach host mounts", "")
	b.Call(unix.SYS_FCHDIR, program.R(b.oldRoot))
	b.Call(unix.SYS_UMOUNT2, program.Str("."), program.Flag(unix.MNT_DETACH, "MNT_DETACH"))
	b.Call(unix.SYS_CHDIR, program.Str("/"))
}

// coverHost leaves the host's mounts below the container's root: what is under
// a root that nothing can be pivoted from, as in an initramfs, cannot go.
func coverHost(b *builder) {
	b.Step("move root file system over the host's", "")
	if b.in.RootAt != "" {
		b.Call(unix.SYS_FCHDIR, program.R(b.oldRoot))
		b.Call(unix.SYS_CHROOT, program.Str("."))
		b.Move(program.R(b.root), program.CWD(), "/")
	}
	b.Call(unix.SYS_FCHDIR, program.R(b.root))
	b.Call(unix.SYS_CHROOT, program.Str("."))
}

// pause is where hooks run, with everything in its place.
func pause(b *builder) error {
	if b.in.Pause {
		b.Step("wait for hooks", "")
		b.Pause()
	}
	return nil
}

// readonlyRoot comes after the last thing that is made in the root file system.
func (b *builder) readonlyRoot() error {
	if b.spec.Root != nil && b.spec.Root.Readonly {
		b.Step("make root file system read-only", "")
		b.Setattr(program.CWD(), "/", 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	return nil
}
