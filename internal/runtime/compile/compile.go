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

	"hoy/internal/runtime/identity"
	"hoy/internal/runtime/program"
)

// Input is what a program is made from. Descriptors are the caller's and stay open.
type Input struct {
	Spec *specs.Spec
	// Joined are the CLONE_NEW… bits of namespaces that the forking thread is in.
	Joined uint64
	// Root is the detached root file system's root directory.
	Root int
	// Indirect are mount destinations that a symbolic link leads to.
	Indirect map[string]bool
	User     identity.User
	Seccomp  []byte
	Cgroups  Cgroups
	// Reaper is the host path of the init binary; empty where there is none.
	Reaper string
	// Stdio are 0, 1 and 2 of a process without a terminal. -1 is the null device.
	Stdio [3]int
	// Limits are the hard limits of the calling process, and CanRaise says
	// whether it may go above them.
	Limits   func(resource int) uint64
	CanRaise bool
	// Own are the capabilities that the calling process can give.
	Own Capabilities
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
	// Sync: the child waits for its id maps.
	Sync     bool
	command  program.Reg
	Warnings []string
}

// builder holds what the compile steps share.
type builder struct {
	*program.Program
	in   Input
	spec *specs.Spec
	lin  *specs.Linux
	proc *specs.Process
	res  *Result

	root     program.Reg
	oldRoot  program.Reg
	procFS   program.Reg
	hasProc  bool
	mask     program.Reg
	slave    program.Reg
	userns   bool // the process is in a user namespace of the container's
	cgroupns bool
	hows     map[how]*unix.OpenHow
	mounts   []*mount
	fsbuf    *unix.Statfs_t
	stbuf    *unix.Statx_t
}

type how struct{ flags, mode, resolve uint64 }

// Start compiles the start of a container's first process. With text the
// program is for reading only.
func Start(in Input, text bool) (*Result, error) {
	b := newBuilder(in, text)
	steps := []func() error{
		b.check, b.checkDevices, b.namespaces, b.cgroups, b.prepareMounts, b.prepareMask, b.prepareTerminal,
		b.enter, b.placeMounts, b.sysctls, b.console, b.hidePaths, b.leaveHost,
		b.stdio, b.hostname, b.workdir, b.readonlyRoot, b.identity, b.command,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b.res, nil
}

func newBuilder(in Input, text bool) *builder {
	p := program.New(text)
	b := &builder{
		Program: p,
		in:      in,
		spec:    in.Spec,
		hows:    make(map[how]*unix.OpenHow),
		fsbuf:   new(unix.Statfs_t),
		stbuf:   new(unix.Statx_t),
		res:     &Result{Program: p},
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
	case b.spec.Hooks != nil && hooks(b.spec.Hooks) > 0:
		return fmt.Errorf("OCI hooks are not supported by the built-in runtime; choose another with --runtime")
	case b.proc.SelinuxLabel != "" || b.lin.MountLabel != "":
		return fmt.Errorf("SELinux labels are not supported by the built-in runtime; choose another with --runtime")
	case b.proc.ApparmorProfile != "" && b.proc.ApparmorProfile != "unconfined":
		return fmt.Errorf("AppArmor profiles are not supported by the built-in runtime; choose another with --runtime")
	case b.lin.IntelRdt != nil:
		return fmt.Errorf("Intel RDT is not supported by the built-in runtime; choose another with --runtime")
	}
	for _, list := range [][]string{b.proc.Args, b.proc.Env, {b.proc.Cwd, b.spec.Hostname, b.spec.Domainname}} {
		for _, s := range list {
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("%q holds a NUL byte", s)
			}
		}
	}
	if !strings.HasPrefix(b.proc.Cwd, "/") {
		return fmt.Errorf("working directory %q is not an absolute path", b.proc.Cwd)
	}
	return nil
}

func hooks(h *specs.Hooks) int {
	//nolint:staticcheck // Prestart is deprecated, and must be refused like the others.
	return len(h.Prestart) + len(h.CreateRuntime) + len(h.CreateContainer) + len(h.StartContainer) + len(h.Poststart) + len(h.Poststop)
}

func (b *builder) warn(format string, args ...any) {
	b.res.Warnings = append(b.res.Warnings, fmt.Sprintf(format, args...))
}

// within keeps a path below the container's root.
const within = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// open adds an openat2 of path below dir.
func (b *builder) open(dir program.Arg, path string, flags, mode, resolve uint64) program.Call {
	key := how{flags | unix.O_CLOEXEC, mode, resolve}
	h, ok := b.hows[key]
	if !ok {
		h = &unix.OpenHow{Flags: key.flags, Mode: key.mode, Resolve: key.resolve}
		b.hows[key] = h
	}
	text := "{" + program.Words(flags, openBits)
	if mode != 0 {
		text += fmt.Sprintf(", %#o", mode)
	}
	text += ", " + program.Words(resolve, resolveBits) + "}"
	return b.Call(unix.SYS_OPENAT2, dir, program.Str(path), program.Mem(h, text), program.Num(unix.SizeofOpenHow))
}

var openBits = []program.Bit{
	{Value: unix.O_PATH, Name: "O_PATH"}, {Value: unix.O_DIRECTORY, Name: "O_DIRECTORY"},
	{Value: unix.O_CREAT, Name: "O_CREAT"}, {Value: unix.O_EXCL, Name: "O_EXCL"},
	{Value: unix.O_NOFOLLOW, Name: "O_NOFOLLOW"}, {Value: unix.O_WRONLY, Name: "O_WRONLY"},
	{Value: unix.O_RDWR, Name: "O_RDWR"}, {Value: unix.O_NOCTTY, Name: "O_NOCTTY"},
	{Value: unix.O_NONBLOCK, Name: "O_NONBLOCK"},
}

var resolveBits = []program.Bit{
	{Value: unix.RESOLVE_IN_ROOT, Name: "IN_ROOT"}, {Value: unix.RESOLVE_NO_MAGICLINKS, Name: "NO_MAGICLINKS"},
	{Value: unix.RESOLVE_BENEATH, Name: "BENEATH"}, {Value: unix.RESOLVE_NO_SYMLINKS, Name: "NO_SYMLINKS"},
	{Value: unix.RESOLVE_NO_XDEV, Name: "NO_XDEV"},
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
