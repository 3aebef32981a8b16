// Package namespace reads what a specification says of namespaces: which are
// new, which are joined, and what else of the specification depends on that.
package namespace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// Flags are the bits of clone(2) by namespace type.
var Flags = map[specs.LinuxNamespaceType]uint64{
	specs.PIDNamespace:     unix.CLONE_NEWPID,
	specs.NetworkNamespace: unix.CLONE_NEWNET,
	specs.MountNamespace:   unix.CLONE_NEWNS,
	specs.IPCNamespace:     unix.CLONE_NEWIPC,
	specs.UTSNamespace:     unix.CLONE_NEWUTS,
	specs.UserNamespace:    unix.CLONE_NEWUSER,
	specs.CgroupNamespace:  unix.CLONE_NEWCGROUP,
	specs.TimeNamespace:    unix.CLONE_NEWTIME,
}

// Files are the names in /proc/PID/ns by the same bits.
var Files = map[uint64]string{
	unix.CLONE_NEWPID: "pid", unix.CLONE_NEWNET: "net", unix.CLONE_NEWIPC: "ipc", unix.CLONE_NEWUTS: "uts",
	unix.CLONE_NEWNS: "mnt", unix.CLONE_NEWUSER: "user", unix.CLONE_NEWCGROUP: "cgroup", unix.CLONE_NEWTIME: "time",
}

// Single are those that the child enters itself. User and time namespaces cannot
// be entered by a thread among others. From within a cgroup namespace no process
// can be born in a group if its parent's is outside: ENOENT, where version 2 is
// mounted with nsdelegate, as systemd does.
const Single = unix.CLONE_NEWUSER | unix.CLONE_NEWTIME | unix.CLONE_NEWCGROUP

// flagNames are the same bits for text.
var flagNames = []program.Bit{
	{Value: unix.CLONE_NEWUSER, Name: "CLONE_NEWUSER"}, {Value: unix.CLONE_NEWPID, Name: "CLONE_NEWPID"},
	{Value: unix.CLONE_NEWNS, Name: "CLONE_NEWNS"}, {Value: unix.CLONE_NEWNET, Name: "CLONE_NEWNET"},
	{Value: unix.CLONE_NEWIPC, Name: "CLONE_NEWIPC"}, {Value: unix.CLONE_NEWUTS, Name: "CLONE_NEWUTS"},
	{Value: unix.CLONE_NEWCGROUP, Name: "CLONE_NEWCGROUP"}, {Value: unix.CLONE_NEWTIME, Name: "CLONE_NEWTIME"},
}

// Text names the CLONE_NEW… bits of flags.
func Text(flags uint64) string { return program.Words(flags, flagNames) }

// Set are the namespaces of a container, as CLONE_NEW… bits.
type Set struct {
	// Own are those other than the host's, Fresh those of them that are new.
	Own, Fresh uint64
}

// Joins says whether the namespace of a kind is one that exists already.
func (s Set) Joins(kind uint64) bool { return s.Own&^s.Fresh&kind != 0 }

// Makes says whether the namespace of a kind is new.
func (s Set) Makes(kind uint64) bool { return s.Fresh&kind != 0 }

// Read reads the namespaces of spec and refuses what does not go with them.
// joined are the bits of those that have no path and exist; shared of those
// whose path leads to the host's.
func Read(spec *specs.Spec, joined, shared uint64) (Set, error) {
	var s Set
	var all uint64
	for _, ns := range spec.Linux.Namespaces {
		flag, ok := Flags[ns.Type]
		if !ok {
			return s, fmt.Errorf("namespace type %q is not supported", ns.Type)
		}
		if all&flag != 0 {
			return s, fmt.Errorf("namespace type %q is given twice", ns.Type)
		}
		all |= flag
		if ns.Path == "" && joined&flag == 0 {
			s.Fresh |= flag
		}
	}
	s.Own = all &^ shared
	return s, s.check(spec)
}

func (s Set) check(spec *specs.Spec) error {
	lin := spec.Linux
	switch {
	case s.Own&unix.CLONE_NEWNS == 0:
		return fmt.Errorf("a container needs a mount namespace of its own")
	case s.Makes(unix.CLONE_NEWUSER) && (len(lin.UIDMappings) == 0 || len(lin.GIDMappings) == 0):
		return fmt.Errorf("a user namespace needs uid and gid mappings")
	case s.Own&unix.CLONE_NEWUSER == 0 && len(lin.UIDMappings)+len(lin.GIDMappings) > 0:
		return fmt.Errorf("uid and gid mappings need a user namespace")
	case s.Makes(unix.CLONE_NEWUSER) && s.Joins(unix.CLONE_NEWTIME):
		return fmt.Errorf("a new user namespace has no right to join a time namespace; give a path to the user namespace that owns it, too")
	case len(lin.TimeOffsets) > 0 && !s.Makes(unix.CLONE_NEWTIME):
		return fmt.Errorf("time offsets need a new time namespace")
	case s.Own&unix.CLONE_NEWUTS == 0 && spec.Hostname != "":
		return fmt.Errorf("hostname %q: the container has no UTS namespace of its own", spec.Hostname)
	case s.Own&unix.CLONE_NEWUTS == 0 && spec.Domainname != "":
		return fmt.Errorf("domain name %q: the container has no UTS namespace of its own", spec.Domainname)
	}
	if len(lin.NetDevices) > 0 && s.Own&unix.CLONE_NEWNET == 0 {
		return fmt.Errorf("network devices need a network namespace of the container's own")
	}
	for clock, offset := range lin.TimeOffsets {
		if clock != "monotonic" && clock != "boottime" {
			return fmt.Errorf("time offset: unknown clock %q (there are monotonic and boottime)", clock)
		}
		if offset.Nanosecs >= 1e9 {
			return fmt.Errorf("time offset of %s: %d nanoseconds are a second or more", clock, offset.Nanosecs)
		}
	}
	return nil
}

// Offsets is what timens_offsets takes: all lines in one write.
func Offsets(list map[string]specs.LinuxTimeOffset) string {
	lines := make([]string, 0, len(list))
	for clock, offset := range list {
		lines = append(lines, fmt.Sprintf("%s %d %d\n", clock, offset.Secs, offset.Nanosecs))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// ipcSysctls are those of an IPC namespace, by name.
var ipcSysctls = map[string]bool{
	"kernel.msgmax": true, "kernel.msgmnb": true, "kernel.msgmni": true, "kernel.sem": true,
	"kernel.shmall": true, "kernel.shmmax": true, "kernel.shmmni": true, "kernel.shm_rmid_forced": true,
}

// Sysctl refuses a kernel parameter that would change the host's behaviour.
func (s Set) Sysctl(name string) error {
	var kind uint64
	var what string
	switch {
	case ipcSysctls[name], strings.HasPrefix(name, "fs.mqueue."):
		kind, what = unix.CLONE_NEWIPC, "ipc"
	case strings.HasPrefix(name, "net."):
		kind, what = unix.CLONE_NEWNET, "network"
	case name == "kernel.domainname":
		kind, what = unix.CLONE_NEWUTS, "uts"
	case name == "kernel.hostname":
		return fmt.Errorf("sysctl %q is not allowed: the specification has a hostname of its own", name)
	default:
		return fmt.Errorf("sysctl %q is not in a separate kernel namespace", name)
	}
	if s.Own&kind == 0 {
		return fmt.Errorf("sysctl %q is not allowed in the host's %s namespace", name, what)
	}
	return nil
}
