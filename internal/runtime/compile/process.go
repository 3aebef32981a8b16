package compile

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/landlock"
	"hoy/internal/runtime/program"
)

// workdir makes the working directory where it is missing and enters it while
// the process can still go anywhere, and makes sure that it is below the root:
// a descriptor of the host's must not become the way out.
func (b *builder) workdir() error {
	dir := path.Clean(b.proc.Cwd)
	b.Step("chdir to cwd", fmt.Sprintf("(%q) set in config.json failed", dir))
	b.Call(unix.SYS_UMASK, program.Flag(0o022, "022"))
	if dir != "/" {
		fd := b.FD("cwd")
		b.Ensure(fd, dir, false)
		b.Call(unix.SYS_FCHDIR, program.R(fd))
	}
	become.InsideRoot(b.Program, b.proc.User.Umask)
	return nil
}

func (b *builder) args() []string {
	if b.in.Reaper == "" {
		return b.proc.Args
	}
	return append([]string{ReaperPath, "--"}, b.proc.Args...)
}

// hold makes the process, which is ready but for its last steps, wait for
// somebody to connect; a filter may well forbid to wait, so it is not loaded yet.
func hold(b *builder) {
	b.Step("wait for start", "")
	b.AwaitStart(b.Given("start", uintptr(b.in.Start)), 3+b.in.KeepFDs)
}

// become ends the program: the process becomes its command.
func (b *builder) become() error {
	rules, err := landlock.Parse(b.in.Landlock)
	if err != nil {
		return err
	}
	if b.in.Reaper != "" {
		rules.Open(ReaperPath)
	}
	last := become.Becoming{
		Program: b.Program, Process: b.proc, Args: b.args(), User: b.in.User, Seccomp: b.in.Seccomp,
		Own: b.in.Own, UserNS: b.userns, Limits: b.in.Limits, CanRaise: b.in.CanRaise, Warn: b.warn,
		KeepFDs: b.in.KeepFDs, Birth: b.birth, Terminal: b.proc.Terminal,
		FilterFlags: b.in.FilterFlags, Listener: b.in.Listener,
		Personality: b.lin.Personality, LSM: b.in.LSM, Proc: b.hostProc, Landlock: rules,
	}
	if b.in.Start > 0 {
		last.Hold = func() { hold(b) }
	}
	return last.Compile()
}
