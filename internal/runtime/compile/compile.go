// Package compile turns an OCI runtime specification into a program of system
// calls. All that can be made ready outside the container is made ready in the
// program's first part, as detached mounts and open descriptors; the second part
// only puts things in their places, drops privileges and becomes the command.
package compile

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/device"
	"hoy/internal/runtime/identity"
	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/netdev"
	"hoy/internal/runtime/numa"
	"hoy/internal/runtime/program"
	"hoy/internal/runtime/userns"
)

// Input is what a program is made from. Descriptors are the caller's and stay open.
type Input struct {
	Spec *specs.Spec
	// Joined are the CLONE_NEW… bits of namespaces that the forking thread is in.
	Joined uint64
	// Shared are the bits of namespaces that are given by a path to the caller's own.
	Shared uint64
	// UserNS, TimeNS and CgroupNS are the namespaces that are given by a path and
	// that the child itself enters, see namespace.Single.
	UserNS, TimeNS, CgroupNS int
	// MapFD gives a user namespace with the ids of a mount.
	MapFD func(userns.Map) (int, error)
	// Root is the detached root file system's root directory.
	Root int
	// Indirect are mount destinations that a symbolic link leads to.
	Indirect map[string]bool
	// Modes are those of the directories that are mount destinations.
	Modes   map[string]uint32
	User    identity.User
	Seccomp []byte
	Cgroups Cgroups
	// Reaper is the host path of the init binary; empty where there is none.
	Reaper string
	// Stdio are 0, 1 and 2 of a process without a terminal. -1 is the null device.
	Stdio [3]int
	// Limits are the hard limits of the calling process, and CanRaise says
	// whether it may go above them.
	Limits   func(resource int) uint64
	CanRaise bool
	// FilterFlags and Listener are about Seccomp, see become.Becoming.
	FilterFlags uint32
	Listener    bool
	// Landlock are rules that close what they do not open.
	Landlock []string
	// LSM are the security modules of the kernel.
	LSM become.LSM
	// Own are the capabilities that the calling process can give.
	Own become.Capabilities
	// KeepFDs is how many descriptors from 3 up the command inherits.
	KeepFDs int
	// Start, where above 0, is a listening socket: the process waits there for
	// somebody to connect, before it becomes its command.
	Start int
	// Pause makes the process wait before it leaves the host's mounts, with its
	// own in their places; the root file system is then at RootAt on the host's
	// tree, as well as under the host's "/" from where it is entered. Hooks run then.
	Pause  bool
	RootAt string
	// Hooks: the caller runs them then.
	Hooks bool
	// NoPivot moves the root file system over "/" where the host's root, such as
	// an initramfs, cannot be pivoted from. NoKeyring leaves the session keyring.
	NoPivot, NoKeyring bool
}

// Cgroups are the control groups that the process begins in.
type Cgroups struct {
	// Tasks are version 1 task lists; the child writes itself there.
	Tasks []string
	// Unified is the directory of a version 2 group; empty where there is none.
	Unified string
	// Links are symbolic links below the host's cgroup mount, by name.
	Links map[string]string
}

// Result is a program and what its start needs to know.
type Result struct {
	Program *program.Program
	// Flags are the CLONE_NEW… bits of the namespaces to make.
	Flags uint64
	// Unified holds the version 2 cgroup's directory; valid where HasUnified.
	Unified    program.Reg
	HasUnified bool
	// Console holds the terminal's master side; valid where HasConsole.
	Console    program.Reg
	HasConsole bool
	// Listener takes the filter's listener where there is one.
	Listener func(pid, fd int) error
	// Born: the process that goes on is the child's copy, see ExecInput.Birth.
	Born bool
	// Reborn: another process goes on in the child's place.
	Reborn   bool
	Warnings []string
	// CopyUps are to be done between the two parts.
	CopyUps []CopyUp
}

