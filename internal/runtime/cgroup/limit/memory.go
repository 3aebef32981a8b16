package limit

import (
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lacks are the refusals of a kernel that has no such file.
var lacks = []unix.Errno{unix.ENOENT, unix.EACCES, unix.EPERM}

func (p *planner) memory1(m *specs.LinuxMemory) {
	const c = "memory"
	if m.UseHierarchy != nil {
		// Always on since 5.11, where only 1 may be written.
		p.add(Write{Controller: c, File: "memory.use_hierarchy", Value: map[bool]string{true: "1", false: "0"}[*m.UseHierarchy], Pass: lacks})
	}
	// The limit may not be above that of memory and swap together, at no
	// moment: which has to be written first depends on what is there.
	limit, swap := deref(m.Limit), deref(m.Swap)
	if limit != 0 {
		p.add(Write{Controller: c, File: "memory.limit_in_bytes", Value: num(limit), Again: swap != 0 || limit == -1})
	}
	if swap != 0 {
		// Where the kernel does not count swap there is no limit of it.
		p.add(Write{Controller: c, File: "memory.memsw.limit_in_bytes", Value: num(swap), Again: limit != 0, Pass: passIf(swap == -1)})
	} else if limit == -1 {
		// No limit of memory means none of swap, where the kernel counts it.
		p.add(Write{Controller: c, File: "memory.memsw.limit_in_bytes", Value: "-1", Pass: lacks})
	}
	if v := deref(m.Reservation); v != 0 {
		p.one(c, "memory.soft_limit_in_bytes", num(v))
	}
	//nolint:staticcheck // deprecated in the specification, and there on old kernels
	if v := deref(m.Kernel); v != 0 {
		p.add(Write{Controller: c, File: "memory.kmem.limit_in_bytes", Value: num(v), Pass: append(lacks[:len(lacks):len(lacks)], unix.EOPNOTSUPP)})
	}
	//nolint:staticcheck // as above
	if v := deref(m.KernelTCP); v != 0 {
		p.one(c, "memory.kmem.tcp.limit_in_bytes", num(v))
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		p.one(c, "memory.oom_control", "1")
	}
	switch s := m.Swappiness; {
	case s == nil || *s == math.MaxUint64: // -1 of those who have no other way to say "as it is"
	case *s > 100:
		p.invalid("memory swappiness is 0 to 100, not %d", *s)
	default:
		p.one(c, "memory.swappiness", num(*s))
	}
}

// memory2 leaves out what version 2 has no notion of, as all runtimes do:
// swappiness, the OOM killer's switch, kernel memory apart.
func (p *planner) memory2(m *specs.LinuxMemory) {
	limit, both := deref(m.Limit), deref(m.Swap)
	swap, ok := Swap2(both, limit)
	if !ok {
		p.invalid("the limit of memory and swap (%d) needs a limit of memory that is not above it, not %d", both, limit)
		return
	}
	if swap != "" {
		w := Write{File: "memory.swap.max", Value: swap}
		if swap == "max" || swap == "0" {
			w.Pass = lacks
		}
		p.add(w)
	}
	if limit != 0 {
		p.two("memory.max", maxOr(limit))
	}
	if v := deref(m.Reservation); v != 0 {
		p.two("memory.low", maxOr(v))
	}
}

// Swap2 is version 2's limit of swap alone, from version 1's of both together;
// "" leaves it as it is.
func Swap2(both, limit int64) (string, bool) {
	switch {
	case both == -1, both == 0 && limit == -1:
		return "max", true
	case both == 0:
		return "", true
	case limit == -1:
		return num(both), true
	case limit <= 0 || both < limit:
		return "", false
	default:
		return num(both - limit), true
	}
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
