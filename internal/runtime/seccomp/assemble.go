package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/seccomp/table"
)

// Offsets in struct seccomp_data of linux/seccomp.h.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// code is a piece of a program that every path through leaves by a return.
// Pieces hold no absolute places, so they can be put one behind another.
type code []bpf.Instruction

// assemble makes the whole filter.
func assemble(s *specs.LinuxSeccomp) ([]bpf.RawInstruction, error) {
	arches, err := targets(s)
	if err != nil {
		return nil, err
	}
	byAudit := map[uint32]code{}
	var order []uint32
	for _, arch := range arches {
		list, err := spans(s, arch)
		if err != nil {
			return nil, err
		}
		if arch.Name == specs.ArchX32 {
			continue
		}
		if arch.Name == specs.ArchX86_64 {
			if list, err = withX32(s, arches, list); err != nil {
				return nil, err
			}
		}
		tree, err := finder{arch.Big, arch.Narrow}.tree(list)
		if err != nil {
			return nil, err
		}
		byAudit[arch.Audit] = append(code{bpf.LoadAbsolute{Off: offNumber, Size: 4}}, tree...)
		order = append(order, arch.Audit)
	}
	program := code{bpf.LoadAbsolute{Off: offArch, Size: 4}}
	for _, audit := range order {
		body := byAudit[audit]
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: audit, SkipFalse: 1},
			bpf.Jump{Skip: 1}, bpf.Jump{Skip: uint32(len(body))})
		program = append(program, body...)
	}
	// A convention that nobody wrote rules for could mean anything by a number.
	program = append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS})
	if len(program) > maxInsns {
		return nil, invalid("the filter has %d instructions, the kernel takes %d", len(program), maxInsns)
	}
	return bpf.Assemble(program)
}

// withX32 adds the numbers of the x32 convention, which share the architecture.
// Without rules of their own those calls are not there.
func withX32(s *specs.LinuxSeccomp, arches []table.Arch, list []span) ([]span, error) {
	for _, arch := range arches {
		if arch.Name != specs.ArchX32 {
			continue
		}
		own, err := spans(s, arch)
		if err != nil {
			return nil, err
		}
		for i := range own {
			own[i].narrow = true
		}
		// The last that begins below the convention's first number reaches into it.
		i := 0
		for i+1 < len(own) && own[i+1].first <= table.X32 {
			i++
		}
		own[i].first = table.X32
		return append(list, own[i:]...), nil
	}
	return append(list, span{first: table.X32, ret: unix.SECCOMP_RET_KILL_PROCESS}), nil
}

// finder writes the code for an architecture whose arguments lie so in memory.
type finder struct{ big, narrow bool }

// tree finds the span of the number in the accumulator.
func (f finder) tree(list []span) (code, error) {
	if len(list) == 1 {
		return f.leaf(list[0])
	}
	mid := len(list) / 2
	low, err := f.tree(list[:mid])
	if err != nil {
		return nil, err
	}
	high, err := f.tree(list[mid:])
	if err != nil {
		return nil, err
	}
	var out code
	if len(low) <= 255 {
		out = code{bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: list[mid].first, SkipTrue: uint8(len(low))}}
	} else {
		// A conditional jump reaches 255 instructions; an unconditional one all.
		out = code{
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: list[mid].first, SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(low))},
		}
	}
	return append(append(out, low...), high...), nil
}

// leaf asks the rules of one call in turn.
func (f finder) leaf(sp span) (code, error) {
	var out code
	for _, r := range sp.rules {
		part, err := finder{f.big, f.narrow || sp.narrow}.match(r)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return append(out, bpf.RetConstant{Val: sp.ret}), nil
}

// match returns where all conditions of r hold, and goes on behind itself where
// one does not.
func (f finder) match(r rule) (code, error) {
	// From the last condition to the first, so that the way to the end is known.
	tail := code{bpf.RetConstant{Val: r.ret}}
	for i := len(r.args) - 1; i >= 0; i-- {
		part, err := f.compare(r.args[i], uint8(len(tail)))
		if err != nil {
			return nil, err
		}
		tail = append(part, tail...)
	}
	return tail, nil
}

// compare goes on behind itself where the condition holds, and skips further
// behind that where it does not. Arguments have 64 bits, the accumulator 32.
func (f finder) compare(a specs.LinuxSeccompArg, skip uint8) (code, error) {
	low := bpf.LoadAbsolute{Off: offArgs + 8*uint32(a.Index), Size: 4}
	high := bpf.LoadAbsolute{Off: low.Off + 4, Size: 4}
	if f.big {
		low, high = high, low
	}
	value, mask := a.Value, ^uint64(0)
	var masked []bpf.Instruction
	if a.Op == specs.OpMaskedEqual {
		value, mask = a.ValueTwo&a.Value, a.Value
		if never := a.ValueTwo &^ a.Value; never != 0 && !f.narrow || uint32(never) != 0 {
			// Never true: the mask takes bits away that are asked for.
			return code{bpf.Jump{Skip: uint32(skip)}}, nil
		}
		masked = []bpf.Instruction{bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(mask)}}
	}
	hi, lo := uint32(value>>32), uint32(value)
	if f.narrow {
		return half(a.Op, append(code{low}, masked...), lo, skip)
	}
	switch a.Op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		n := uint8(len(masked))
		out := code{high}
		if n > 0 {
			out = append(out, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(mask >> 32)})
		}
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: hi, SkipFalse: skip + 2 + n}, low)
		out = append(out, masked...)
		return append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: lo, SkipFalse: skip}), nil
	case specs.OpNotEqual:
		return code{
			high, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: hi, SkipTrue: 2},
			low, bpf.JumpIf{Cond: bpf.JumpEqual, Val: lo, SkipTrue: skip},
		}, nil
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		cond := bpf.JumpGreaterThan
		if a.Op == specs.OpGreaterEqual {
			cond = bpf.JumpGreaterOrEqual
		}
		return code{
			high, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: hi, SkipTrue: 3},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: hi, SkipFalse: skip + 2},
			low, bpf.JumpIf{Cond: cond, Val: lo, SkipFalse: skip},
		}, nil
	case specs.OpLessThan, specs.OpLessEqual:
		cond := bpf.JumpGreaterOrEqual
		if a.Op == specs.OpLessEqual {
			cond = bpf.JumpGreaterThan
		}
		return code{
			high, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: hi, SkipTrue: skip + 3},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: hi, SkipFalse: 2},
			low, bpf.JumpIf{Cond: cond, Val: lo, SkipTrue: skip},
		}, nil
	default:
		return nil, invalid("unknown operator %q", a.Op)
	}
}

// half compares the lower half alone, which load has put in the accumulator.
func half(op specs.LinuxSeccompOperator, load code, value uint32, skip uint8) (code, error) {
	jump := bpf.JumpIf{Val: value, SkipFalse: skip}
	switch op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		jump.Cond = bpf.JumpEqual
	case specs.OpGreaterThan:
		jump.Cond = bpf.JumpGreaterThan
	case specs.OpGreaterEqual:
		jump.Cond = bpf.JumpGreaterOrEqual
	case specs.OpNotEqual:
		jump = bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: skip}
	case specs.OpLessThan:
		jump = bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: value, SkipTrue: skip}
	case specs.OpLessEqual:
		jump = bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: value, SkipTrue: skip}
	default:
		return nil, invalid("unknown operator %q", op)
	}
	return append(load, jump), nil
}
