// Package port reserves ports of the host. A reserved port is held by a socket,
// so that other programs are refused it and theirs are noticed.
package port

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// Want is a port to publish.
type Want struct {
	HostIP netip.Addr
	// First and Last bound the host ports that will do; both 0 lets the allocator choose.
	First, Last uint16
	Proto       network.IPProtocol
	Container   netip.AddrPort
}

// Mapping is a published port.
type Mapping struct {
	HostIP    netip.Addr
	HostPort  uint16
	Proto     network.IPProtocol
	Container netip.AddrPort
	// held is the socket that keeps the port; negative where it could not be had back.
	held int
}

func (m Mapping) String() string {
	return fmt.Sprintf("%s:%s/%s", netip.AddrPortFrom(m.HostIP, m.HostPort), m.Container, m.Proto)
}

type slot struct {
	proto network.IPProtocol
	port  uint16
}

// Allocator knows the ports that are given out. Its lock is held for steps in memory only.
type Allocator struct {
	// in runs a function in the network namespace that ports are held in.
	in func(func() error) error

	mu   sync.Mutex
	used map[slot][]netip.Addr
	next map[network.IPProtocol]uint16
	low  uint16
	high uint16
}

// NewAllocator reads the range of ephemeral ports; in runs a function in the
// network namespace of the host.
func NewAllocator(in func(func() error) error) (*Allocator, error) {
	a := &Allocator{in: in, used: map[slot][]netip.Addr{}, next: map[network.IPProtocol]uint16{}, low: 49153, high: 65535}
	err := in(func() error {
		data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
		if low, high, ok := parseRange(string(data)); err == nil && ok { // else the range of RFC 6335 will do
			a.low, a.high = low, high
		}
		return nil
	})
	return a, err
}

func parseRange(text string) (low, high uint16, ok bool) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, 0, false
	}
	l, err1 := strconv.ParseUint(fields[0], 10, 16)
	h, err2 := strconv.ParseUint(fields[1], 10, 16)
	return uint16(l), uint16(h), err1 == nil && err2 == nil && 0 < l && l <= h
}

// Reserve gets a host port for each want, or none of them. Errors have Docker's
// wording and are errdefs.ErrInternal, as Docker's are to its clients.
func (a *Allocator) Reserve(ctx context.Context, wants []Want) (got []Mapping, err error) {
	if len(wants) == 0 {
		return nil, nil
	}
	err = a.in(func() error {
		for _, w := range wants {
			if err := ctx.Err(); err != nil {
				return err
			}
			m, err := a.reserve(w)
			if err != nil {
				return err
			}
			got = append(got, m)
		}
		return nil
	})
	if err != nil {
		a.Release(got)
		return nil, err
	}
	return got, nil
}

func (a *Allocator) reserve(w Want) (Mapping, error) {
	candidates, single := a.candidates(w)
	var last error
	for p := range candidates {
		m := Mapping{HostIP: w.HostIP, HostPort: p, Proto: w.Proto, Container: w.Container}
		if !a.take(m) {
			last = errdefs.ErrInternal.WithMessage(fmt.Sprintf("Bind for %s failed: port is already allocated", netip.AddrPortFrom(w.HostIP, p)))
			continue
		}
		fd, err := hold(m)
		if err == nil {
			m.held = fd
			return m, nil
		}
		a.drop(m)
		last = errdefs.ErrInternal.WithMessage(fmt.Sprintf("failed to bind host port for %s: %s", m, bindText(err)))
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EACCES) {
			return Mapping{}, last
		}
	}
	if single && last != nil {
		return Mapping{}, last
	}
	return Mapping{}, errdefs.ErrInternal.WithMessage(fmt.Sprintf("all ports are allocated: no free %s port on %s between %d and %d", w.Proto, w.HostIP, max(w.First, 1), max(w.Last, w.First)))
}

func bindText(err error) string {
	if errors.Is(err, unix.EADDRINUSE) {
		return "address already in use"
	}
	return err.Error()
}

// candidates yields the ports to try, in order, and says whether there is only one.
func (a *Allocator) candidates(w Want) (func(func(uint16) bool), bool) {
	if w.First != 0 {
		return func(yield func(uint16) bool) {
			for p := int(w.First); p <= int(max(w.First, w.Last)); p++ {
				if !yield(uint16(p)) {
					return
				}
			}
		}, w.Last <= w.First
	}
	return func(yield func(uint16) bool) {
		for range int(a.high) - int(a.low) + 1 {
			if !yield(a.ephemeral(w.Proto)) {
				return
			}
		}
	}, false
}

func (a *Allocator) ephemeral(proto network.IPProtocol) uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.next[proto]
	if p < a.low || p > a.high {
		p = a.low
	}
	a.next[proto] = p + 1 // past the end wraps to 0, which is below low
	return p
}

// take marks the port; it refuses one that is given on the same or, where
// either is unspecified, on any address.
func (a *Allocator) take(m Mapping) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := slot{m.Proto, m.HostPort}
	for _, other := range a.used[s] {
		if other == m.HostIP || other.IsUnspecified() || m.HostIP.IsUnspecified() {
			return false
		}
	}
	a.used[s] = append(a.used[s], m.HostIP)
	return true
}

func (a *Allocator) drop(m Mapping) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := slot{m.Proto, m.HostPort}
	rest := a.used[s][:0]
	for _, other := range a.used[s] {
		if other != m.HostIP {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(a.used, s)
		return
	}
	a.used[s] = rest
}

// Reclaim takes back what a running container already publishes. A port that
// another program has meanwhile bound stays ours: the firewall redirects it
// before any socket sees it. Such ports come back in lost.
func (a *Allocator) Reclaim(ms []Mapping) (got []Mapping, lost []Mapping, err error) {
	err = a.in(func() error {
		for _, m := range ms {
			m.held = -1
			if !a.take(m) {
				return errdefs.ErrConflict.WithMessage(fmt.Sprintf("port %s is published by two containers", m))
			}
			if fd, err := hold(m); err == nil {
				m.held = fd
			} else {
				lost = append(lost, m)
			}
			got = append(got, m)
		}
		return nil
	})
	return got, lost, err
}

// Release gives ports back.
func (a *Allocator) Release(ms []Mapping) {
	for _, m := range ms {
		if m.held >= 0 {
			_ = unix.Close(m.held)
		}
		a.drop(m)
	}
}

// hold binds the port. A TCP socket listens too: two sockets that are merely
// bound with SO_REUSEADDR do not exclude each other, and without that option a
// connection in TIME_WAIT would keep the port from us. The firewall redirects
// connections before they reach it.
func hold(m Mapping) (int, error) {
	kind := unix.SOCK_STREAM
	if m.Proto == network.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if m.Proto == network.TCP {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(m.HostPort), Addr: m.HostIP.As4()})
	if err == nil && m.Proto == network.TCP {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
