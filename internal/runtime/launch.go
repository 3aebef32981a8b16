// Package runtime turns an OCI runtime specification into a running, isolated
// process. It imports nothing heavy: it is linked into hoy-run.
package runtime

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/program"
	"hoy/internal/runtime/rootfs"
)

// RootMount is one mount of a root file system, in the form that snapshotters
// give it (fstab style: Type "overlay", Options "lowerdir=…"; Type "bind").
type RootMount = rootfs.Source

// Launch is everything that the first process of a container needs. It travels
// as JSON; open files travel beside it.
type Launch struct {
	// ID is the container's id; it appears in errors only.
	ID string `json:"id"`
	// Spec is the OCI runtime specification. Root.Path is used only where
	// Rootfs is empty. Namespace paths may be /proc/PID/ns/… of another
	// container. Resources are not applied here: the cgroups in CgroupProcs
	// exist and carry their limits already.
	Spec *specs.Spec `json:"spec"`
	// Rootfs is how the root file system is mounted, as a detached tree that
	// no other mount namespace ever sees.
	Rootfs []RootMount `json:"rootfs,omitempty"`
	// MapRoot says that the layers in Rootfs hold the ids of the container's own
	// user namespace, by the specification's mappings, which are the namespace's.
	MapRoot bool `json:"mapRoot,omitempty"`
	// Bundle, where not empty, is the directory that relative sources of binds, and
	// Root.Path, begin in.
	Bundle string `json:"bundle,omitempty"`
	// User, where not empty, is what the person wrote ("uid", "name",
	// "uid:gid", "name:group"); it is looked up in the root file system's own
	// /etc/passwd and /etc/group, and Spec.Process.User is filled from it.
	// HOME is set from the entry where the environment has none.
	User string `json:"user,omitempty"`
	// Groups are additional groups, names or numbers, looked up likewise.
	Groups []string `json:"groups,omitempty"`
	// Seccomp is the compiled BPF program (struct sock_filter, 8 bytes each);
	// it replaces Spec.Linux.Seccomp. Empty means no filter.
	Seccomp []byte `json:"seccomp,omitempty"`
	// Filter, where not nil, says how Seccomp is loaded and who is asked about calls.
	Filter *Filter `json:"filter,omitempty"`
	// CgroupProcs are the cgroup.procs files that the process is written to
	// before it runs any of the container's code.
	CgroupProcs []string `json:"cgroupProcs,omitempty"`
	// Landlock are rules as landlock.Parse reads them.
	Landlock []string `json:"landlock,omitempty"`
	// Reaper, where not empty, is the host path of the binary that is bound at
	// /sbin/docker-init and runs as PID 1 with Spec.Process.Args behind "--".
	Reaper string `json:"reaper,omitempty"`
	// ConsoleSize is the terminal's first size where Spec.Process.Terminal is set.
	ConsoleSize specs.Box `json:"consoleSize,omitempty"`

	// NetNS, where not nil, is the network namespace to join; it wins over the
	// path in Spec.Linux.Namespaces.
	NetNS *os.File `json:"-"`
	// Stdio is what the process gets as 0, 1 and 2 where it has no terminal.
	Stdio [3]*os.File `json:"-"`
	// KeepFDs is how many of the caller's descriptors from 3 up the command
	// inherits; all others close.
	KeepFDs int `json:"-"`

	// BeforePivot, where not nil, is called with the process's pid when its
	// namespaces and mounts are there and the host's tree is still to be seen in
	// its mount namespace, with the root file system at Spec.Root.Path: for hooks,
	// which are its business. An error ends the start.
	BeforePivot func(pid int) error `json:"-"`
	// Start, where not nil, is a listening unix socket. Start returns when the
	// process is ready but for its last steps, and it goes on when somebody
	// connects there. See Process.Faults.
	Start *os.File `json:"-"`
	// NoPivot covers the host's mounts with the root file system instead of
	// detaching them; NoKeyring leaves the process in the caller's session keyring.
	NoPivot   bool `json:"-"`
	NoKeyring bool `json:"-"`
	// ExactUser: the specification's numbers are all that the process has; the
	// root file system's files tell nothing but the home directory.
	ExactUser bool `json:"-"`
}

// Exec is everything that a further process in a running container needs.
type Exec struct {
	// ID is the container's id; it appears in errors only.
	ID string `json:"id"`
	// Target is the host pid of the container's first process.
	Target int `json:"target"`
	// TargetFD, where not nil, is a pidfd of Target: its number may mean another
	// process by now.
	TargetFD *os.File `json:"-"`
	// Namespaces that the container has, by type. Whatever it says, the process joins
	// every one that Target does not share with the caller.
	Namespaces []specs.LinuxNamespaceType `json:"namespaces"`
	// Process has arguments, environment, capabilities, rlimits, working directory.
	Process *specs.Process `json:"process"`
	User    string         `json:"user,omitempty"`
	Groups  []string       `json:"groups,omitempty"`
	Seccomp []byte         `json:"seccomp,omitempty"`
	// Filter as in Launch.
	Filter *Filter `json:"filter,omitempty"`
	// Landlock as in Launch.
	Landlock []string `json:"landlock,omitempty"`
	// CgroupProcs as in Launch.
	CgroupProcs []string  `json:"cgroupProcs,omitempty"`
	ConsoleSize specs.Box `json:"consoleSize,omitempty"`

	Stdio [3]*os.File `json:"-"`
	// KeepFDs, NoKeyring and ExactUser as in Launch.
	KeepFDs   int  `json:"-"`
	NoKeyring bool `json:"-"`
	ExactUser bool `json:"-"`
}

// Process is a started child of the calling process. The caller reaps it
// (waitid on PidFD) and closes what it holds.
type Process struct {
	// Pid in the caller's pid namespace.
	Pid int
	// PidFD refers to the process, whatever becomes of its number.
	PidFD *os.File
	// Console is the terminal's master side; nil where there is none.
	Console *os.File
	// Faults is what reads the word of a process that waits at Launch.Start: who
	// connects there gives both to Started.
	Faults *program.Faults
	// Warnings say what was asked for and could not be had on this machine,
	// and what was done instead.
	Warnings []string
}
