package runtime

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/program"
)

// Hook is a program of the host's that runs in a container's namespaces while
// its first process is in Launch.BeforePivot.
type Hook struct {
	// Target is the host pid of the container's first process.
	Target int
	// Path is looked up in the mount namespace, whose root is the host's still.
	Path string
	// Args hold the name that the program sees as the first.
	Args, Env []string
	Stdio     [3]*os.File
}

// StartHook starts a hook. It returns when the process has become the program,
// or a *StartError.
func StartHook(h *Hook) (*Process, error) {
	fd, err := unix.PidfdOpen(h.Target, 0)
	if err != nil {
		return nil, fail("find container's process", fmt.Errorf("pid %d: %w", h.Target, err))
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	kinds, err := foreign(h.Target)
	if err != nil {
		return nil, fail("find container's process", err)
	}
	j := &joins{target: pidfd, kinds: kinds &^ namespace.Single}
	res, err := hookProgram(h, fd, kinds&namespace.Single)
	if err != nil {
		return nil, fail("read specification", err)
	}
	defer res.Program.Close()
	return launch(res, j, nil)
}

// hookProgram is the program of a hook, which is the host's with all of our
// privileges. join are those
// namespaces that a thread among others cannot enter: the child does.
func hookProgram(in *Hook, pidfd int, join uint64) (*compile.Result, error) {
	for _, s := range append([]string{in.Path}, append(in.Args, in.Env...)...) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("hook %q: %q holds a NUL byte", in.Path, s)
		}
	}
	p := program.New(false)
	p.Fork()
	p.Step("begin", "")
	p.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), program.Num(0))
	p.Call(unix.SYS_SETSID)
	p.Call(unix.SYS_UMASK, program.Flag(0o022, "022"))
	if join != 0 {
		p.Step("join namespaces", "")
		p.Call(unix.SYS_SETNS, program.R(p.Given("pidfd", uintptr(pidfd))), program.Flag(join, namespace.Text(join)))
		if join&unix.CLONE_NEWUSER != 0 {
			p.Call(unix.SYS_SETRESGID, program.Num(0), program.Num(0), program.Num(0))
			p.Call(unix.SYS_SETRESUID, program.Num(0), program.Num(0), program.Num(0))
		}
	}
	p.Step("set up standard streams", "")
	for fd, from := range in.Stdio {
		p.Call(unix.SYS_DUP3, program.R(p.Given([]string{"stdin", "stdout", "stderr"}[fd], from.Fd())), program.Num(fd), program.Num(0))
	}
	p.Call(unix.SYS_CHDIR, program.Str("/"))
	p.Signals()
	p.Call(unix.SYS_RT_SIGPROCMASK, program.Flag(unix.SIG_SETMASK, "SIG_SETMASK"), program.Mem(new(uint64), "[]"), program.Num(0), program.Num(8))
	p.Call(unix.SYS_CLOSE_RANGE, program.Num(3), program.Flag(uint32(0xffffffff), "~0"), program.Flag(unix.CLOSE_RANGE_CLOEXEC, "CLOEXEC"))
	p.Step("exec", in.Path)
	p.Call(unix.SYS_EXECVE, program.Str(in.Path), program.Strings(in.Args, fmt.Sprintf("%q", in.Args)),
		program.Strings(in.Env, fmt.Sprintf("[%d variables]", len(in.Env))))
	return &compile.Result{Program: p}, nil
}
