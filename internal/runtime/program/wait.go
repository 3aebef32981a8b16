package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a child writes to its caller is a message of two 32-bit words: the
// number of an instruction with an errno, or one of these with a zero.
const (
	msgPaused   = -1 // it waits for Continue
	msgWaiting  = -2 // it waits for a connection, and reports there from now on
	msgGoing    = -3 // it has the connection: what ends it without a fault from here on is its command
	msgListener = -4 // with a descriptor's number: see Listened
	msgReborn   = -3 // with a pid instead of the zero: that process goes on in its place
)

// message is one message of a child.
type message [2]int32

// Wait makes the child wait for Continue, or end where the caller has gone.
func (p *Program) Wait() {
	buf := new(uint64)
	if !p.alone {
		// The child's copy of the caller's end would keep the pair open.
		p.Call(unix.SYS_CLOSE, R(p.parent))
		p.alone = true
	}
	p.Call(unix.SYS_READ, R(p.child), Mem(buf, "go"), Num(1))
	p.Check("go == 1", buf, 0xff, 1, unix.ECHILD)
}

// Pause tells the caller that the child has come this far, and makes it wait
// for Continue, or end where the caller has gone.
func (p *Program) Pause() {
	p.say(msgPaused, "paused")
	p.Wait()
}

// AwaitStart makes the child wait until somebody connects to the socket that
// listens at listen. Exec returns then. Whoever connects reads the end of file
// when the child has become its command, and a message where it could not.
// Descriptors from keep up are closed, all but the two sockets: those of the
// caller are not the child's to hold while it waits.
func (p *Program) AwaitStart(listen Reg, keep int) {
	p.CloseOthers(keep, p.child, listen)
	p.say(msgWaiting, "waiting")
	p.waits = len(p.ops)
	conn := p.FD("connection")
	p.Call(unix.SYS_ACCEPT4, R(listen), Num(0), Num(0), Flag(unix.SOCK_CLOEXEC, "SOCK_CLOEXEC")).Into(conn)
	// From here on the interpreter's word about a failure goes to the connection.
	p.Call(unix.SYS_DUP3, R(conn), R(p.child), Flag(unix.O_CLOEXEC, "O_CLOEXEC"))
	p.say(msgGoing, "going")
}

func (p *Program) say(what int32, text string) {
	msg := &message{what}
	p.Call(unix.SYS_WRITE, R(p.child), Mem(msg, text), Num(unsafe.Sizeof(*msg)))
}

// CloseOthers closes the descriptors from first up, all but those in keep, of
// which there may be six.
func (p *Program) CloseOthers(first int, keep ...Reg) {
	o := op{kind: kindClose, nr: uintptr(first), out: -1, step: int32(len(p.steps) - 1)}
	for i := range o.args {
		o.args[i] = uintptr(keep[min(i, len(keep)-1)])
		o.regs |= 1 << i
	}
	p.add(o, func() string {
		text := fmt.Sprintf("close_range(%d, ~0) but", first)
		for _, r := range keep {
			text += " " + p.regs[r].name
		}
		return text
	})
}

// closeOthers closes the ranges between the descriptors that are kept.
//
//go:nosplit
//go:norace
func closeOthers(o *op, regs []uintptr) syscall.Errno {
	for low := o.nr; ; {
		next := ^uintptr(0)
		for i := range o.args {
			if v := value(o, regs, i); v >= low && v < next {
				next = v
			}
		}
		high := uintptr(^uint32(0))
		if next != ^uintptr(0) {
			high = next - 1
		}
		if high+1 > low {
			if _, _, e := syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, low, high, 0, 0, 0, 0); e != 0 {
				return e
			}
		}
		if next == ^uintptr(0) {
			return 0
		}
		low = next + 1
	}
}

// Faults are the names of those instructions that run while nobody who knows
// the program is left: what AwaitStart's connection says is read with them.
type Faults struct {
	// From is the number of the first.
	From int `json:"from"`
	// Steps and Calls are the names of the steps and of the system calls.
	Steps []string `json:"steps"`
	Calls []string `json:"calls"`
}

// Faults gives the names from AwaitStart on; nil where the program has none.
func (p *Program) Faults() *Faults {
	if p.waits == 0 {
		return nil
	}
	f := &Faults{From: p.waits}
	for i := p.waits; i < len(p.ops); i++ {
		fault := p.fault(i, 0)
		f.Steps, f.Calls = append(f.Steps, fault.Step), append(f.Calls, fault.Call)
	}
	return f
}

// Read reads what a child says on its connection, to the end. The error is a
// *Fault where the child could not become its command.
func (f *Faults) Read(conn io.Reader) error {
	var msg message
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&msg)), unsafe.Sizeof(msg))
	going := false
	n, err := io.ReadFull(conn, buf)
	if err == nil && msg[0] == msgGoing {
		going = true
		n, err = io.ReadFull(conn, buf)
	}
	i := int(msg[0]) - f.From
	switch {
	case errors.Is(err, io.EOF) && going:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		return errors.New("the process ended before it came to its command")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, os.ErrClosed):
		return fmt.Errorf("start: %w", err)
	case err != nil || i < 0 || i >= len(f.Steps) || i >= len(f.Calls):
		return fmt.Errorf("start: the child answered with %d bytes, about instruction %d", n, msg[0])
	}
	return &Fault{Step: f.Steps[i], Call: f.Calls[i], Errno: unix.Errno(msg[1])}
}

// Paused waits until the child comes to Pause. The error is a *Fault where it
// did not; the child is then gone and reaped.
func (c *Child) Paused() error {
	msg, n := c.read()
	if n == len(msg)*4 && msg[0] == msgPaused {
		return nil
	}
	_ = unix.Close(c.sock)
	return c.failed(msg, n)
}

// Exec waits until the child has become its command, or has come to
// AwaitStart. The error is a *Fault where it could not; the child is then gone
// and reaped.
func (c *Child) Exec() error {
	var msg message
	n := len(msg) * 4
	if c.early != nil {
		msg = *c.early
	} else {
		msg, n = c.read()
	}
	if n == len(msg)*4 && msg[0] == msgListener {
		if err := c.takeListener(int(msg[1])); err != nil {
			c.Kill()
			return err
		}
		return c.Exec()
	}
	_ = unix.Close(c.sock)
	if n == 0 && c.p.waits == 0 && !c.late || n == len(msg)*4 && msg[0] == msgWaiting {
		return nil
	}
	return c.failed(msg, n)
}

// read reads one message, and says how many bytes came before the end of file.
func (c *Child) read() (msg message, n int) {
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&msg)), unsafe.Sizeof(msg))
	for n < len(buf) {
		m, err := unix.Read(c.sock, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN && !c.late {
			// What it waits for may never come, or it was stopped. Its end is the
			// end of file; a second silence is a child that not even a signal ends.
			c.late = true
			_ = unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0)
			continue
		}
		if m <= 0 {
			break
		}
		n += m
	}
	return msg, n
}

// failed reaps a child that answered with a fault, or not at all.
func (c *Child) failed(msg message, n int) error {
	if c.late {
		go c.reap()
		return fmt.Errorf("start: the child did not become its command within %v: %w", patience, unix.ETIMEDOUT)
	}
	c.reap()
	if n < len(msg)*4 || msg[0] < 0 || int(msg[0]) >= len(c.p.ops) {
		return fmt.Errorf("start: the child answered with %d bytes", n)
	}
	return c.p.fault(int(msg[0]), unix.Errno(msg[1]))
}
