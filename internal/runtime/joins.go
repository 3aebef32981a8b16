package runtime

import (
	"fmt"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
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
}

func (j *joins) close() {
	for _, n := range j.list {
		if n.ours {
			_ = n.file.Close()
		}
	}
}

func (j *joins) add(kind uint64, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if typ, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || uint64(typ) != kind {
		_ = f.Close()
		return fmt.Errorf("%s is not a %s namespace", path, name)
	}
	j.list = append(j.list, join{kind, name, f, true})
	return nil
}

func launchJoins(l *Launch) (*joins, error) {
	j := new(joins)
	if l.NetNS != nil {
		j.list = append(j.list, join{unix.CLONE_NEWNET, "network", l.NetNS, false})
	}
	for _, ns := range l.Spec.Linux.Namespaces {
		if ns.Path == "" || (ns.Type == specs.NetworkNamespace && l.NetNS != nil) {
			continue
		}
		if err := j.add(compile.CloneFlags[ns.Type], string(ns.Type), ns.Path); err != nil {
			j.close()
			return nil, err
		}
	}
	return j, nil
}

var nsFiles = map[uint64]string{
	unix.CLONE_NEWPID: "pid", unix.CLONE_NEWNET: "net", unix.CLONE_NEWIPC: "ipc", unix.CLONE_NEWUTS: "uts",
}

// start calls fork on a thread that is in the namespaces.
func (j *joins) start(fork func() (*program.Child, error)) (*program.Child, error) {
	if j.target != nil {
		return j.startInside(fork)
	}
	if len(j.list) == 0 {
		return fork()
	}
	done := make(chan forked, 1)
	go func() {
		// Other goroutines must not run in the foreign namespaces. A thread that
		// cannot come back is not unlocked, and so ends with this goroutine.
		runtime.LockOSThread()
		child, home, err := j.forkInside(fork)
		if home {
			runtime.UnlockOSThread()
		}
		done <- forked{child, err}
	}()
	r := <-done
	return r.child, r.err
}

type forked struct {
	child *program.Child
	err   error
}

// startInside calls fork on a thread that has gone into the container for good.
// A child that goes there itself would be seen in the container's /proc before,
// and its mountinfo and net would tell of the host.
func (j *joins) startInside(fork func() (*program.Child, error)) (*program.Child, error) {
	done := make(chan forked, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The first thread stands for the whole process and never ends: held
			// here, it cannot be the one that the next try gets.
			defer runtime.UnlockOSThread()
			child, err := j.startInside(fork)
			done <- forked{child, err}
			return
		}
		// Never unlocked: the thread ends with this goroutine.
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(j.target.Fd()), int(j.kinds))
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

// forkInside reports also whether the thread is back in its own namespaces.
func (j *joins) forkInside(fork func() (*program.Child, error)) (child *program.Child, home bool, err error) {
	var own joins
	defer own.close()
	for _, n := range j.list {
		if err := own.add(n.kind, n.name, "/proc/thread-self/ns/"+nsFiles[n.kind]); err != nil {
			return nil, true, err
		}
	}
	entered := 0
	for _, n := range j.list {
		if err = unix.Setns(int(n.file.Fd()), int(n.kind)); err != nil {
			err = fmt.Errorf("join %s namespace: %w", n.name, err)
			break
		}
		entered++
	}
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
