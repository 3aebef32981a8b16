package compile

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/program"
	"hoy/internal/runtime/userns"
)

// ExecInput is what the program of a further process is made from.
type ExecInput struct {
	Input
	// PidFD refers to the container's first process.
	PidFD int
	// Join are the CLONE_NEW… bits of the namespaces that the child enters last, of
	// namespace.Single. Before them it enters those of First, or the forking thread
	// is in those already.
	Join, First uint64
	// Chroot: the container is in the host's mount namespace.
	Chroot bool
	// Map of the container's user namespace, where it has one.
	Map userns.Map
	// Birth: the child is not in the container's pid namespace; a copy of it will
	// be, when it has nothing left but to become the command.
	Birth bool
}

// Exec compiles the start of a further process. Input.Root is the container's
// root directory as its first process sees it.
func Exec(in ExecInput, text bool) (*Result, error) {
	b := newBuilder(in.Input, text)
	b.birth = in.Birth
	b.userns = in.Join&unix.CLONE_NEWUSER != 0
	b.lin.UIDMappings, b.lin.GIDMappings = in.Map.UIDs, in.Map.GIDs
	if err := checkIDs(b); err != nil {
		b.Close()
		return nil, err
	}
	steps := []func(*builder) error{
		(*builder).check, (*builder).cgroups, (*builder).execTerminal, prepareStdio,
		func(b *builder) error { return b.join(in) },
		stdio, (*builder).execWorkdir, (*builder).become,
	}
	for _, step := range steps {
		if err := step(b); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b.res, nil
}

// join takes the child, which is born in the container, into its remaining namespaces.
func (b *builder) join(in ExecInput) error {
	ready := prepareBegin(b)
	b.Fork()
	if err := become.Affinity(b.Program, b.proc, func() { begin(b, ready) }); err != nil {
		return err
	}
	b.Step("join namespaces", "")
	if in.First != 0 {
		setns(b, b.Given("pidfd", uintptr(in.PidFD)), in.First)
	}
	if in.Chroot {
		b.Call(unix.SYS_FCHDIR, program.R(b.root))
		b.Call(unix.SYS_CHROOT, program.Str("."))
	}
	if b.userns {
		become.RaiseLimits(b.Program, b.proc, b.in.Limits, b.in.CanRaise)
		b.Step("join namespaces", "")
	}
	if in.Join != 0 {
		setns(b, b.Given("pidfd", uintptr(in.PidFD)), in.Join)
	}
	if b.userns {
		becomeRoot(b)
	}
	b.Call(unix.SYS_CHDIR, program.Str("/"))
	return nil
}

// execWorkdir enters the working directory; unlike at a start it must exist.
func (b *builder) execWorkdir() error {
	dir := path.Clean(b.proc.Cwd)
	b.Step("chdir to cwd", fmt.Sprintf("(%q) set in config.json failed", dir))
	b.Call(unix.SYS_UMASK, program.Flag(0o022, "022"))
	fd := b.FD("cwd")
	b.Open(program.CWD(), dir, unix.O_PATH|unix.O_DIRECTORY, 0, mountop.Within).Into(fd)
	b.Call(unix.SYS_FCHDIR, program.R(fd))
	become.InsideRoot(b.Program, b.proc.User.Umask)
	return nil
}

// execTerminal opens a terminal in the container's devpts, after making sure
// that what is at /dev/pts is one: its entries can then only be terminals.
func (b *builder) execTerminal() error {
	if !b.proc.Terminal {
		return nil
	}
	b.Step("open terminal", "/dev/pts/ptmx")
	b.res.Console, b.res.HasConsole = b.FD("console"), true
	onDevpts(b, program.R(b.root), "/dev/pts", mountop.Within)
	terminal(b)
	return nil
}
