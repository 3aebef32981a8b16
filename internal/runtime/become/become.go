// Package become adds the last steps of every process of a container to its
// program: it gives up privileges, takes the user's ids and limits, loads the
// system call filter and becomes the command.
package become

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/identity"
	"hoy/internal/runtime/landlock"
	"hoy/internal/runtime/program"
)

// Becoming is what a process is to become.
type Becoming struct {
	*program.Program
	Process *specs.Process
	// Args are the command's; they may differ from the process's own.
	Args    []string
	User    identity.User
	Seccomp []byte
	// Own are the capabilities that the calling process can give; UserNS says
	// that the process has all of them, in a user namespace.
	Own    Capabilities
	UserNS bool
	// Limits are the hard limits of the calling process, and CanRaise says
	// whether it may go above them.
	Limits   func(resource int) uint64
	CanRaise bool
	// KeepFDs is how many descriptors from 3 up the command inherits.
	KeepFDs int
	// Hold, where not nil, adds the calls that wait for the command's time to come.
	Hold func()
	// Birth: the process is prepared where nobody sees it, and a copy that has
	// nothing but the command to become comes into the container. Terminal says
	// that the copy's standard input is to be its controlling terminal.
	Birth, Terminal bool
	// FilterFlags are SECCOMP_FILTER_FLAG_… bits; with Listener somebody outside is
	// asked about calls.
	FilterFlags uint32
	Listener    bool
	Personality *specs.LinuxPersonality
	// LSM says what the kernel has. Proc holds the host's procfs where a label asks for it.
	LSM  LSM
	Proc program.Reg
	// Landlock closes what it does not open; nil is nothing.
	Landlock *landlock.Rules
	// Warn takes what could not be had.
	Warn func(format string, args ...any)

	path  program.Reg
	rules program.Reg
}

// LSM are the security modules that the kernel runs.
type LSM struct {
	AppArmor, SELinux bool
	// Landlock is its version, 0 is none.
	Landlock int
}

// NeedsProc says whether a process asks for a label.
func NeedsProc(p *specs.Process) bool {
	return p.SelinuxLabel != "" || p.ApparmorProfile != "" && p.ApparmorProfile != "unconfined"
}

// Compile adds the steps.
func (b *Becoming) Compile() error {
	if err := b.attributes(); err != nil {
		return err
	}
	if err := b.confine(); err != nil {
		return err
	}
	if !b.Landlock.Empty() {
		var err error
		if b.rules, err = b.Landlock.Prepare(b.Program, b.LSM.Landlock); err != nil {
			return err
		}
	}
	if err := b.drop(); err != nil {
		return err
	}
	b.birth()
	b.command()
	return nil
}

// birth puts the copy into the world. All that a process of the container could
// do to it from then on, it could do to any other of the container's.
func (b *Becoming) birth() {
	if !b.Birth {
		return
	}
	b.Step("enter container", "")
	b.Program.Birth(3 + b.KeepFDs)
	b.Call(unix.SYS_SETSID)
	if b.Terminal {
		b.Call(unix.SYS_IOCTL, program.Num(0), program.Flag(unix.TIOCSCTTY, "TIOCSCTTY"), program.Num(0))
	}
}
