// Package program is a start written down as data: an array of system calls
// with their arguments prepared in memory. The first part runs in the calling
// process, the rest in a forked child, which may not allocate, grow its stack
// or take a lock, and so interprets the array with raw system calls only.
//
// A program has registers, which hold what earlier calls returned (mostly file
// descriptors), forward jumps on success or on a tolerated errno, and checks of
// memory that the kernel has filled. It prints as text, much as strace would.
package program

import (
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reg is a register of a program.
type Reg uint16

// Label is a place further down in the program.
type Label int32

type kind uint8

const (
	kindCall kind = iota
	kindSet
	kindFail
	kindCheck
	kindSignals
	kindForget
	kindTell
	kindSpin
	kindReborn
	kindStore // a register, into memory
	kindClose // all descriptors from nr up but those in args
)

// maxErrs is how many errnos one call can tolerate by name.
const maxErrs = 4

// op is one instruction. It holds no Go pointer, so that the child touches
// nothing that the garbage collector knows.
type op struct {
	nr    uintptr
	args  [6]uintptr
	regs  uint8 // bit i: args[i] is the number of a register
	kind  kind
	nerrs uint8
	any   bool // every errno is tolerated
	out   int32
	onErr Label
	onOK  Label
	step  int32
	errs  [maxErrs]uint16
}

// step is a named group of instructions; its name is what an error says.
type step struct{ verb, object string }

func (s step) String() string {
	if s.object == "" {
		return s.verb
	}
	return s.verb + " " + s.object
}

type register struct {
	name  string
	owned bool // a descriptor that the parent closes after the fork
}

// Program is built once, run once and then released.
type Program struct {
	// pidfd is where the kernel writes the child's: a field, since the kernel
	// gets its address as a number, and a stack may move before the call.
	pidfd  int32
	ops    []op
	steps  []step
	regs   []register
	vals   []uintptr
	labels []int32
	fork   int
	verb   bool
	text   []string
	keep   []unsafe.Pointer
	// births: the program has a Birth, and moved is what then lives outside the heap.
	births bool
	// taken is what a child with a listener waits for.
	taken  *uint64
	moved  []moved
	parent Reg
	child  Reg
	alone  bool // the child has closed the caller's end
	waits  int  // the first instruction after AwaitStart's message
}

// New returns an empty program. With text it also writes down each instruction
// for String, and is not meant to run.
func New(text bool) *Program {
	p := &Program{
		ops:   make([]op, 0, 512),
		steps: make([]step, 0, 64),
		regs:  make([]register, 0, 128),
		vals:  make([]uintptr, 0, 128),
		keep:  make([]unsafe.Pointer, 0, 512),
		fork:  -1,
		verb:  text,
	}
	p.labels = append(p.labels, 0) // label 0 means none
	p.parent = p.Given("parent", ^uintptr(0))
	p.child = p.Given("self", ^uintptr(0))
	return p
}

// Given is a register with a value known beforehand, which stays the caller's.
func (p *Program) Given(name string, value uintptr) Reg {
	p.regs = append(p.regs, register{name: name})
	p.vals = append(p.vals, value)
	return Reg(len(p.regs) - 1)
}

// FD is a register for a descriptor. One that the first part opens is closed
// in the calling process by Close.
func (p *Program) FD(name string) Reg {
	r := p.Given(name, ^uintptr(0))
	p.regs[r].owned = true
	return r
}

// Take hands the descriptor in r to the caller: Close leaves it open.
func (p *Program) Take(r Reg) int {
	p.regs[r].owned = false
	return int(p.vals[r])
}

// Value is what r holds in the calling process.
func (p *Program) Value(r Reg) int { return int(p.vals[r]) }

// Step begins a named step: errors of what follows carry verb and object.
func (p *Program) Step(verb, object string) {
	p.steps = append(p.steps, step{verb, object})
}

// Fork ends the part that runs in the calling process.
func (p *Program) Fork() {
	p.fork = len(p.ops)
}

// Label makes a label that Here places.
func (p *Program) Label() Label {
	p.labels = append(p.labels, -1)
	return Label(len(p.labels) - 1)
}

// Here places l before the next instruction.
func (p *Program) Here(l Label) { p.labels[l] = int32(len(p.ops)) }

// Call is an instruction just added, to be refined.
type Call struct {
	p *Program
	i int
}

// Call adds a system call.
func (p *Program) Call(nr uintptr, args ...Arg) Call {
	o := op{nr: nr, out: -1, step: int32(len(p.steps) - 1)}
	note(p, len(p.ops), args)
	for i, a := range args {
		o.args[i] = a.val
		if a.reg {
			o.regs |= 1 << i
		}
		if a.ptr != nil {
			p.keep = append(p.keep, a.ptr)
		}
	}
	p.add(o, func() string {
		words := make([]string, len(args))
		for i, a := range args {
			words[i] = a.render(p)
		}
		return name(nr) + "(" + strings.Join(words, ", ") + ")"
	})
	return Call{p, len(p.ops) - 1}
}

// Set loads a value into a register.
func (p *Program) Set(r Reg, a Arg) Call {
	if a.ptr != nil {
		p.keep = append(p.keep, a.ptr)
	}
	note(p, len(p.ops), []Arg{a})
	o := op{kind: kindSet, out: int32(r), step: int32(len(p.steps) - 1)}
	o.args[0] = a.val
	if a.reg {
		o.regs = 1
	}
	p.add(o, func() string { return a.render(p) })
	return Call{p, len(p.ops) - 1}
}

// Fail ends the program with e.
func (p *Program) Fail(e unix.Errno) {
	o := op{kind: kindFail, out: -1, step: int32(len(p.steps) - 1)}
	o.args[0] = uintptr(e)
	p.add(o, func() string { return "fail " + unix.ErrnoName(e) })
}

// Signals puts every signal back to its default action: an ignored one would
// stay ignored in the container's command.
func (p *Program) Signals() {
	p.add(op{kind: kindSignals, out: -1, step: int32(len(p.steps) - 1)},
		func() string { return "rt_sigaction(1..64, SIG_DFL)" })
}

// Check compares the 64-bit word at addr, which an earlier call has filled,
// under mask with want; where they differ it behaves as a call that failed with e.
func (p *Program) Check(what string, addr *uint64, mask, want uint64, e unix.Errno) Call {
	p.keep = append(p.keep, unsafe.Pointer(addr))
	o := op{kind: kindCheck, out: -1, step: int32(len(p.steps) - 1)}
	// The word lives on the Go heap, which does not move, and is kept by p.keep.
	o.args = [6]uintptr{uintptr(unsafe.Pointer(addr)), uintptr(mask), uintptr(want), uintptr(e)}
	p.add(o, func() string { return "check " + what + " else " + unix.ErrnoName(e) })
	return Call{p, len(p.ops) - 1}
}

// Store writes what r holds to the word at addr, which a later call reads.
func Store(p *Program, addr *int32, r Reg) {
	p.keep = append(p.keep, unsafe.Pointer(addr))
	o := op{kind: kindStore, out: -1, step: int32(len(p.steps) - 1), regs: 1}
	o.args[0], o.args[1] = uintptr(r), uintptr(unsafe.Pointer(addr))
	p.add(o, func() string { return "store " + p.regs[r].name })
}

func (p *Program) add(o op, text func() string) {
	if len(p.steps) == 0 {
		panic("program: an instruction before the first step")
	}
	p.ops = append(p.ops, o)
	if p.verb {
		p.text = append(p.text, text())
	}
}

// Into keeps the call's result in r.
func (c Call) Into(r Reg) Call {
	c.p.ops[c.i].out = int32(r)
	return c
}

// OK goes on at l where the call succeeds.
func (c Call) OK(l Label) Call {
	c.p.ops[c.i].onOK = l
	return c
}

// Err goes on at l where the call fails with one of errs, or with any errno
// where none is named.
func (c Call) Err(l Label, errs ...unix.Errno) Call {
	o := &c.p.ops[c.i]
	o.onErr = l
	o.any = len(errs) == 0
	if len(errs) > maxErrs {
		panic("program: too many tolerated errnos")
	}
	o.nerrs = uint8(len(errs))
	for i, e := range errs {
		o.errs[i] = uint16(e)
	}
	return c
}

// Tolerate goes on with the next instruction where the call fails with one of
// errs, or with any errno where none is named.
func (c Call) Tolerate(errs ...unix.Errno) Call {
	l := c.p.Label()
	c.p.labels[l] = int32(c.i + 1)
	return c.Err(l, errs...)
}

// String is the program as text: one step a paragraph, one instruction a line.
func (p *Program) String() string {
	var b strings.Builder
	last := int32(-1)
	b.WriteString("parent:\n")
	for i := range p.ops {
		o := &p.ops[i]
		if i == p.fork {
			b.WriteString("child:\n")
			last = -1
		}
		if o.step != last {
			last = o.step
			b.WriteString("  " + p.steps[o.step].String() + "\n")
		}
		b.WriteString("    " + strconv.Itoa(i) + " " + p.text[i])
		if o.out >= 0 {
			b.WriteString(" -> " + p.regs[o.out].name)
		}
		if o.onOK != 0 {
			b.WriteString(" [ok: " + strconv.Itoa(int(p.labels[o.onOK])) + "]")
		}
		if o.onErr != 0 {
			names := make([]string, 0, maxErrs)
			for _, e := range o.errs[:o.nerrs] {
				names = append(names, unix.ErrnoName(unix.Errno(e)))
			}
			if o.any {
				names = append(names, "any error")
			}
			b.WriteString(" [" + strings.Join(names, ", ") + ": " + strconv.Itoa(int(p.labels[o.onErr])) + "]")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
