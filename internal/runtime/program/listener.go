package program

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listened adds what load adds, a call that returns a new descriptor and after
// which the child may have no system call left that is its own to make: every one
// may be refused, or wait for whoever holds that descriptor. So the child says
// beforehand which number it will have, and afterwards waits by looking at a word
// of its memory until the caller has taken a copy and written there.
func (p *Program) Listened(load func()) {
	next := p.Given("next", ^uintptr(0))
	// The lowest free number is the next that is given.
	p.Call(unix.SYS_FCNTL, R(p.child), Flag(uint(unix.F_DUPFD_CLOEXEC), "F_DUPFD_CLOEXEC"), Num(0)).Into(next)
	p.Call(unix.SYS_CLOSE, R(next))
	o := op{kind: kindTell, regs: 1, out: -1, step: int32(len(p.steps) - 1)}
	o.args[0] = uintptr(next)
	p.add(o, func() string { return "tell the caller that the listener will be " + p.regs[next].name })
	load()
	p.taken = new(uint64)
	p.keep = append(p.keep, unsafe.Pointer(p.taken))
	o = op{kind: kindSpin, out: -1, step: int32(len(p.steps) - 1)}
	o.args[0] = uintptr(unsafe.Pointer(p.taken))
	p.add(o, func() string { return "wait until the caller has the listener" })
}

// spins bounds the wait to some seconds: a caller that is gone never writes.
const spins = 1 << 32

//go:nosplit
//go:norace
func spin(addr uintptr) syscall.Errno {
	for range uint64(spins) {
		if atomic.LoadUint64(word(addr)) != 0 {
			return 0
		}
	}
	return syscall.ETIMEDOUT
}

// OnListener has f called with a copy of the descriptor of Listened, which f
// closes, before the child goes on.
func (c *Child) OnListener(f func(fd int) error) { c.listen = f }

// listenerTime bounds how long the child may take to load its filter.
const listenerTime = 10 * time.Second

// takeListener copies the child's descriptor of that number as soon as it is there.
func (c *Child) takeListener(number int) error {
	fd := -1
	for deadline := time.Now().Add(listenerTime); fd < 0; {
		var err error
		switch fd, err = unix.PidfdGetfd(c.PidFD, number, 0); {
		case err == nil:
		case err != unix.EBADF:
			return fmt.Errorf("take seccomp listener: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("take seccomp listener: %w", unix.ETIMEDOUT)
		default:
			// A word of the child is that the filter was refused.
			poll := []unix.PollFd{{Fd: int32(c.sock), Events: unix.POLLIN}}
			if n, _ := unix.Poll(poll, 1); n > 0 {
				return nil
			}
		}
	}
	if c.listen == nil {
		_ = unix.Close(fd)
		return fmt.Errorf("take seccomp listener: nobody wants it")
	}
	if err := c.listen(fd); err != nil {
		return err
	}
	one := uint64(1)
	local := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&one)), Len: 8}}
	remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(c.p.taken)), Len: 8}}
	if _, err := unix.ProcessVMWritev(c.Pid, local, remote, 0); err != nil {
		return fmt.Errorf("let the process go on after its seccomp filter: %w", err)
	}
	return nil
}
