package become

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// RaiseLimits adds the calls that raise the hard limits which are to be above
// the caller's own, before a user namespace is entered: in one nobody may.
func RaiseLimits(p *program.Program, process *specs.Process, limits func(resource int) uint64, canRaise bool) {
	if !canRaise || limits == nil {
		return
	}
	for _, l := range process.Rlimits {
		n, ok := Resources[l.Type]
		if !ok {
			continue // it is refused later on
		}
		own := limits(n)
		if l.Hard <= own {
			continue
		}
		p.Step("raise limit", l.Type)
		// The soft one comes last, when nothing is left to do that it could hinder.
		p.Call(unix.SYS_PRLIMIT64, program.Num(0), program.Flag(n, l.Type),
			program.Mem(&unix.Rlimit{Cur: own, Max: l.Hard}, fmt.Sprintf("{%d, %d}", own, l.Hard)), program.Num(0))
	}
}
