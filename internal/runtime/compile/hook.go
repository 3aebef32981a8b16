package compile

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/program"
)

// HookInput is what the program of a hook in a container's namespaces is made
// from. Such a hook is the host's program with all of the caller's privileges.
type HookInput struct {
	Path      string
	Args, Env []string
	Stdio     [3]int
	// PidFD refers to the container's first process; Join is CLONE_NEWUSER or
	// nothing, as in ExecInput.
	PidFD int
	Join  uint64
}

// Hook compiles the start of a hook.
func Hook(in HookInput, text bool) (*Result, error) {
	for _, s := range append([]string{in.Path}, append(in.Args, in.Env...)...) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("hook %q: %q holds a NUL byte", in.Path, s)
		}
	}
	p := program.New(text)
	p.Fork()
	p.Step("begin", "")
	p.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), program.Num(0))
	p.Call(unix.SYS_SETSID)
	p.Call(unix.SYS_UMASK, program.Flag(0o022, "022"))
	if in.Join != 0 {
		p.Step("join namespaces", "")
		p.Call(unix.SYS_SETNS, program.R(p.Given("pidfd", uintptr(in.PidFD))), program.Flag(in.Join, namespace.Text(in.Join)))
		p.Call(unix.SYS_SETRESGID, program.Num(0), program.Num(0), program.Num(0))
		p.Call(unix.SYS_SETRESUID, program.Num(0), program.Num(0), program.Num(0))
	}
	p.Step("set up standard streams", "")
	for fd, from := range in.Stdio {
		p.Call(unix.SYS_DUP3, program.R(p.Given([]string{"stdin", "stdout", "stderr"}[fd], uintptr(from))), program.Num(fd), program.Num(0))
	}
	p.Call(unix.SYS_CHDIR, program.Str("/"))
	p.Signals()
	p.Call(unix.SYS_RT_SIGPROCMASK, program.Flag(unix.SIG_SETMASK, "SIG_SETMASK"), program.Mem(new(uint64), "[]"), program.Num(0), program.Num(8))
	p.Call(unix.SYS_CLOSE_RANGE, program.Num(3), program.Flag(uint32(0xffffffff), "~0"), program.Flag(unix.CLOSE_RANGE_CLOEXEC, "CLOEXEC"))
	p.Step("exec", in.Path)
	p.Call(unix.SYS_EXECVE, program.Str(in.Path), program.Strings(in.Args, fmt.Sprintf("%q", in.Args)),
		program.Strings(in.Env, fmt.Sprintf("[%d variables]", len(in.Env))))
	return &Result{Program: p}, nil
}
