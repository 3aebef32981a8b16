package link

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// batch is a run of rtnetlink requests in one buffer. The kernel works through
// them in order and answers each with an acknowledgement; a failed one does not
// stop those behind it. Layouts: rtnetlink(7), include/uapi/linux/rtnetlink.h.
type batch struct {
	buf   []byte
	start int
	names []string
}

// begin starts a request with its fixed header already encoded.
func (b *batch) begin(name string, kind, flags uint16, header []byte) {
	b.end()
	b.start = len(b.buf)
	b.names = append(b.names, name)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, uint32(len(b.names)))
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = append(b.buf, header...)
}

// end writes the length of the request that is open, if one is.
func (b *batch) end() {
	if len(b.names) > 0 {
		binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
	}
}

func (b *batch) attr(kind uint16, value []byte) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(4+len(value)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = append(b.buf, value...)
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) attr32(kind uint16, v uint32) {
	b.attr(kind, binary.NativeEndian.AppendUint32(nil, v))
}

func (b *batch) attrString(kind uint16, s string) { b.attr(kind, append([]byte(s), 0)) }

// nest writes an attribute whose value is what fill appends.
func (b *batch) nest(kind uint16, fill func()) {
	at := len(b.buf)
	b.attr(kind|unix.NLA_F_NESTED, nil)
	fill()
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

// ifinfo is struct ifinfomsg; flags are set where change has them.
func ifinfo(index int32, flags, change uint32) []byte {
	h := make([]byte, 0, unix.SizeofIfInfomsg)
	h = append(h, unix.AF_UNSPEC, 0, 0, 0)
	h = binary.NativeEndian.AppendUint32(h, uint32(index))
	h = binary.NativeEndian.AppendUint32(h, flags)
	return binary.NativeEndian.AppendUint32(h, change)
}

// RequestError says which of a batch of requests the kernel refused.
type RequestError struct {
	Request string
	Errno   syscall.Errno
}

func (e *RequestError) Error() string { return e.Request + ": " + e.Errno.Error() }

// Unwrap gives the errno.
func (e *RequestError) Unwrap() error { return e.Errno }

// socket is an rtnetlink socket; it stays in the network namespace of the
// thread that opened it.
type socket struct{ fd int }

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	// Without the request's copy in each acknowledgement the answers stay small.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	timeout := unix.Timeval{Sec: 10}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	return &socket{fd: fd}, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// do sends the batch in one system call and waits for all answers. It returns
// the first refusal as *RequestError.
func (s *socket) do(b *batch) error {
	b.end()
	if err := unix.Sendto(s.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("netlink send", err)
	}
	var first error
	answer := make([]byte, 8192)
	for got := 0; got < len(b.names); {
		n, _, err := unix.Recvfrom(s.fd, answer, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("netlink receive", err)
		}
		for rest := answer[:n]; len(rest) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.SizeofNlMsghdr || size > len(rest) {
				return fmt.Errorf("netlink: answer of %d bytes in %d", size, len(rest))
			}
			kind := binary.NativeEndian.Uint16(rest[4:])
			seq := int(binary.NativeEndian.Uint32(rest[8:]))
			if kind == unix.NLMSG_ERROR && size >= unix.SizeofNlMsghdr+4 && seq >= 1 && seq <= len(b.names) {
				got++
				errno := -int32(binary.NativeEndian.Uint32(rest[unix.SizeofNlMsghdr:]))
				if errno != 0 && first == nil {
					first = &RequestError{Request: b.names[seq-1], Errno: syscall.Errno(errno)}
				}
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
	return first
}
