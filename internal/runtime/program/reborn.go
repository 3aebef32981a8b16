package program

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reborn lets a copy of the child go on in new namespaces, the CLONE_NEW… bits
// of flags, and ends the child. The copy is a child of the caller's as well, and
// waits until this has called Child.Reborn. A new pid namespace below a user
// namespace that was joined has no other way: whoever makes it is not in it.
func (p *Program) Reborn(flags uint64, text string) {
	args := &cloneArgs{flags: flags | unix.CLONE_PARENT}
	p.keep = append(p.keep, unsafe.Pointer(args))
	o := op{kind: kindReborn, nr: unix.SYS_CLONE3, out: -1, step: int32(len(p.steps) - 1)}
	// As with Check, the arguments live on the Go heap, which does not move.
	o.args[0], o.args[1] = uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args)
	p.add(o, func() string { return "clone3(CLONE_PARENT|" + text + "), and the caller ends" })
	p.Wait()
}

// Reborn waits until the child has come to the instruction of that name, and
// makes c the process that goes on. The error is a *Fault where it did not; no
// process is left then.
func (c *Child) Reborn() error {
	msg, n := c.read()
	if n < len(msg)*4 || msg[0] != msgReborn {
		_ = unix.Close(c.sock)
		return c.failed(msg, n)
	}
	c.reap()
	c.Pid = int(msg[1])
	// Nobody but us can reap it, so the number is its own still.
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		_ = unix.Close(c.sock)
		return fmt.Errorf("start: pid %d: %w", c.Pid, err)
	}
	c.PidFD = fd
	// A process that is gone shows at the next read.
	_ = c.Continue()
	return nil
}
