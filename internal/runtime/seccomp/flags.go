package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tsync is a flag that the specification of OCI has left out since 1.1, and
// that profiles still name. A process that is about to become its command has
// one thread, so there is nothing to synchronise.
const tsync = "SECCOMP_FILTER_FLAG_TSYNC"

// Flags are the SECCOMP_FILTER_FLAG_… bits for s. Where it does not say, a call
// that it allows is not slowed down by the mitigation of speculative stores, as
// in runc.
func Flags(s *specs.LinuxSeccomp) (uint32, error) {
	if s == nil {
		return 0, nil
	}
	if s.Flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var bits uint32
	for _, f := range s.Flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			if !notifies(s) {
				return 0, invalid("flag %s needs a call with action %s", f, specs.ActNotify)
			}
			bits |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		case tsync:
		default:
			return 0, invalid("unknown flag %q", f)
		}
	}
	return bits, nil
}

// Listens says whether a process with the filter has to be listened to, and
// refuses a profile that asks for it without saying who does.
func Listens(s *specs.LinuxSeccomp) (bool, error) {
	switch {
	case s == nil:
		return false, nil
	case s.ListenerPath == "" && s.ListenerMetadata != "":
		return false, invalid("listenerMetadata without a listenerPath")
	case notifies(s) && s.ListenerPath == "":
		return false, invalid("action %s needs a listenerPath", specs.ActNotify)
	default:
		return notifies(s), nil
	}
}

func notifies(s *specs.LinuxSeccomp) bool {
	if s.DefaultAction == specs.ActNotify {
		return true
	}
	for _, call := range s.Syscalls {
		if call.Action == specs.ActNotify {
			return true
		}
	}
	return false
}
