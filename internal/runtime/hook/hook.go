// Package hook compiles the start of a program of the host's that runs in a
// container's namespaces.
package hook

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/program"
)

// Compile compiles the start of a hook, which is the host's with all of our
// privileges. join are those namespaces of pidfd's that a thread among others
// cannot enter: the child does.
func Compile(path string, args, env []string, stdio [3]*os.File, pidfd int, join uint64) (*program.Program, error) {
	for _, s := range slices.Concat([]string{path}, args, env) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("hook %q: %q holds a NUL byte", path, s)
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
	for fd, from := range stdio {
		p.Call(unix.SYS_DUP3, program.R(p.Given([]string{"stdin", "stdout", "stderr"}[fd], from.Fd())), program.Num(fd), program.Num(0))
	}
	p.Call(unix.SYS_CHDIR, program.Str("/"))
	p.Signals()
	p.Call(unix.SYS_RT_SIGPROCMASK, program.Flag(unix.SIG_SETMASK, "SIG_SETMASK"), program.Mem(new(uint64), "[]"), program.Num(0), program.Num(8))
	p.Call(unix.SYS_CLOSE_RANGE, program.Num(3), program.Flag(uint32(0xffffffff), "~0"), program.Flag(unix.CLOSE_RANGE_CLOEXEC, "CLOEXEC"))
	p.Step("exec", path)
	p.Call(unix.SYS_EXECVE, program.Str(path), program.Strings(args, fmt.Sprintf("%q", args)),
		program.Strings(env, fmt.Sprintf("[%d variables]", len(env))))
	return p, nil
}
