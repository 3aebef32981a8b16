package program

import (
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Fault is the instruction at which a program stopped.
type Fault struct {
	// Step is the name of the step, in words.
	Step string
	// Call is the name of the system call; empty for a check of our own.
	Call  string
	Errno unix.Errno
}

func (f *Fault) Error() string { return f.Step + ": " + f.Errno.Error() }

// Unwrap is the errno.
func (f *Fault) Unwrap() error { return f.Errno }

func (p *Program) fault(i int, e unix.Errno) *Fault {
	f := &Fault{Step: p.steps[p.ops[i].step].String(), Errno: e}
	if p.ops[i].kind == kindCall {
		f.Call = name(p.ops[i].nr)
	}
	return f
}

// link turns labels to places. A label that was never placed is a mistake of the builder.
func (p *Program) link() error {
	for i := range p.ops {
		o := &p.ops[i]
		for _, l := range []*Label{&o.onErr, &o.onOK} {
			if *l == 0 {
				continue
			}
			at := p.labels[*l]
			if at <= int32(i) || int(at) > len(p.ops) || (i < p.fork && int(at) > p.fork) {
				return fmt.Errorf("program: instruction %d jumps to %d", i, at)
			}
			*l = Label(at)
		}
	}
	return nil
}

// Prepare links the program and runs its first part. The error is a *Fault
// where the kernel refused. Close must be called in any case.
func (p *Program) Prepare() error {
	if p.verb {
		return fmt.Errorf("program: made for text, not to run")
	}
	if p.fork < 0 {
		p.fork = len(p.ops)
	}
	if err := p.link(); err != nil {
		return err
	}
	if breakAt != nil {
		p.breakOne()
	}
	for pc := 0; pc < p.fork; {
		o := &p.ops[pc]
		var a [6]uintptr
		for i, v := range o.args {
			if o.regs&(1<<i) != 0 {
				v = p.vals[v]
			}
			a[i] = v
		}
		var r uintptr
		var e unix.Errno
		switch o.kind {
		case kindCall:
			for try := 0; ; try++ {
				r, _, e = unix.Syscall6(o.nr, a[0], a[1], a[2], a[3], a[4], a[5])
				if !again(o.nr, e, try) {
					break
				}
			}
		case kindSet:
			r = a[0]
		case kindFail:
			return p.fault(pc, unix.Errno(a[0]))
		case kindStore:
			store(a[1], a[0])
		case kindCheck:
			if *word(o.args[0])&uint64(a[1]) != uint64(a[2]) {
				e = unix.Errno(a[3])
			}
		}
		next, ok := o.next(pc, e)
		if !ok {
			return p.fault(pc, e)
		}
		if e == 0 && o.out >= 0 {
			p.vals[o.out] = r
		}
		pc = next
	}
	runtime.KeepAlive(p.keep)
	return nil
}

// breakAt lets a test choose one instruction of a program that fails, by
// number among all; it is nil in every program.
var breakAt func(instructions int) int

func (p *Program) breakOne() {
	if i := breakAt(len(p.ops)); i >= 0 && i < len(p.ops) {
		o := &p.ops[i]
		*o = op{kind: kindFail, out: -1, step: o.step}
		o.args[0] = uintptr(unix.EL2HLT) // nothing tolerates it, and nothing else gives it
	}
}

// word is the memory at an address that Check took from a pointer which the
// program still keeps.
//
//go:nosplit
//go:nocheckptr
func word(addr uintptr) *uint64 { return *(**uint64)(unsafe.Pointer(&addr)) }

// store writes to an address that Store took from a pointer which the program
// still keeps.
//
//go:nosplit
//go:norace
//go:nocheckptr
func store(addr, value uintptr) { **(**int32)(unsafe.Pointer(&addr)) = int32(value) }

// next is where to go on after instruction pc ended with e.
//
//go:nosplit
//go:norace
func (o *op) next(pc int, e unix.Errno) (int, bool) {
	if e == 0 {
		if o.onOK != 0 {
			return int(o.onOK), true
		}
		return pc + 1, true
	}
	if o.onErr == 0 {
		return 0, false
	}
	if o.any {
		return int(o.onErr), true
	}
	for i := uint8(0); i < o.nerrs && i < maxErrs; i++ {
		if o.errs[i] == uint16(e) {
			return int(o.onErr), true
		}
	}
	return 0, false
}

// Close closes the descriptors that the first part opened and nobody took.
func (p *Program) Close() {
	for i, r := range p.regs {
		if r.owned && int(p.vals[i]) >= 0 {
			_ = unix.Close(int(p.vals[i]))
			p.vals[i] = ^uintptr(0)
		}
	}
}

// Child is a forked process that runs the second part.
type Child struct {
	Pid   int
	PidFD int
	p     *Program
	sock  int
	// late: it was silent for longer than patience, and was killed.
	late bool
	// early is a fault that came before the pid of the process that it is about.
	early *message
	// listen takes the descriptor of Listened.
	listen func(fd int) error
}

// patience bounds how long a child may be silent. All that takes its time, such
// as mounting, is done before the fork; what is left takes milliseconds.
var patience = time.Minute

// cloneArgs is struct clone_args of linux/sched.h, its version with cgroup.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal uint64
	stack, stackSize, tls, setTID, setTIDSize     uint64
	cgroup                                        uint64
}

// Start forks. flags are CLONE_NEW… bits; cgroup, where not negative, is the
// directory of a version 2 cgroup in which the child begins its life. The
// child runs at once, up to the first Wait.
func (p *Program) Start(flags uint64, cgroup int) (*Child, error) {
	p.pidfd = -1
	args := &cloneArgs{
		flags:      flags | unix.CLONE_PIDFD,
		pidfd:      uint64(uintptr(unsafe.Pointer(&p.pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	// Held from the pair's making to the close of the child's end, so that no
	// other child of ours inherits it: our read must end when this child execs.
	syscall.ForkLock.Lock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		syscall.ForkLock.Unlock()
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	p.vals[p.parent], p.vals[p.child] = uintptr(pair[0]), uintptr(pair[1])
	pid, errno, err := forkChild(p, args, uintptr(pair[1]))
	_ = unix.Close(pair[1])
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p.keep)
	runtime.KeepAlive(p)
	if err == nil && errno != 0 {
		err = fmt.Errorf("clone: %w", errno)
	}
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, err
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	_ = unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit) // a socket of ours takes it
	return &Child{Pid: int(pid), PidFD: int(p.pidfd), p: p, sock: pair[0]}, nil
}

func forkChild(p *Program, args *cloneArgs, sock uintptr) (uintptr, syscall.Errno, error) {
	if !p.births {
		pid, errno := fork(args, p.ops, p.fork, p.vals, sock)
		return pid, errno, nil
	}
	a, err := newArena(p)
	if err != nil {
		return 0, 0, err
	}
	defer a.free()
	pid, errno := forkApart(args, a.ops, p.fork, a.vals, sock)
	return pid, errno, nil
}

// Continue lets a waiting child go on.
func (c *Child) Continue() error {
	_, err := unix.Write(c.sock, []byte{1})
	return err
}

// Kill ends a child that has not become its command, and reaps it.
func (c *Child) Kill() {
	_ = unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0)
	_ = unix.Close(c.sock)
	c.reap()
}

func (c *Child) reap() {
	for {
		err := unix.Waitid(unix.P_PIDFD, c.PidFD, nil, unix.WEXITED, nil)
		if err != unix.EINTR {
			break
		}
	}
	_ = unix.Close(c.PidFD)
	c.PidFD = -1
}
