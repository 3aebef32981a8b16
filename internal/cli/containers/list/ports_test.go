package list

import (
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestPorts(t *testing.T) {
	all := netip.MustParseAddr("0.0.0.0")
	var ports []container.PortSummary
	for p := uint16(8000); p <= 8003; p++ {
		ports = append(ports, container.PortSummary{IP: all, PrivatePort: p, PublicPort: p + 10000, Type: "tcp"})
	}
	ports = append(ports, container.PortSummary{IP: all, PrivatePort: 53, PublicPort: 53, Type: "udp"}, container.PortSummary{IP: all, PrivatePort: 54, PublicPort: 54, Type: "udp"},
		container.PortSummary{PrivatePort: 65535, Type: "tcp"}, container.PortSummary{PrivatePort: 65535, Type: "tcp"}, container.PortSummary{PrivatePort: 9, Type: "tcp"})
	if got, want := Ports(ports, true), "9/tcp, 65535/tcp, 0.0.0.0:53-54->53-54/udp, 0.0.0.0:18000-18003->8000-8003/tcp"; got != want {
		t.Errorf("folded: %s\nwant    %s", got, want)
	}
	if got, want := Ports(ports[:2], false), "0.0.0.0:18000->8000/tcp, 0.0.0.0:18001->8001/tcp"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := Ports(nil, true); got != "" {
		t.Errorf("%q", got)
	}
}
