package network

import (
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hoy/internal/network/port"
)

// udpFlows matches the kernel's memory of UDP flows to published ports. A flow
// is redirected when its first packet is seen and never again, so one that began
// before the port was published, or while another container had it, would go to
// the wrong place for as long as its sender goes on.
type udpFlows struct {
	ports []port.Mapping
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (u udpFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	dst, _ := netip.AddrFromSlice(f.Forward.DstIP)
	return slices.ContainsFunc(u.ports, func(m port.Mapping) bool {
		return m.HostPort == f.Forward.DstPort && (m.HostIP.IsUnspecified() || m.HostIP == dst.Unmap())
	})
}

// forgetFlows drops, in the background, what the kernel remembers of UDP flows
// to the endpoint's published ports.
func (s *Service) forgetFlows(e *endpoint) {
	ports := slices.DeleteFunc(slices.Clone(e.ports), func(m port.Mapping) bool { return m.Proto != network.UDP })
	if len(ports) == 0 {
		return
	}
	s.leaving.Go(func() {
		nl, err := s.host.ConntrackHandle()
		if err == nil {
			defer nl.Close()
			_, err = nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, udpFlows{ports})
		}
		if err != nil {
			s.opt.Log.Warn("cannot forget old UDP flows to published ports", "container", e.containerID, "error", err)
		}
	})
}
