// Package numa reads the memory policy of a specification.
package numa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

var modes = map[specs.MemoryPolicyModeType]uint{
	specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3,
	specs.MpolLocal: 4, specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6,
}

var flags = map[specs.MemoryPolicyFlagType]uint{
	specs.MpolFNumaBalancing: 1 << 13, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFStaticNodes: 1 << 15,
}

// maxNodes is how many nodes a kernel can be built for.
const maxNodes = 1024

// Set adds the call that gives the process the policy; nil is the caller's.
func Set(p *program.Program, policy *specs.LinuxMemoryPolicy) error {
	if policy == nil {
		return nil
	}
	mode, ok := modes[policy.Mode]
	if !ok {
		return fmt.Errorf("memory policy: unknown mode %q", policy.Mode)
	}
	for _, f := range policy.Flags {
		bit, ok := flags[f]
		if !ok {
			return fmt.Errorf("memory policy: unknown flag %q", f)
		}
		mode |= bit
	}
	mask, err := nodes(policy.Nodes)
	if err != nil {
		return fmt.Errorf("memory policy: %w", err)
	}
	words := append([]string{string(policy.Mode)}, texts(policy.Flags)...)
	p.Step("set memory policy", strings.Join(words, "|"))
	if mask == nil {
		p.Call(unix.SYS_SET_MEMPOLICY, program.Flag(mode, strings.Join(words, "|")), program.Num(0), program.Num(0))
		return nil
	}
	// The kernel looks at one bit less than it is told.
	p.Call(unix.SYS_SET_MEMPOLICY, program.Flag(mode, strings.Join(words, "|")), program.Mem(&mask[0], "{"+policy.Nodes+"}"), program.Num(maxNodes+1))
	return nil
}

func texts(list []specs.MemoryPolicyFlagType) []string {
	var out []string
	for _, f := range list {
		out = append(out, string(f))
	}
	slices.Sort(out)
	return out
}

// nodes reads "0-3,7" into a mask; nil where there is none.
func nodes(list string) ([]uint64, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	mask := make([]uint64, maxNodes/64+1)
	for part := range strings.SplitSeq(list, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			high = low
		}
		from, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("nodes %q: %q is not a number", list, low)
		}
		to, err := strconv.ParseUint(high, 10, 16)
		if err != nil || to < from || to >= maxNodes {
			return nil, fmt.Errorf("nodes %q: %q is no range below %d", list, part, maxNodes)
		}
		for n := from; n <= to; n++ {
			mask[n/64] |= 1 << (n % 64)
		}
	}
	return mask, nil
}
