// Package netdev moves network devices of the host into a container, with their
// addresses, by rtnetlink. It speaks it by itself: what hoy-run links is measured.
package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Check refuses names that no device can have, and two devices of one name.
func Check(devices map[string]specs.LinuxNetDevice) error {
	taken := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(devices)) {
		to := inside(from, devices[from])
		for _, name := range []string{from, to} {
			if name == "" || name == "." || name == ".." || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/: \t\n\v\f\r\x00") {
				return fmt.Errorf("network device %q: %q is no name of a device", from, name)
			}
		}
		if other, ok := taken[to]; ok {
			return fmt.Errorf("network devices %s and %s would both be %s", other, from, to)
		}
		taken[to] = from
	}
	return nil
}

func inside(from string, d specs.LinuxNetDevice) string {
	if d.Name == "" {
		return from
	}
	return d.Name
}

// Move moves devices into the network namespace of a process, gives them their
// new names and the addresses that they had, and sets them up.
func Move(pid int, devices map[string]specs.LinuxNetDevice) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	here, err := open()
	if err != nil {
		return err
	}
	defer here.close()
	there, err := openIn(ns)
	if err != nil {
		return err
	}
	defer there.close()
	for _, from := range slices.Sorted(maps.Keys(devices)) {
		if err := move(here, there, ns, from, inside(from, devices[from])); err != nil {
			return fmt.Errorf("network device %s: %w", from, err)
		}
	}
	return nil
}

func move(here, there *socket, ns *os.File, from, to string) error {
	index, err := here.index(from)
	if err != nil {
		return err
	}
	addresses, err := permanent(index)
	if err != nil {
		return err
	}
	// A device that is up keeps its name.
	if err := here.link(index, 0, nil); err != nil {
		return fmt.Errorf("set down: %w", err)
	}
	attrs := attribute(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(ns.Fd())))
	attrs = append(attrs, attribute(unix.IFLA_IFNAME, append([]byte(to), 0))...)
	if err := here.link(index, 0, attrs); err != nil {
		return fmt.Errorf("move as %s: %w", to, err)
	}
	if index, err = there.index(to); err != nil {
		return err
	}
	for _, a := range addresses {
		if err := there.address(index, a); err != nil {
			return fmt.Errorf("address: %w", err)
		}
	}
	if err := there.link(index, unix.IFF_UP, nil); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}

// socket is an rtnetlink socket in one network namespace.
type socket struct {
	fd  int
	seq uint32
}

func open() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &socket{fd: fd}, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// openIn opens a socket on a thread that is in the namespace for that time.
func openIn(ns *os.File) (*socket, error) {
	type opened struct {
		s   *socket
		err error
	}
	done := make(chan opened, 1)
	go func() {
		runtime.LockOSThread()
		s, err := func() (*socket, error) {
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				runtime.UnlockOSThread()
				return nil, err
			}
			defer own.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				runtime.UnlockOSThread()
				return nil, fmt.Errorf("join network namespace: %w", err)
			}
			s, err := open()
			// A thread that cannot come back stays locked, and ends with this goroutine.
			if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back == nil {
				runtime.UnlockOSThread()
			}
			return s, err
		}()
		done <- opened{s, err}
	}()
	o := <-done
	return o.s, o.err
}

func (s *socket) index(name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, req); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return 0, errors.New("there is no such device")
		}
		return 0, err
	}
	return int(req.Uint32()), nil
}

// link changes a device: whether it is up, and its attributes.
func (s *socket) link(index int, flags uint32, attrs []byte) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	if attrs == nil {
		binary.NativeEndian.PutUint32(body[8:], flags)
		binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP)
	}
	return s.request(unix.RTM_NEWLINK, 0, append(body, attrs...))
}

// address is what a device had: the header of its message, and its attributes.
type address struct{ header, attrs []byte }

func (s *socket) address(index int, a address) error {
	body := slices.Clone(a.header)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	return s.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, append(body, a.attrs...))
}

// permanent are the addresses of a device that somebody gave it; what the kernel
// or a lease has made is made again.
func permanent(index int) ([]address, error) {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	var list []address
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg || int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		if flags, scope := m.Data[2], m.Data[3]; flags&unix.IFA_F_PERMANENT == 0 || scope != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, fmt.Errorf("read addresses: %w", err)
		}
		a := address{header: m.Data[:unix.SizeofIfAddrmsg:unix.SizeofIfAddrmsg]}
		for _, attr := range attrs {
			switch attr.Attr.Type {
			case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST:
				a.attrs = append(a.attrs, attribute(attr.Attr.Type, attr.Value)...)
			}
		}
		list = append(list, a)
	}
	return list, nil
}

// attribute is one attribute of a message, filled up to four bytes.
func attribute(kind uint16, value []byte) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	out = append(binary.NativeEndian.AppendUint16(out, kind), value...)
	return append(out, make([]byte, -len(out)&3)...)
}

// request sends one message and reads the kernel's answer.
func (s *socket) request(kind, flags uint16, body []byte) error {
	s.seq++
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	msg = binary.NativeEndian.AppendUint32(msg, s.seq)
	msg = append(binary.NativeEndian.AppendUint32(msg, 0), body...)
	if err := unix.Sendto(s.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, os.Getpagesize())
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if k, ok := from.(*unix.SockaddrNetlink); !ok || k.Pid != 0 {
			continue // not the kernel
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || m.Header.Seq != s.seq || len(m.Data) < 4 {
				continue
			}
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				return unix.Errno(-code)
			}
			return nil
		}
	}
}
