package become

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/landlock"
	"hoy/internal/runtime/program"
)

// Capabilities are the sets that a process can hand on.
type Capabilities struct {
	Permitted, Bounding uint64
}

// capNumbers maps "CAP_CHOWN" to its number.
var capNumbers = func() map[string]uint {
	m := make(map[string]uint, 64)
	for _, c := range capability.ListKnown() {
		m["CAP_"+strings.ToUpper(c.String())] = uint(c)
	}
	return m
}()

// capSet is the set of names as bits, without what cannot be given.
func capSet(names []string, own uint64, missing *[]string) uint64 {
	var set uint64
	for _, name := range names {
		n, ok := capNumbers[name]
		// A name that nobody knows yet is one that cannot be given, as in runc.
		if !ok || own&(1<<n) == 0 {
			if !slices.Contains(*missing, name) {
				*missing = append(*missing, name)
			}
			continue
		}
		set |= 1 << n
	}
	return set
}

type capHeader struct {
	version uint32
	_       int32 // the thread's number; 0 is the caller
}

type capData struct{ effective, permitted, inheritable uint32 }

type capSets struct{ effective, permitted, inheritable, bounding, ambient uint64 }

func (b *Becoming) capSets() capSets {
	var s capSets
	c := b.Process.Capabilities
	if c == nil {
		c = new(specs.LinuxCapabilities)
	}
	own := b.Own
	if b.UserNS {
		// Whoever makes a user namespace has every capability in it.
		own = Capabilities{^uint64(0), ^uint64(0)}
	}
	var missing []string
	for _, set := range []struct {
		to    *uint64
		names []string
		own   uint64
	}{
		{&s.bounding, c.Bounding, own.Bounding}, {&s.permitted, c.Permitted, own.Permitted},
		{&s.effective, c.Effective, own.Permitted}, {&s.inheritable, c.Inheritable, own.Permitted & own.Bounding},
		{&s.ambient, c.Ambient, own.Permitted & own.Bounding},
	} {
		*set.to = capSet(set.names, set.own, &missing)
	}
	// The kernel's own rules, so that a set it would refuse becomes the nearest it takes.
	s.effective &= s.permitted
	s.ambient &= s.permitted & s.inheritable
	if len(missing) > 0 {
		b.Warn("this machine cannot give %s: the container runs without", strings.Join(missing, ", "))
	}
	return s
}

// capset adds the call that takes the three sets of a thread.
func (b *Becoming) capset(effective, permitted, inheritable uint64) {
	head := &capHeader{version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]capData{
		{uint32(effective), uint32(permitted), uint32(inheritable)},
		{uint32(effective >> 32), uint32(permitted >> 32), uint32(inheritable >> 32)},
	}
	b.Call(unix.SYS_CAPSET, program.Mem(head, "{V3}"),
		program.Mem(data, fmt.Sprintf("{effective %#x, permitted %#x, inheritable %#x}", effective, permitted, inheritable)))
}

// working are the capabilities that the last steps need: the filter is loaded
// with CAP_SYS_ADMIN, limits are raised with CAP_SYS_RESOURCE.
const working = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_RESOURCE

// drop gives up what the process may not have, all but what the last steps need.
func (b *Becoming) drop() error {
	sets := b.capSets()
	b.Step("drop privileges", "")
	for n := range uint(len(capNumbers)) {
		if sets.bounding&(1<<n) == 0 {
			// EINVAL: the kernel does not know this one.
			b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"), program.Flag(n, capName(n))).Tolerate(unix.EINVAL)
		}
	}
	b.becomeUser()
	own := b.Own.Permitted
	if b.UserNS {
		own = ^uint64(0)
	}
	inter := sets.permitted | working&own
	b.Step("drop privileges", "")
	b.capset(inter, inter, sets.inheritable)
	if err := b.lookCommand(); err != nil {
		return err
	}
	if err := b.limits(); err != nil {
		return err
	}
	b.restrict(sets)
	return nil
}

func capName(n uint) string { return "CAP_" + strings.ToUpper(capability.Cap(n).String()) }

