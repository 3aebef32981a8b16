// Package link makes network namespaces and the links, addresses and routes in
// them, by rtnetlink alone.
package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// containerIndex is the index that eth0 is asked to get, so that the address and
// the route can name it in the same batch; spareIndex is used where the kernel
// has put its own tunnel devices there first.
const (
	containerIndex = 2
	spareIndex     = 1000
)

// Host is the network namespace that bridges and the outer ends of veth pairs live in.
type Host struct {
	ns *os.File
	// foreign is set where ns is not the namespace of this process's threads.
	foreign bool
	// idle keeps rtnetlink sockets of the namespace for reuse.
	idle chan *socket
}

// Open returns the namespace ns refers to; nil means the caller's own. The file
// stays the caller's.
func Open(ns *os.File) (*Host, error) {
	h := &Host{idle: make(chan *socket, 8), foreign: ns != nil}
	path := "/proc/thread-self/ns/net"
	if ns != nil {
		path = fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	}
	own, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	h.ns = own
	return h, nil
}

// Close gives back sockets and the reference to the namespace.
func (h *Host) Close() error {
	for {
		select {
		case s := <-h.idle:
			s.close()
		default:
			return h.ns.Close()
		}
	}
}

// NetNS is the namespace itself; nil where it is that of the process.
func (h *Host) NetNS() *os.File {
	if !h.foreign {
		return nil
	}
	return h.ns
}

// Do runs f on a thread that is in the namespace.
func (h *Host) Do(f func() error) error {
	if !h.foreign {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// setns changes this thread only; it is locked and never unlocked, so
		// the runtime ends it together with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f()
	}()
	return <-done
}

func (h *Host) socket() (*socket, error) {
	select {
	case s := <-h.idle:
		return s, nil
	default:
	}
	var s *socket
	err := h.Do(func() (err error) { s, err = openSocket(); return err })
	return s, err
}

// send runs a batch in the namespace. A socket whose answers may be out of step is not kept.
func (h *Host) send(b *batch) error {
	s, err := h.socket()
	if err != nil {
		return err
	}
	err = s.do(b)
	var refused *RequestError
	if err == nil || errors.As(err, &refused) {
		select {
		case h.idle <- s:
			return err
		default:
		}
	}
	s.close()
	return err
}

// Veth describes a container's way out.
type Veth struct {
	// Name of the outer end, at most 15 bytes.
	Name string
	// Bridge is the interface index of the bridge that the outer end joins.
	Bridge int
	// Address of the inner end, with the length of the subnet.
	Address netip.Prefix
	Gateway netip.Addr
	MAC     net.HardwareAddr
	MTU     int
	// Hairpin lets the bridge send a packet back where it came from. A container
	// that calls its own published port needs it where the kernel applies NAT to
	// bridged packets (br_netfilter).
	Hairpin bool
}

// Sysctl is one setting below /proc/sys/net of a new namespace.
type Sysctl struct{ Path, Value string }

// namespaceDefaults is what Docker sets in each private network namespace:
// programs without privilege may bind low ports and send echo requests.
// No address of version 6 is given out, so eth0 does not make itself one.
var namespaceDefaults = []Sysctl{
	{"ipv4/ip_unprivileged_port_start", "0"},
	{"ipv4/ping_group_range", "0 2147483647"},
	{"ipv6/conf/default/disable_ipv6", "1"},
}

// Namespace makes a network namespace with its loopback up and, where v is not
// nil, eth0 wired to a bridge. It lives as long as the file is open or a process
// is in it; with it dies the pair of links. A namespace that is given, with
// nothing in it, is used in place of a new one.
func (h *Host) Namespace(given *os.File, v *Veth) (*os.File, error) {
	type result struct {
		ns  *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		// Only this thread leaves its namespace. It is unlocked, and so reused,
		// only after it is back; else it ends with the goroutine.
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- result{err: err}
			return
		}
		defer home.Close()
		ns, err := h.build(given, v)
		done <- result{ns, err}
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("make network namespace: %w", r.err)
	}
	if v == nil {
		return r.ns, nil
	}
	if err := h.join(v); err != nil {
		_ = r.ns.Close()
		return nil, err
	}
	return r.ns, nil
}

// Plug wires a namespace that is in use to a bridge: the names that are taken
// there are not ours, so a refusal is the caller's error. On error nothing is left.
func (h *Host) Plug(ns *os.File, v *Veth) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		if err = os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)); err == nil {
			err = h.wire(v)
		}
		done <- err
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	err := <-done
	if err == nil {
		err = h.join(v)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("wire network namespace: %w", err), h.Delete(v.Name))
	}
	return nil
}

// wire makes what is inside a namespace, on a thread that is in it.
func (h *Host) wire(v *Veth) error {
	s, err := openSocket()
	if err != nil {
		return err
	}
	defer s.close()
	err = s.do(h.inner(v, containerIndex))
	if v != nil && (errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST)) {
		err = s.do(h.inner(v, spareIndex))
	}
	return err
}

// build runs on a locked thread and leaves it in the new namespace.
func (h *Host) build(given *os.File, v *Veth) (ns *os.File, err error) {
	if given == nil {
		err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
	} else {
		err = os.NewSyscallError("setns", unix.Setns(int(given.Fd()), unix.CLONE_NEWNET))
	}
	if err != nil {
		return nil, err
	}
	if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = ns.Close()
		}
	}()
	for _, s := range namespaceDefaults {
		if err := WriteSysctl(s); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return ns, h.wire(v)
}

