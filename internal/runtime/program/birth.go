package program

import (
	"fmt"
	"os"
	"reflect"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program/layout"
)

// Birth has the child forget all memory that is not the rest of this program,
// and lets a copy of it go on; the child ends. The copy is a child of the
// caller's too, and the first process of the three that others may see: it is
// born into the pid namespace that the child has entered by setns. Nothing of
// the caller is in its memory, from its first moment.
//
// What follows may use numbers, registers and strings, and no other memory.
// A filter that is loaded before must let munmap, clone, write and exit_group pass.
//
// Descriptors from first up are closed, all but the one to the caller.
func (p *Program) Birth(first int) {
	p.births = true
	p.CloseOthers(first, p.child)
	p.add(op{kind: kindForget, out: -1, step: int32(len(p.steps) - 1)}, func() string { return "munmap(all but the rest of this program)" })
	o := op{kind: kindReborn, nr: unix.SYS_CLONE, out: -1, step: int32(len(p.steps) - 1)}
	o.args[0] = unix.CLONE_PARENT | uintptr(unix.SIGCHLD)
	p.add(o, func() string { return "clone(CLONE_PARENT|SIGCHLD), and the caller ends" })
}

// Born waits for Birth, and makes c the process that goes on. The error is a
// *Fault where it did not come to that; no process is left then.
func (c *Child) Born() error {
	msg, n := c.read()
	if n == len(msg)*4 && msg[0] >= 0 {
		// The copy may fail before the child has told its pid.
		later, m := c.read()
		if m == len(msg)*4 && later[0] == msgReborn {
			c.early, msg = &msg, later
		}
	}
	if n < len(msg)*4 || msg[0] != msgReborn {
		_ = unix.Close(c.sock)
		return c.failed(msg, n)
	}
	// It is ending; nobody waits for that.
	prepared := &Child{PidFD: c.PidFD}
	go prepared.reap()
	c.Pid, c.PidFD = int(msg[1]), -1
	// Nobody but us can reap it, so the number is its own still.
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		_ = unix.Close(c.sock)
		return fmt.Errorf("start: pid %d: %w", c.Pid, err)
	}
	c.PidFD = fd
	return nil
}

// moved is a string or a vector of strings that an instruction is given.
type moved struct {
	op, arg int
	words   []string
	vector  bool
}

func note(p *Program, at int, args []Arg) {
	for i, a := range args {
		switch {
		case a.str:
			p.moved = append(p.moved, moved{at, i, []string{a.text}, false})
		case a.words != nil:
			p.moved = append(p.moved, moved{at, i, a.words, true})
		}
	}
}

// arena is memory outside the Go heap with all that the child needs after it
// has forgotten the rest: instructions, registers, strings.
type arena struct {
	mem  []byte
	used uintptr
	ops  []op
	vals []uintptr
}

const word64 = unsafe.Sizeof(uintptr(0))

func (a *arena) take(n uintptr) unsafe.Pointer {
	at := unsafe.Pointer(&a.mem[a.used])
	a.used += (n + word64 - 1) &^ (word64 - 1)
	return at
}

func (a *arena) str(s string) uintptr {
	at := a.take(uintptr(len(s)) + 1)
	copy(unsafe.Slice((*byte)(at), len(s)), s)
	return uintptr(at)
}

// newArena copies the program. The registers are copied as they are now.
func newArena(p *Program) (*arena, error) {
	size := (uintptr(len(p.ops))*unsafe.Sizeof(op{}) + uintptr(len(p.vals))*word64) + 4*word64
	for _, m := range p.moved {
		size += uintptr(len(m.words)+1) * word64
		for _, s := range m.words {
			size += uintptr(len(s)) + 2*word64
		}
	}
	at, err := layout.Find(reflect.ValueOf(fork).Pointer())
	if err != nil {
		return nil, err
	}
	page := uintptr(os.Getpagesize())
	size = (size + page - 1) &^ (page - 1)
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("make memory for a start: %w", err)
	}
	a := &arena{mem: mem}
	a.ops = unsafe.Slice((*op)(a.take(uintptr(len(p.ops))*unsafe.Sizeof(op{}))), len(p.ops))
	copy(a.ops, p.ops)
	a.vals = unsafe.Slice((*uintptr)(a.take(uintptr(len(p.vals))*word64)), len(p.vals))
	copy(a.vals, p.vals)
	for _, m := range p.moved {
		if m.op < p.fork {
			continue
		}
		if !m.vector {
			a.ops[m.op].args[m.arg] = a.str(m.words[0])
			continue
		}
		vec := unsafe.Slice((*uintptr)(a.take(uintptr(len(m.words)+1)*word64)), len(m.words)+1)
		for i, s := range m.words {
			vec[i] = a.str(s)
		}
		a.ops[m.op].args[m.arg] = uintptr(unsafe.Pointer(&vec[0]))
	}
	for i := range a.ops {
		if o := &a.ops[i]; o.kind == kindForget && at.LibC {
			o.kind = kindSet // nothing: only tests are linked so
		} else if o.kind == kindForget {
			low := uintptr(unsafe.Pointer(&mem[0]))
			o.args = [6]uintptr{at.Binary[0], at.Binary[1], low, low + size, at.Top, page}
		}
	}
	return a, nil
}

func (a *arena) free() { _ = unix.Munmap(a.mem) }

// padSize makes the stack that a child runs on a large one: the runtime gives
// those out whole, while small ones have other goroutines' beside them.
const padSize = 40 << 10

// forkApart is fork on a part of the stack that holds nothing else: zeroes lie
// above and below.
//
//go:noinline
func forkApart(args *cloneArgs, ops []op, from int, regs []uintptr, sock uintptr) (uintptr, syscall.Errno) {
	var pad [padSize]byte
	clean(&pad)
	wipe()
	pid, errno := fork(args, ops, from, regs, sock)
	clean(&pad)
	return pid, errno
}

//go:noinline
func clean(pad *[padSize]byte) {
	for i := range pad {
		pad[i] = 0
	}
}

// wipe zeroes what lies below its caller on the stack.
//
//go:noinline
func wipe() {
	var below [16 << 10]byte
	wipeAll(&below)
}

//go:noinline
func wipeAll(b *[16 << 10]byte) {
	for i := range b {
		b[i] = 0
	}
}

// forget unmaps all but the binary, the arena and the pages of the stack around
// sp. The code that goes on uses no other memory.
//
//go:nosplit
//go:norace
func forget(o *op, sp uintptr) syscall.Errno {
	top, page := o.args[4], o.args[5]
	stack := sp&^(page-1) - page
	for low := uintptr(0); ; {
		next, end := top, top
		for i := range 3 {
			a, b := stack, stack+3*page
			if i < 2 {
				a, b = o.args[2*i], o.args[2*i+1]
			}
			if b > low && a < next {
				next, end = a, b
			}
		}
		if next > low {
			if _, _, e := syscall.RawSyscall6(unix.SYS_MUNMAP, low, next-low, 0, 0, 0, 0); e != 0 {
				return e
			}
		}
		if next == top {
			return 0
		}
		low = end
	}
}
