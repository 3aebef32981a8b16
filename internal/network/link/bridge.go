package link

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Handle opens a connection of the netlink library to the namespace, for what is
// not on a container's way up. The caller closes it.
func (h *Host) Handle() (*netlink.Handle, error) {
	nl, err := netlink.NewHandleAt(netns.NsHandle(h.ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return nl, nil
}

// Bridge is what is found of, or asked for, a bridge.
type Bridge struct {
	Name  string
	Index int
	// Address is the gateway's, with the length of the subnet.
	Address netip.Prefix
	MTU     int
}

// FindBridge returns the bridge of that name, or nil where no link has it. A
// link of another kind is an error.
func (h *Host) FindBridge(name string) (*Bridge, error) {
	nl, err := h.Handle()
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	l, err := nl.LinkByName(name)
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	if l.Type() != "bridge" {
		return nil, fmt.Errorf("%s is a %s, not a bridge: choose another bridge name", name, l.Type())
	}
	b := &Bridge{Name: name, Index: l.Attrs().Index, MTU: l.Attrs().MTU}
	addrs, err := dump(func() ([]netlink.Addr, error) { return nl.AddrList(l, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", name, err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			b.Address = p
			break
		}
	}
	return b, nil
}

// EnsureBridge makes the bridge where it is absent, gives it its address and
// sets it up. Packets of the loopback network may then be routed to it; who
// calls this must drop such packets that come from it.
func (h *Host) EnsureBridge(want Bridge) (*Bridge, error) {
	found, err := h.FindBridge(want.Name)
	if err != nil {
		return nil, err
	}
	nl, err := h.Handle()
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = want.Name
	if found == nil {
		// One that others refer to by its number gets that again.
		attrs.Index = want.Index
		attrs.MTU = want.MTU
		// A bridge without an address of its own changes it as links come and go.
		attrs.HardwareAddr = randomMAC()
		if err := nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("make bridge %s: %w", want.Name, err)
		}
		if found, err = h.FindBridge(want.Name); err != nil {
			return nil, err
		}
		if found == nil {
			return nil, fmt.Errorf("bridge %s vanished while it was made", want.Name)
		}
		// Set again by itself it stays: else it follows the links that join.
		attrs.Index = found.Index
		if err := nl.LinkSetMTU(&netlink.Bridge{LinkAttrs: attrs}, want.MTU); err != nil {
			return nil, fmt.Errorf("set the MTU of %s to %d: %w", want.Name, want.MTU, err)
		}
	}
	attrs.Index = found.Index
	l := &netlink.Bridge{LinkAttrs: attrs}
	if found.Address != want.Address {
		addr := &netlink.Addr{IPNet: &net.IPNet{
			IP: want.Address.Addr().AsSlice(), Mask: net.CIDRMask(want.Address.Bits(), want.Address.Addr().BitLen())}}
		if err := nl.AddrReplace(l, addr); err != nil {
			return nil, fmt.Errorf("give %s the address %s: %w", want.Name, want.Address, err)
		}
	}
	if err := nl.LinkSetUp(l); err != nil {
		return nil, fmt.Errorf("set %s up: %w", want.Name, err)
	}
	found.Address = want.Address
	return found, h.Do(func() error {
		return WriteSysctl(Sysctl{"ipv4/conf/" + want.Name + "/route_localnet", "1"})
	})
}

// dump repeats a listing that others changed while it was made, as long as that
// is likely to help. The last attempt counts as it is: what it lacks came or went
// just then.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for range 20 {
		if all, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	all, err := list()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return all, err
}

// Link is one link of the namespace, as far as an engine cares.
type Link struct {
	Index, Master int
	Up            bool
}

// Links lists all links by name.
func (h *Host) Links() (map[string]Link, error) {
	nl, err := h.Handle()
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	links, err := dump(nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	all := make(map[string]Link, len(links))
	for _, l := range links {
		a := l.Attrs()
		all[a.Name] = Link{Index: a.Index, Master: a.MasterIndex, Up: a.Flags&net.FlagUp != 0}
	}
	return all, nil
}

// Members lists the names of the links on the bridge.
func (h *Host) Members(bridge int) ([]string, error) {
	nl, err := h.Handle()
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	links, err := dump(nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var names []string
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}

// Occupied returns the networks that the namespace has addresses in or routes
// to (the default route apart), and the MTU of the default route's link, 1500
// where there is none. Links named except are left out.
func (h *Host) Occupied(except string) (taken []netip.Prefix, mtu int, err error) {
	nl, err := h.Handle()
	if err != nil {
		return nil, 0, err
	}
	defer nl.Close()
	links, err := dump(nl.LinkList)
	if err != nil {
		return nil, 0, fmt.Errorf("list links: %w", err)
	}
	byIndex := map[int]netlink.Link{}
	for _, l := range links {
		byIndex[l.Attrs().Index] = l
	}
	skip := func(index int) bool { l := byIndex[index]; return l != nil && l.Attrs().Name == except }
	addrs, err := dump(func() ([]netlink.Addr, error) { return nl.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, 0, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok && !skip(a.LinkIndex) {
			taken = append(taken, p.Masked())
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) { return nl.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, 0, fmt.Errorf("list routes: %w", err)
	}
	mtu = 1500
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		switch {
		case r.Dst == nil || (ok && p.Bits() == 0):
			if l := byIndex[r.LinkIndex]; l != nil && l.Attrs().MTU >= 68 {
				mtu = l.Attrs().MTU
			}
		case ok && !skip(r.LinkIndex):
			taken = append(taken, p.Masked())
		}
	}
	return taken, mtu, nil
}

// EnableForwarding turns routing between links on and says whether it was off.
func (h *Host) EnableForwarding() (changed bool, err error) {
	err = h.Do(func() error {
		data, err := os.ReadFile(filepath.Join("/proc/sys/net", "ipv4/ip_forward"))
		if err != nil {
			return fmt.Errorf("read net/ipv4/ip_forward: %w", err)
		}
		if strings.TrimSpace(string(data)) == "1" {
			return nil
		}
		changed = true
		return WriteSysctl(Sysctl{"ipv4/ip_forward", "1"})
	})
	return changed, err
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok && a.Unmap().Is4()
}

func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac)        // never fails, see crypto/rand
	mac[0] = mac[0]&^0x01 | 0x02 // unicast, locally administered
	return mac
}

// Exclusive keeps others that call it with the same name in the same namespace
// waiting until release is called or this process ends; they go on after patience
// in any case. Names of the abstract socket namespace belong to a network namespace.
func (h *Host) Exclusive(name string, patience time.Duration) (release func()) {
	fd := -1
	deadline := time.Now().Add(patience)
	for {
		err := h.Do(func() (err error) {
			if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			if err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + name}); err != nil {
				_ = unix.Close(fd)
			}
			return err
		})
		switch {
		case err == nil:
			return func() { _ = unix.Close(fd) }
		case !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline):
			return func() {}
		}
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the kernel does not tell when a bound name comes free
	}
}

// ConntrackHandle is Handle for the kernel's table of tracked connections.
func (h *Host) ConntrackHandle() (*netlink.Handle, error) {
	nl, err := netlink.NewHandleAt(netns.NsHandle(h.ns.Fd()), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return nl, nil
}