// builder holds what the compile steps share.
type builder struct {
	*mountop.Ops
	in   Input
	spec *specs.Spec
	lin  *specs.Linux
	proc *specs.Process
	res  *Result

	root     program.Reg
	oldRoot  program.Reg
	procFS   program.Reg
	hostProc program.Reg
	hasProc  bool
	masks    mountop.Masks
	masked   bool
	dev      *device.Maker
	slave    program.Reg
	birth    bool // the last steps are a copy's, see ExecInput
	userns   bool // the process is in a user namespace of the container's
	ns       namespace.Set
	late     uint64 // CLONE_NEW… bits of what is made in a joined user namespace
	mounts   []*mount
	fsbuf    *unix.Statfs_t
}

// Start compiles the start of a container's first process. With text the
// program is for reading only.
func Start(in Input, text bool) (*Result, error) {
	b := newBuilder(in, text)
	steps := []func(*builder) error{
		(*builder).check, (*builder).namespaces, devices, (*builder).cgroups, (*builder).prepareMounts, prepareMask, prepareTerminal, prepareStdio,
		(*builder).enter, (*builder).placeMounts, sysctls, console, hidePaths, pause, (*builder).leaveHost,
		stdio, hostname, memoryPolicy, (*builder).workdir, (*builder).readonlyRoot, (*builder).become,
	}
	for _, step := range steps {
		if err := step(b); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b.res, nil
}

func newBuilder(in Input, text bool) *builder {
	p := program.New(text)
	b := &builder{
		Ops:   mountop.New(p),
		in:    in,
		spec:  in.Spec,
		fsbuf: new(unix.Statfs_t),
		res:   &Result{Program: p},
	}
	if b.spec != nil {
		b.lin, b.proc = b.spec.Linux, b.spec.Process
	}
	if b.lin == nil {
		b.lin = new(specs.Linux)
	}
	b.root = p.Given("root", uintptr(in.Root))
	return b
}

// check refuses what this runtime does not do, rather than to leave it out unsaid.
func (b *builder) check() error {
	switch {
	case b.proc == nil || len(b.proc.Args) == 0:
		return fmt.Errorf("no command specified")
	case !b.in.Hooks && b.spec.Hooks != nil && hooks(b.spec.Hooks) > 0:
		return fmt.Errorf("OCI hooks are not supported by the built-in runtime; choose another with --runtime")
	case b.lin.MountLabel != "" && !b.in.LSM.SELinux:
		return fmt.Errorf("SELinux is not enabled on this machine, and mounts are to have the label %q", b.lin.MountLabel)
	case b.lin.IntelRdt != nil:
		return fmt.Errorf("the cache allocation of Intel RDT is not supported by the built-in runtime; choose another with --runtime")
	}
	for _, list := range [][]string{b.proc.Args, b.proc.Env, {b.proc.Cwd, b.spec.Hostname, b.spec.Domainname, b.proc.ApparmorProfile, b.proc.SelinuxLabel, b.lin.MountLabel}} {
		for _, s := range list {
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("%q holds a NUL byte", s)
			}
		}
	}
	if err := netdev.Check(b.lin.NetDevices); err != nil {
		return err
	}
	if !strings.HasPrefix(b.proc.Cwd, "/") {
		return fmt.Errorf("working directory %q is not an absolute path", b.proc.Cwd)
	}
	return nil
}

// memoryPolicy is the last thing that is of the machine and not of the user.
func memoryPolicy(b *builder) error { return numa.Set(b.Program, b.lin.MemoryPolicy) }

func hooks(h *specs.Hooks) int {
	//nolint:staticcheck // Prestart is deprecated, and must be refused like the others.
	return len(h.Prestart) + len(h.CreateRuntime) + len(h.CreateContainer) + len(h.StartContainer) + len(h.Poststart) + len(h.Poststop)
}

func (b *builder) warn(format string, args ...any) {
	b.res.Warnings = append(b.res.Warnings, fmt.Sprintf(format, args...))
}

// on runs f once per item as long as nothing fails.
func on[T any](list []T, f func(T) error) error {
	for _, item := range list {
		if err := f(item); err != nil {
			return err
		}
	}
	return nil
}
