package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/program"
)

// join is one namespace that a child is born in.
type join struct {
	kind uint64
	name string
	file *os.File
	ours bool // opened here, to be closed here
}

// joins are namespaces that the forking thread enters before the fork and
// leaves after it. For a pid namespace there is no other way to have a direct
// child in it; the others go the same way, so that a new user namespace, which
// has no right to them, does not stand in between.
type joins struct {
	list []join
	// target, where not nil, is a process of a container: the thread enters the
	// namespaces in kinds with it, and has no way back.
	target *os.File
	kinds  uint64
	// user, time and cgroup are for the child, see namespace.Single.
	user, time, cgroup *os.File
	// shared are the kinds that a path of the caller's own namespace was given for.
	shared uint64
}

func (j *joins) close() {
	for _, n := range j.list {
		if n.ours {
			_ = n.file.Close()
		}
	}
	for _, f := range []*os.File{j.user, j.time, j.cgroup} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// fill tells the compiler of what is left to the child.
func (j *joins) fill(in *compile.Input) {
	in.Shared, in.UserNS, in.TimeNS, in.CgroupNS = j.shared, -1, -1, -1
	if j.user != nil {
		in.UserNS = int(j.user.Fd())
	}
	if j.time != nil {
		in.TimeNS = int(j.time.Fd())
	}
	if j.cgroup != nil {
		in.CgroupNS = int(j.cgroup.Fd())
	}
}

// nsFile opens a namespace's file and makes sure that it is one of its kind.
func nsFile(kind uint64, name, path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s namespace %s does not exist; a process that it was named by has ended", name, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s namespace: %w", name, err)
	}
	if typ, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || uint64(typ) != kind {
		_ = f.Close()
		return nil, fmt.Errorf("%s is not a %s namespace", path, name)
	}
	return f, nil
}

func (j *joins) add(kind uint64, name, path string) error {
	f, err := nsFile(kind, name, path)
	if err != nil {
		return err
	}
	own, err := sameFile(f, "/proc/self/ns/"+namespace.Files[kind])
	switch {
	case err != nil:
	case own:
		j.shared |= kind
		return f.Close()
	case kind == unix.CLONE_NEWUSER:
		j.user = f
		return nil
	case kind == unix.CLONE_NEWTIME:
		j.time = f
		return nil
	case kind == unix.CLONE_NEWCGROUP:
		j.cgroup = f
		return nil
	default:
		j.list = append(j.list, join{kind, name, f, true})
		return nil
	}
	_ = f.Close()
	return err
}

func sameFile(f *os.File, path string) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b), err
}

func launchJoins(l *Launch) (*joins, error) {
	j := new(joins)
	if l.NetNS != nil {
		j.list = append(j.list, join{unix.CLONE_NEWNET, "network", l.NetNS, false})
	}
	for _, ns := range l.Spec.Linux.Namespaces {
		kind, known := namespace.Flags[ns.Type]
		if ns.Path == "" || !known || (ns.Type == specs.NetworkNamespace && l.NetNS != nil) {
			continue
		}
		if j.has(kind) {
			j.close()
			return nil, fmt.Errorf("namespace type %q is given twice", ns.Type)
		}
		if err := j.add(kind, string(ns.Type), ns.Path); err != nil {
			j.close()
			return nil, err
		}
	}
	return j, nil
}

func (j *joins) has(kind uint64) bool {
	for _, n := range j.list {
		if n.kind == kind {
			return true
		}
	}
	return kind == unix.CLONE_NEWUSER && j.user != nil || kind == unix.CLONE_NEWTIME && j.time != nil ||
		kind == unix.CLONE_NEWCGROUP && j.cgroup != nil
}

// start calls fork on a thread that is in the namespaces.
func (j *joins) start(fork func() (*program.Child, error)) (*program.Child, error) {
	switch {
	case j.target != nil && j.kinds == 0:
		return fork()
	case j.target != nil:
		return away(func() error { return unix.Setns(int(j.target.Fd()), int(j.kinds)) }, fork)
	case j.has(unix.CLONE_NEWNS):
		return away(func() error { _, err := j.enter(); return err }, j.explained(fork))
	case len(j.list) == 0:
		return fork()
	}
	done := make(chan forked, 1)
	go func() {
		// Other goroutines must not run in the foreign namespaces. A thread that
		// cannot come back is not unlocked, and so ends with this goroutine.
		runtime.LockOSThread()
		child, home, err := j.forkInside(j.explained(fork))
		if home {
			runtime.UnlockOSThread()
		}
		done <- forked{child, err}
	}()
	r := <-done
	return r.child, r.err
}

// explained says in words what the kernel's ENOMEM means there.
func (j *joins) explained(fork func() (*program.Child, error)) func() (*program.Child, error) {
	return func() (*program.Child, error) {
		child, err := fork()
		if errors.Is(err, unix.ENOMEM) && j.has(unix.CLONE_NEWPID) {
			err = fmt.Errorf("join pid namespace: its first process has ended (%w)", err)
		}
		return child, err
	}
}

type forked struct {
	child *program.Child
	err   error
}

// away calls fork on a thread that has gone into namespaces for good. For a
// container's further processes: a child that goes there itself would be seen in
// the container's /proc before, and its mountinfo and net would tell of the host.
func away(enter func() error, fork func() (*program.Child, error)) (*program.Child, error) {
	done := make(chan forked, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The first thread stands for the whole process and never ends: held
			// here, it cannot be the one that the next try gets.
			defer runtime.UnlockOSThread()
			child, err := away(enter, fork)
			done <- forked{child, err}
			return
		}
		// Never unlocked: the thread ends with this goroutine.
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = enter()
		}
		if err != nil {
			done <- forked{nil, fmt.Errorf("join namespaces: %w", err)}
			return
		}
		child, err := fork()
		done <- forked{child, err}
	}()
	r := <-done
	return r.child, r.err
}

// enter takes the calling thread into the namespaces of the list and says how
// many it has entered.
func (j *joins) enter() (int, error) {
	for i, n := range j.list {
		if err := unix.Setns(int(n.file.Fd()), int(n.kind)); err != nil {
			return i, fmt.Errorf("join %s namespace: %w", n.name, err)
		}
	}
	return len(j.list), nil
}

// forkInside reports also whether the thread is back in its own namespaces.
func (j *joins) forkInside(fork func() (*program.Child, error)) (child *program.Child, home bool, err error) {
	var own joins
	defer own.close()
	for _, n := range j.list {
		f, err := nsFile(n.kind, n.name, "/proc/thread-self/ns/"+namespace.Files[n.kind])
		if err != nil {
			return nil, true, err
		}
		own.list = append(own.list, join{n.kind, n.name, f, true})
	}
	entered, err := j.enter()
	if err == nil {
		child, err = fork()
	}
	for i := range entered {
		n := own.list[i]
		if back := unix.Setns(int(n.file.Fd()), int(n.kind)); back != nil {
			return child, false, err
		}
	}
	return child, true, err
}
