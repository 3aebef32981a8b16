package seccomp

import (
	"fmt"
	"math"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/seccomp/table"
)

// rule is what happens to a call: ret, where all of args hold.
type rule struct {
	ret  uint32
	args []specs.LinuxSeccompArg
}

// span is a run of call numbers, from first to the next span's, that are
// treated alike: rules in order, and ret where none holds.
type span struct {
	first uint32
	ret   uint32
	rules []rule
	// narrow: arguments have 32 bits.
	narrow bool
}

func (s span) same(o span) bool { return s.ret == o.ret && len(s.rules) == 0 && len(o.rules) == 0 }

// action is the return value for an OCI action.
func action(a specs.LinuxSeccompAction, data *uint) (uint32, error) {
	value := uint32(unix.EPERM)
	if data != nil {
		if *data > math.MaxUint16 {
			return 0, invalid("errno %d is out of range", *data)
		}
		value = uint32(*data)
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | value, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | value, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	default:
		return 0, invalid("unknown action %q", a)
	}
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage("seccomp: " + fmt.Sprintf(format, args...))
}

// spans turns the profile into runs over the call numbers of one architecture.
// Names that it does not have are left out: a profile is for many.
func spans(s *specs.LinuxSeccomp, arch table.Arch) ([]span, error) {
	def, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	calls, last, err := byNumber(s, arch, def)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint32, 0, len(calls))
	for n := range calls {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var list []span
	add := func(sp span) {
		if len(list) == 0 || !list[len(list)-1].same(sp) {
			list = append(list, sp)
		}
	}
	next := uint32(0)
	for _, n := range numbers {
		if n > next {
			add(span{first: next, ret: def})
		}
		sp := *calls[n]
		sp.first = n
		add(sp)
		next = n + 1
	}
	add(span{first: next, ret: unknown(def, last)})
	return list, nil
}

// unknown is what becomes of a call that is newer than every one of the
// profile: a program must be told that it does not exist, so that it goes on
// with an older one, and not that it is forbidden.
func unknown(def, last uint32) uint32 {
	switch {
	case def == unix.SECCOMP_RET_ALLOW, def == unix.SECCOMP_RET_LOG, last == 0:
		return def
	default:
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
}

// byNumber collects the rules of each call, as libseccomp sees them in runc's
// hands: an unconditional one stands for all of them, and one with the default
// action is not there. Of several conditions that hold the first decides.
func byNumber(s *specs.LinuxSeccomp, arch table.Arch, def uint32) (map[uint32]*span, uint32, error) {
	calls := map[uint32]*span{}
	closed := map[uint32]bool{}
	last := uint32(0)
	for _, call := range s.Syscalls {
		ret, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, 0, err
		}
		sets, err := alternatives(call.Args)
		if err != nil {
			return nil, 0, err
		}
		for _, name := range call.Names {
			for _, t := range places(arch, name, sets) {
				last = max(last, t.number)
				if ret == def {
					continue
				}
				sp := calls[t.number]
				if sp == nil {
					sp = &span{ret: def}
					calls[t.number] = sp
				}
				switch {
				case len(t.sets) == 0 && !closed[t.number]:
					closed[t.number] = true
					sp.ret = ret
				case len(t.sets) > 0:
					for _, args := range t.sets {
						sp.rules = append(sp.rules, rule{ret, args})
					}
				}
			}
		}
	}
	for n, sp := range calls {
		if closed[n] {
			sp.rules = nil
		}
		// What comes to the same as the end of the list need not be asked.
		for len(sp.rules) > 0 && sp.rules[len(sp.rules)-1].ret == sp.ret {
			sp.rules = sp.rules[:len(sp.rules)-1]
		}
	}
	return calls, last, nil
}

// alternatives are the sets of conditions of which one must hold as a whole.
// Where an argument is named twice, every condition stands alone, as in runc.
func alternatives(args []specs.LinuxSeccompArg) ([][]specs.LinuxSeccompArg, error) {
	seen := map[uint]bool{}
	twice := false
	for _, a := range args {
		if a.Index > 5 {
			return nil, invalid("argument index %d is out of range", a.Index)
		}
		twice = twice || seen[a.Index]
		seen[a.Index] = true
	}
	if len(args) == 0 {
		return nil, nil
	}
	if !twice {
		return [][]specs.LinuxSeccompArg{args}, nil
	}
	var sets [][]specs.LinuxSeccompArg
	for _, a := range args {
		sets = append(sets, []specs.LinuxSeccompArg{a})
	}
	return sets, nil
}
