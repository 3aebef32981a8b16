package become

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Trim is p without what the calling process cannot give: capabilities that it
// does not hold, unless the container has a user namespace, and hard limits
// above its own. It is for runtimes that refuse a process where this one goes
// without and says so through warn.
func Trim(p *specs.Process, own Capabilities, userns, canRaise bool, limits func(resource int) uint64, warn func(format string, args ...any)) *specs.Process {
	trimmed := *p
	if c := p.Capabilities; c != nil && !userns {
		var missing []string
		fit := func(names []string, own uint64) []string {
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
				n, known := capNumbers[name]
				if !known || own&(1<<n) != 0 {
					return false // an unknown one is for the runtime to refuse
				}
				if !slices.Contains(missing, name) {
					missing = append(missing, name)
				}
				return true
			})
		}
		trimmed.Capabilities = &specs.LinuxCapabilities{
			Bounding: fit(c.Bounding, own.Bounding), Permitted: fit(c.Permitted, own.Permitted),
			Effective:   fit(c.Effective, own.Permitted),
			Inheritable: fit(c.Inheritable, own.Permitted&own.Bounding), Ambient: fit(c.Ambient, own.Permitted&own.Bounding),
		}
		if len(missing) > 0 {
			warn("this machine cannot give %s: the container runs without", strings.Join(missing, ", "))
		}
	}
	if !canRaise {
		trimmed.Rlimits = slices.Clone(p.Rlimits)
		for i := range trimmed.Rlimits {
			trimLimit(&trimmed.Rlimits[i], limits, warn)
		}
	}
	return &trimmed
}

func trimLimit(l *specs.POSIXRlimit, limits func(resource int) uint64, warn func(format string, args ...any)) {
	n, known := Resources[l.Type]
	if !known {
		return
	}
	most := limits(n)
	if l.Hard <= most || most == unix.RLIM_INFINITY {
		return
	}
	warn("%s: this machine does not let the limit be raised from %d to %d; it stays at %d", l.Type, most, l.Hard, most)
	l.Hard, l.Soft = most, min(l.Soft, most)
}