// becomeUser takes the user's ids and keeps the capabilities through it.
func (b *Becoming) becomeUser() {
	u := b.User
	b.Step("become user", fmt.Sprintf("%d:%d", u.UID, u.GID))
	b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"), program.Num(1))
	groups := append([]uint32{}, u.Groups...)
	n := len(groups)
	groups = append(groups, 0) // an address to point at where there is no group
	b.Call(unix.SYS_SETGROUPS, program.Num(n), program.Mem(&groups[0], fmt.Sprint(u.Groups)))
	b.Call(unix.SYS_SETRESGID, program.Num(u.GID), program.Num(u.GID), program.Num(u.GID))
	b.Call(unix.SYS_SETRESUID, program.Num(u.UID), program.Num(u.UID), program.Num(u.UID))
	b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"), program.Num(0))
	b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), program.Num(0))
}

// restrict is the last before the command: after the filter is in place, only
// capset, prctl and execve follow, so that a narrow filter allows them.
func (b *Becoming) restrict(sets capSets) {
	if !b.Landlock.Empty() {
		landlock.Restrict(b.Program, b.rules)
	}
	b.Step("restrict", "")
	b.Signals()
	b.Call(unix.SYS_RT_SIGPROCMASK, program.Flag(unix.SIG_SETMASK, "SIG_SETMASK"), program.Mem(new(uint64), "[]"), program.Num(0), program.Num(8))
	if !b.Listener {
		b.hold()
	}
	b.Call(unix.SYS_CLOSE_RANGE, program.Num(3+b.KeepFDs), program.Flag(uint32(0xffffffff), "~0"), program.Flag(unix.CLOSE_RANGE_CLOEXEC, "CLOEXEC"))
	drop := func() {
		b.Step("drop privileges", "")
		b.capset(sets.effective, sets.permitted, sets.inheritable)
		b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), program.Flag(unix.PR_CAP_AMBIENT_CLEAR_ALL, "CLEAR_ALL"), program.Num(0), program.Num(0), program.Num(0))
		for n := range uint(64) {
			if sets.ambient&(1<<n) != 0 {
				b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), program.Flag(unix.PR_CAP_AMBIENT_RAISE, "RAISE"), program.Flag(n, capName(n)), program.Num(0), program.Num(0))
			}
		}
	}
	if b.Process.NoNewPrivileges {
		// The filter needs no capability then, and comes last.
		drop()
		b.Call(unix.SYS_PRCTL, program.Flag(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"), program.Num(1), program.Num(0), program.Num(0), program.Num(0))
		b.filter()
		b.holdListened()
		return
	}
	b.filter()
	b.holdListened()
	drop()
}

func (b *Becoming) hold() {
	if b.Hold != nil {
		b.Hold()
		b.Step("restrict", "")
	}
}

// holdListened: who takes the listener is not there any more when the wait is
// over, so the filter comes first, and whoever is asked has to let the wait pass.
func (b *Becoming) holdListened() {
	if b.Listener {
		b.hold()
	}
}

var filterFlags = []program.Bit{
	{Value: unix.SECCOMP_FILTER_FLAG_LOG, Name: "LOG"}, {Value: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, Name: "SPEC_ALLOW"},
	{Value: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, Name: "NEW_LISTENER"}, {Value: unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Name: "WAIT_KILLABLE_RECV"},
}

// filter loads the compiled seccomp program.
func (b *Becoming) filter() {
	n := len(b.Seccomp) / 8
	if n == 0 {
		return
	}
	insns := make([]unix.SockFilter, n)
	for i := range insns {
		raw := b.Seccomp[i*8:]
		insns[i] = unix.SockFilter{Code: binary.NativeEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.NativeEndian.Uint32(raw[4:])}
	}
	prog := &unix.SockFprog{Len: uint16(n), Filter: &insns[0]}
	b.Step("load seccomp filter", "")
	flags := b.FilterFlags
	load := func() {
		b.Call(unix.SYS_SECCOMP, program.Flag(unix.SECCOMP_SET_MODE_FILTER, "SET_MODE_FILTER"), program.Flag(flags, program.Words(uint64(flags), filterFlags)),
			program.Mem(prog, fmt.Sprintf("[%d instructions]", n)))
	}
	if b.Listener {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		b.Listened(load)
		return
	}
	load()
}