// inner is all that is done inside a namespace, as one batch.
func (h *Host) inner(v *Veth, index int32) *batch {
	b := &batch{}
	b.begin("set loopback up", unix.RTM_NEWLINK, 0, ifinfo(1, unix.IFF_UP, unix.IFF_UP))
	if v == nil {
		return b
	}
	b.begin("add veth "+v.Name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifinfo(index, unix.IFF_UP, unix.IFF_UP))
	b.attrString(unix.IFLA_IFNAME, "eth0")
	b.attr(unix.IFLA_ADDRESS, v.MAC)
	b.attr32(unix.IFLA_MTU, uint32(v.MTU))
	b.nest(unix.IFLA_LINKINFO, func() {
		b.attrString(unix.IFLA_INFO_KIND, "veth")
		b.nest(unix.IFLA_INFO_DATA, func() {
			b.nest(vethInfoPeer, func() {
				// The outer end is made where it belongs: moving a link
				// between namespaces waits for an RCU grace period.
				b.buf = append(b.buf, ifinfo(0, 0, 0)...)
				b.attrString(unix.IFLA_IFNAME, v.Name)
				b.attr32(unix.IFLA_MTU, uint32(v.MTU))
				b.attr32(unix.IFLA_NET_NS_FD, uint32(h.ns.Fd()))
			})
		})
	})
	address, gateway := v.Address.Addr().As4(), v.Gateway.As4()
	header := []byte{unix.AF_INET, byte(v.Address.Bits()), 0, unix.RT_SCOPE_UNIVERSE}
	b.begin("add address "+v.Address.String(), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		binary.NativeEndian.AppendUint32(header, uint32(index)))
	broadcast := lastAddress(v.Address)
	b.attr(unix.IFA_LOCAL, address[:])
	b.attr(unix.IFA_ADDRESS, address[:])
	b.attr(unix.IFA_BROADCAST, broadcast[:])

	b.begin("add default route", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, []byte{
		unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0})
	b.attr(unix.RTA_GATEWAY, gateway[:])
	b.attr32(unix.RTA_OIF, uint32(index))
	return b
}

// join puts the outer end on its bridge and sets it up.
func (h *Host) join(v *Veth) error {
	b := &batch{}
	b.begin("configure "+v.Name, unix.RTM_NEWLINK, 0, ifinfo(0, 0, 0))
	b.attrString(unix.IFLA_IFNAME, v.Name)
	b.nest(unix.IFLA_AF_SPEC, func() {
		b.nest(unix.AF_INET6, func() { b.attr(inet6AddrGenMode, []byte{addrGenNone}) })
	})
	b.begin("join "+v.Name+" to the bridge", unix.RTM_NEWLINK, 0, ifinfo(0, unix.IFF_UP, unix.IFF_UP))
	b.attrString(unix.IFLA_IFNAME, v.Name)
	b.attr32(unix.IFLA_MASTER, uint32(v.Bridge))
	if v.Hairpin {
		b.begin("set hairpin of "+v.Name, unix.RTM_NEWLINK, 0, ifinfo(0, 0, 0))
		b.attrString(unix.IFLA_IFNAME, v.Name)
		b.nest(unix.IFLA_LINKINFO, func() {
			b.attrString(unix.IFLA_INFO_SLAVE_KIND, "bridge")
			b.nest(unix.IFLA_INFO_SLAVE_DATA, func() { b.attr(unix.IFLA_BRPORT_MODE, []byte{1}) })
		})
	}
	err := h.send(b)
	var refused *RequestError
	if errors.As(err, &refused) && refused.Request == "configure "+v.Name {
		// A kernel without IPv6 has no such setting, and no need of it; the
		// requests behind it were carried out or are repeated here.
		return h.Adopt(v.Name, v.Bridge)
	}
	return err
}

// Adopt puts an existing link on a bridge and sets it up.
func (h *Host) Adopt(name string, bridge int) error {
	b := &batch{}
	b.begin("join "+name+" to the bridge", unix.RTM_NEWLINK, 0, ifinfo(0, unix.IFF_UP, unix.IFF_UP))
	b.attrString(unix.IFLA_IFNAME, name)
	b.attr32(unix.IFLA_MASTER, uint32(bridge))
	return h.send(b)
}

// Delete removes links by name; those that are gone already are no error.
func (h *Host) Delete(names ...string) error {
	var errs []error
	for _, name := range names {
		b := &batch{}
		b.begin("delete "+name, unix.RTM_DELLINK, 0, ifinfo(0, 0, 0))
		b.attrString(unix.IFLA_IFNAME, name)
		if err := h.send(b); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// WriteSysctl sets one value in the calling thread's network namespace.
func WriteSysctl(s Sysctl) error {
	f, err := os.OpenFile("/proc/sys/net/"+s.Path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set net/%s: %w", s.Path, err)
	}
	defer f.Close()
	if _, err := f.WriteString(s.Value); err != nil {
		return fmt.Errorf("set net/%s to %s: %w", s.Path, s.Value, err)
	}
	return nil
}

func lastAddress(p netip.Prefix) [4]byte {
	a := p.Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(a[:], n)
	return a
}

// Values of include/uapi/linux/veth.h and if_link.h that x/sys/unix does not have.
const (
	vethInfoPeer     = 1
	inet6AddrGenMode = 8
	addrGenNone      = 1
)

// IsGone says whether err means that the link does not exist.
func IsGone(err error) bool { return errors.Is(err, syscall.ENODEV) }
