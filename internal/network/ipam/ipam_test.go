package ipam

import (
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
)

func TestChoose(t *testing.T) {
	p := netip.MustParsePrefix
	for name, c := range map[string]struct {
		networks []netip.Prefix
		addrs    []netip.Addr
		want     string
	}{
		"nothing taken":       {want: "172.31.252.0/22"},
		"a route inside":      {networks: []netip.Prefix{p("172.31.254.0/24")}, want: "172.31.248.0/22"},
		"a route around":      {networks: []netip.Prefix{p("172.16.0.0/12")}, want: "192.168.252.0/22"},
		"a name server":       {addrs: []netip.Addr{netip.MustParseAddr("172.31.255.1")}, want: "172.31.248.0/22"},
		"all private but one": {networks: []netip.Prefix{p("172.16.0.0/12"), p("192.168.0.0/16")}, want: "10.255.252.0/22"},
	} {
		got, err := Choose(Pools, c.networks, c.addrs)
		if err != nil || got != p(c.want) {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
	if _, err := Choose(Pools, []netip.Prefix{p("0.0.0.0/1"), p("128.0.0.0/1")}, nil); !errdefs.IsResourceExhausted(err) {
		t.Errorf("no room: %v", err)
	}
}

func TestHundredsOfNetworksFitBesideALargeOne(t *testing.T) {
	taken := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for range 250 {
		p, err := Choose(Pools, taken, nil)
		if err != nil {
			t.Fatalf("after %d networks: %v", len(taken)-1, err)
		}
		if p != p.Masked() || !p.Addr().IsPrivate() {
			t.Fatalf("bad pool %s", p)
		}
		taken = append(taken, p) // Choose takes none that overlaps
	}
	if len(Pools) != 3840 {
		t.Errorf("%d pools", len(Pools))
	}
}

func TestPool(t *testing.T) {
	pool, err := NewPool(netip.MustParsePrefix("192.0.2.9/29"))
	if err != nil {
		t.Fatal(err)
	}
	if pool.Gateway().String() != "192.0.2.9" || pool.Subnet().String() != "192.0.2.8/29" {
		t.Errorf("gateway %s of %s", pool.Gateway(), pool.Subnet())
	}
	var got []netip.Addr
	for range 5 {
		a, err := pool.Take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a)
	}
	if got[0].String() != "192.0.2.10" || got[4].String() != "192.0.2.14" {
		t.Errorf("given: %v", got)
	}
	if _, err := pool.Take(); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a full pool: %v", err)
	}
	pool.Release(got[1])
	pool.Release(got[3])
	pool.Release(netip.MustParseAddr("203.0.113.1"))
	if err := pool.Claim(got[1]); err != nil {
		t.Error(err)
	}
	if err := pool.Claim(got[1]); !errdefs.IsConflict(err) {
		t.Errorf("claimed twice: %v", err)
	}
	for _, a := range []string{"192.0.2.8", "192.0.2.9", "192.0.2.15", "192.0.2.16", "2001:db8::1"} {
		if err := pool.Claim(netip.MustParseAddr(a)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("claim of %s: %v", a, err)
		}
	}
	if a, err := pool.Take(); err != nil || a != got[3] {
		t.Errorf("the one that is free: %s, %v", a, err)
	}
}

func TestAnAddressRestsBeforeItIsUsedAgain(t *testing.T) {
	pool, _ := NewPool(netip.MustParsePrefix("192.0.2.0/24"))
	a, _ := pool.Take()
	pool.Release(a)
	if b, _ := pool.Take(); a == b {
		t.Errorf("%s was given twice in a row", a)
	}
}

func TestPoolRefusesOddSubnets(t *testing.T) {
	for _, s := range []string{"192.0.2.0/31", "10.0.0.0/7", "2001:db8::/64"} {
		if _, err := NewPool(netip.MustParsePrefix(s)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", s, err)
		}
	}
}
