package program

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime's own hooks around a fork: they block signals, forbid stack
// growth, and in the child take the runtime's signal handlers away.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// fork clones and runs ops[from:] in the child. The child has a copy of the
// address space, but only this thread: no lock may be taken, nothing allocated,
// no stack grown. A raw system call is all that is safe there.
//
//go:norace
//go:noinline
func fork(args *cloneArgs, ops []op, from int, regs []uintptr, sock uintptr) (uintptr, syscall.Errno) {
	beforeFork()
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	run(ops, from, regs, sock)
	return 0, 0
}

// run interprets the second part. It does not return.
//
//go:nosplit
//go:norace
func run(ops []op, pc int, regs []uintptr, sock uintptr) {
	var msg [2]int32
	for pc < len(ops) {
		o := &ops[pc]
		var r uintptr
		var e syscall.Errno
		switch o.kind {
		case kindCall:
			r, e = call(o, regs)
		case kindSet:
			r = value(o, regs, 0)
		case kindFail:
			e = syscall.Errno(o.args[0])
		case kindCheck:
			if *word(o.args[0])&uint64(o.args[1]) != uint64(o.args[2]) {
				e = syscall.Errno(o.args[3])
			}
		case kindSignals:
			defaults()
		case kindStore:
			store(o.args[1], value(o, regs, 0))
		case kindClose:
			e = closeOthers(o, regs)
		case kindTell:
			msg[0], msg[1] = msgListener, int32(value(o, regs, 0))
			_, _, e = syscall.RawSyscall6(unix.SYS_WRITE, sock, uintptr(unsafe.Pointer(&msg)), unsafe.Sizeof(msg), 0, 0, 0)
		case kindSpin:
			e = spin(o.args[0])
		case kindForget:
			e = forget(o, uintptr(unsafe.Pointer(&msg)))
		case kindReborn:
			r, e = call(o, regs)
			if e == 0 && r != 0 {
				msg[0], msg[1] = msgReborn, int32(r)
				leave(&msg, sock, 0)
			}
		}
		next, ok := o.next(pc, e)
		if !ok {
			msg[0], msg[1] = int32(pc), int32(e)
			break
		}
		if e == 0 && o.out >= 0 {
			regs[o.out] = r
		}
		pc = next
	}
	if pc >= len(ops) {
		msg[0], msg[1] = int32(len(ops)-1), int32(unix.ENOEXEC)
	}
	leave(&msg, sock, 125)
}

// leave ends the process with a last word to the caller.
//
//go:nosplit
//go:norace
func leave(msg *[2]int32, sock, code uintptr) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_WRITE, sock, uintptr(unsafe.Pointer(msg)), unsafe.Sizeof(*msg), 0, 0, 0)
	for {
		_, _, _ = syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func value(o *op, regs []uintptr, i int) uintptr {
	if o.regs&(1<<i) != 0 {
		return regs[o.args[i]]
	}
	return o.args[i]
}

//go:nosplit
//go:norace
func call(o *op, regs []uintptr) (uintptr, syscall.Errno) {
	for try := 0; ; try++ {
		r, _, e := syscall.RawSyscall6(o.nr, value(o, regs, 0), value(o, regs, 1), value(o, regs, 2),
			value(o, regs, 3), value(o, regs, 4), value(o, regs, 5))
		if !again(o.nr, e, try) {
			return r, e
		}
	}
}

// maxAgain bounds how often a path is looked up anew.
const maxAgain = 10000

// again says whether a call is to be repeated. EAGAIN of openat2 means that
// something, anywhere on the machine, was renamed or mounted while the kernel
// looked at a "..": it then cannot say whether that led out of the root.
//
//go:nosplit
//go:norace
func again(nr uintptr, e syscall.Errno, try int) bool {
	return e == syscall.EINTR || e == syscall.EAGAIN && nr == unix.SYS_OPENAT2 && try < maxAgain
}

// sigaction is the kernel's struct with every field zero: SIG_DFL.
type sigaction [4]uint64

//go:nosplit
//go:norace
func defaults() {
	var act sigaction
	for sig := uintptr(1); sig <= 64; sig++ {
		// SIGKILL and SIGSTOP refuse, and have their default anyway.
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	}
}
