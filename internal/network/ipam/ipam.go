// Package ipam chooses a subnet that the host does not use and hands out its addresses.
package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// bits of a pool: 1,021 addresses for containers, for a bridge of the kernel
// has 1,023 ports at most (BR_MAX_PORTS). Larger ones would only run out sooner
// and overlap more.
const bits = 22

// Pools are the subnets tried for the default bridge, in this order: 3,840, so
// that many networks fit on one host, also beside a private network that takes
// most of 10.0.0.0/8. They sit at the upper ends of their ranges, where few
// people number by hand.
var Pools = func() []netip.Prefix {
	var pools []netip.Prefix
	add := func(first, second byte, lowest int) {
		for third := 256 - 4; third >= lowest; third -= 4 {
			pools = append(pools, netip.PrefixFrom(netip.AddrFrom4([4]byte{first, second, byte(third), 0}), bits))
		}
	}
	for second := byte(31); second >= 17; second-- {
		add(172, second, 192)
	}
	add(192, 168, 192)
	for second := byte(255); second >= 200; second-- {
		add(10, second, 0)
	}
	return pools
}()

// Choose returns the first pool that overlaps none of the networks and contains none of the addresses.
func Choose(pools, networks []netip.Prefix, addrs []netip.Addr) (netip.Prefix, error) {
	for _, p := range pools {
		clash := slices.ContainsFunc(networks, p.Overlaps) || slices.ContainsFunc(addrs, p.Contains)
		if !clash {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("all predefined address pools overlap with this host's routes: choose a subnet for the bridge in the configuration: %w", errdefs.ErrResourceExhausted)
}

// Pool hands out the addresses of one subnet of IPv4. The network's own, the
// gateway's (the first) and the broadcast address are never given. All methods
// are short steps in memory, safe for concurrent use.
type Pool struct {
	subnet netip.Prefix
	first  uint32
	size   uint32

	mu   sync.Mutex
	used map[uint32]bool
	next uint32
}

// NewPool takes a subnet of /30 or larger.
func NewPool(subnet netip.Prefix) (*Pool, error) {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() > 30 || subnet.Bits() < 8 {
		return nil, fmt.Errorf("subnet %s: must be IPv4 between /8 and /30: %w", subnet, errdefs.ErrInvalidArgument)
	}
	subnet = subnet.Masked()
	return &Pool{
		subnet: subnet,
		first:  number(subnet.Addr()),
		size:   1 << (32 - subnet.Bits()),
		used:   map[uint32]bool{},
		next:   2,
	}, nil
}

// Gateway is the subnet's first address.
func (p *Pool) Gateway() netip.Addr { return address(p.first + 1) }

// Subnet is the whole network.
func (p *Pool) Subnet() netip.Prefix { return p.subnet }

// Take hands out a free address. The search goes on behind the last one given,
// so that an address rests before it is used again.
func (p *Pool) Take() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.size {
		n := p.next
		p.next++
		if p.next >= p.size-1 {
			p.next = 2
		}
		if n >= 2 && n < p.size-1 && !p.used[n] {
			p.used[n] = true
			return address(p.first + n), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no available IPv4 addresses on this network's address pools: %s is full: %w", p.subnet, errdefs.ErrResourceExhausted)
}

// Claim marks an address as given. One that is outside the subnet, reserved or
// already given is an error.
func (p *Pool) Claim(a netip.Addr) error {
	if !p.subnet.Contains(a) {
		return fmt.Errorf("address %s is not in %s: %w", a, p.subnet, errdefs.ErrInvalidArgument)
	}
	n := number(a) - p.first
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < 2 || n >= p.size-1 {
		return fmt.Errorf("address %s of %s is reserved: %w", a, p.subnet, errdefs.ErrInvalidArgument)
	}
	if p.used[n] {
		return fmt.Errorf("address %s is already in use: %w", a, errdefs.ErrConflict)
	}
	p.used[n] = true
	return nil
}

// Release takes an address back; one that was not given is no error.
func (p *Pool) Release(a netip.Addr) {
	if !p.subnet.Contains(a) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, number(a)-p.first)
}

// InUse counts the addresses given.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.used)
}

// MAC returns the link address that belongs to an IPv4 address: a neighbour that
// still remembers the pair is right about its next owner too.
func MAC(a netip.Addr) []byte {
	b := a.As4()
	return append([]byte{0x02, 0x42}, b[:]...)
}

func number(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// Given lists the addresses given, in order.
func (p *Pool) Given() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]netip.Addr, 0, len(p.used))
	for n := range p.used {
		all = append(all, address(p.first+n))
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
