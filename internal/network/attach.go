package network

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"hoy/internal/network/firewall"
	"hoy/internal/network/hostfile"
	"hoy/internal/network/ipam"
	"hoy/internal/network/link"
	"hoy/internal/network/port"
	"hoy/internal/store"
	"hoy/internal/undo"
)

// reapDelay is how long a link may outlive its container's Detach before it is
// deleted by name. As a rule it dies with its namespace long before.
const reapDelay = 2 * time.Second

// endpoint is a container's place on a network. It does not change once it is in the map.
type endpoint struct {
	containerID, name, network string
	settings                   *network.EndpointSettings
	veth                       string
	ports                      []port.Mapping
}

func vethName(endpointID string) string { return "veth" + endpointID[:min(len(endpointID), 10)] }

// isVethName says whether the link's name is one that vethName makes.
func isVethName(name string) bool {
	rest, ok := strings.CutPrefix(name, "veth")
	return ok && len(rest) == 10 && strings.Trim(rest, "0123456789abcdef") == ""
}

// Attach gives a container its network. On error nothing of it is left.
func (s *Service) Attach(ctx context.Context, r Request) (_ *Attachment, err error) {
	if err := s.Validate(r); err != nil {
		return nil, err
	}
	if r.Unplugged {
		return s.unplugged(r)
	}
	var back undo.Stack
	defer func() {
		if err != nil {
			if uerr := back.Run(ctx); uerr != nil {
				s.opt.Log.Error("undo of a failed network attachment", "container", r.ContainerID, "error", uerr)
			}
		}
	}()
	var a *Attachment
	e := &endpoint{containerID: r.ContainerID, name: r.Name, settings: r.Endpoint.Copy()}
	if e.settings == nil {
		e.settings = &network.EndpointSettings{}
	}
	switch mode := s.effective(r.Mode); {
	case mode.IsContainer():
		return share(r)
	case mode.IsHost():
		e.network = network.NetworkHost
		a = &Attachment{SandboxID: store.NewID()}
	case mode.IsNone():
		e.network = network.NetworkNone
		ns, err := s.namespace(r, nil, &back)
		if err != nil {
			return nil, err
		}
		a = &Attachment{NetNS: ns, SandboxID: store.NewID()}
	default:
		if a, err = s.attachBridge(ctx, r, e, &back); err != nil {
			return nil, err
		}
	}
	e.settings.NetworkID = s.catalog.ids[e.network].ID
	if e.settings.EndpointID == "" || e.network != network.NetworkBridge {
		e.settings.EndpointID = store.NewID()
	}
	if err = s.writeFiles(r, e); err != nil {
		return nil, err
	}
	if err = s.register(e); err != nil {
		return nil, err
	}
	a.Networks = map[string]*network.EndpointSettings{e.network: e.settings.Copy()}
	if a.Ports == nil {
		a.Ports = network.PortMap{}
	}
	s.publish(events.ActionConnect, e)
	return a, nil
}

// effective resolves the default mode.
func (s *Service) effective(m container.NetworkMode) container.NetworkMode {
	if m == "" || m.IsDefault() || m.IsBridge() {
		if s.opt.Disabled {
			return network.NetworkNone
		}
		return network.NetworkBridge
	}
	return m
}

// share opens the namespace of another container.
func share(r Request) (*Attachment, error) {
	if r.PeerPid <= 0 {
		return nil, errdefs.ErrConflict.WithMessage(fmt.Sprintf("cannot join network namespace of a non running container: %s", r.Mode.ConnectedContainer()))
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(r.PeerPid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("join the network of container %s: %w", r.Mode.ConnectedContainer(), err)
	}
	return &Attachment{NetNS: ns, Networks: map[string]*network.EndpointSettings{}, Ports: network.PortMap{}}, nil
}

// attachBridge takes address and ports, wires the namespace and publishes.
func (s *Service) attachBridge(ctx context.Context, r Request, e *endpoint, back *undo.Stack) (*Attachment, error) {
	e.network = network.NetworkBridge
	addr, err := s.pool.Take()
	if err != nil {
		return nil, err
	}
	back.Push("address", func(context.Context) error { s.pool.Release(addr); return nil })
	es := e.settings
	es.EndpointID = store.NewID()
	es.Gateway, es.IPAddress, es.IPPrefixLen = s.bridge.Address.Addr(), addr, s.bridge.Address.Bits()
	if len(es.MacAddress) == 0 {
		es.MacAddress = ipam.MAC(addr)
	}
	e.veth = vethName(es.EndpointID)

	asked, err := wants(r, addr, s.opt.DefaultBind)
	if err != nil {
		return nil, err
	}
	if e.ports, err = s.ports.Reserve(ctx, asked); err != nil {
		return nil, connectivityError(e, err)
	}
	back.Push("ports", func(context.Context) error { s.ports.Release(e.ports); return nil })

	ns, err := s.namespace(r, &link.Veth{
		Name: e.veth, Bridge: s.bridge.Index, MTU: s.opt.MTU,
		Address: netip.PrefixFrom(addr, es.IPPrefixLen), Gateway: es.Gateway, MAC: net.HardwareAddr(es.MacAddress),
		Hairpin: len(e.ports) > 0,
	}, back)
	if err != nil {
		return nil, err
	}
	if len(e.ports) > 0 {
		if err := s.table.Add(ctx, e.forwards()); err != nil {
			return nil, connectivityError(e, err)
		}
		back.Push("published ports", func(ctx context.Context) error { return s.table.Remove(ctx, e.forwards()) })
		s.forgetFlows(e)
	}
	return &Attachment{NetNS: ns, SandboxID: store.NewID(), Ports: portMap(e.ports, r.Exposed)}, nil
}

// namespace makes the container's namespace, wired where v is not nil. Of one
// that is in use only the wires are made, and the answer is nil.
func (s *Service) namespace(r Request, v *link.Veth, back *undo.Stack) (*os.File, error) {
	if !r.InUse {
		ns, err := s.host.Namespace(r.NetNS, v)
		if err == nil {
			back.Push("network namespace", func(context.Context) error { return ns.Close() })
		}
		return ns, err
	}
	if v == nil {
		return nil, nil
	}
	back.Push("link", func(context.Context) error { return s.host.Delete(v.Name) })
	return nil, s.host.Plug(r.NetNS, v)
}

func connectivityError(e *endpoint, err error) error {
	return errdefs.ErrInternal.WithMessage(fmt.Sprintf(
		"failed to set up container networking: driver failed programming external connectivity on endpoint %s (%s): %v",
		e.name, e.settings.EndpointID, err))
}

// register enters the endpoint; a container has one at a time.
func (s *Service) register(e *endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.endpoints[e.containerID]; ok {
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("container %s is attached to a network already", e.containerID))
	}
	s.endpoints[e.containerID] = e
	return nil
}

func (s *Service) writeFiles(r Request, e *endpoint) error {
	if r.Dir == "" {
		return nil
	}
	onHost := e.network == network.NetworkHost
	names := hostfile.Names{Hostname: r.Hostname, Domainname: r.Domainname, Address: e.settings.IPAddress,
		Extra: r.ExtraHosts, OfHost: onHost}
	if s.bridge != nil {
		names.Gateway = s.bridge.Address.Addr()
	}
	if r.InUse {
		return hostfile.Readdress(r.Dir, names, netip.Addr{})
	}
	return hostfile.Write(r.Dir, names, hostfile.Resolver{Servers: r.DNS, Search: r.DNSSearch, Options: r.DNSOptions, Local: onHost})
}

// Detach takes a container's network away. It is idempotent. The pair of links
// dies with the namespace; one that outlives it is deleted in the background.
func (s *Service) Detach(ctx context.Context, containerID string) error {
	s.mu.Lock()
	e := s.endpoints[containerID]
	delete(s.endpoints, containerID)
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	var err error
	if len(e.ports) > 0 {
		err = s.table.Remove(context.WithoutCancel(ctx), e.forwards())
		s.ports.Release(e.ports)
	}
	if e.network == network.NetworkBridge {
		s.pool.Release(e.settings.IPAddress)
		select {
		case s.reap <- e.veth:
		default:
			s.opt.Log.Warn("too many links wait to be deleted; left to their namespace's end", "link", e.veth)
		}
		s.forgetFlows(e)
	}
	s.publish(events.ActionDisconnect, e)
	return err
}

// reapLinks deletes, a while after Detach, the links that are still there.
func (s *Service) reapLinks() {
	tick := time.NewTicker(reapDelay)
	defer tick.Stop()
	var old, young []string
	for {
		select {
		case name := <-s.reap:
			young = append(young, name)
		case <-tick.C:
			if err := s.host.Delete(old...); err != nil {
				s.opt.Log.Warn("cannot delete a detached link", "error", err)
			}
			old, young = young, nil
		case <-s.closed:
			for {
				select {
				case name := <-s.reap:
					young = append(young, name)
					continue
				default:
				}
				if err := s.host.Delete(append(old, young...)...); err != nil {
					s.opt.Log.Warn("cannot delete a detached link", "error", err)
				}
				return
			}
		}
	}
}

// wants turns what was asked to be published into reservations, in a stable order.
func wants(r Request, addr, bind netip.Addr) ([]port.Want, error) {
	asked := maps.Clone(r.Ports)
	if asked == nil {
		asked = network.PortMap{}
	}
	if r.PublishAll {
		for p := range r.Exposed {
			if len(asked[p]) == 0 {
				asked[p] = []network.PortBinding{{}}
			}
		}
	}
	order := slices.SortedFunc(maps.Keys(asked), func(a, b network.Port) int {
		if d := int(a.Num()) - int(b.Num()); d != 0 {
			return d
		}
		return strings.Compare(string(a.Proto()), string(b.Proto()))
	})
	var list []port.Want
	for _, p := range order {
		for _, b := range asked[p] {
			w, err := want(p, b, bind)
			if err != nil {
				return nil, err
			}
			w.Container = netip.AddrPortFrom(addr, p.Num())
			list = append(list, w)
		}
	}
	// Fixed ports first, so that a chosen one never takes a port that is asked for by number.
	slices.SortStableFunc(list, func(a, b port.Want) int {
		return min(int(b.First), 1) - min(int(a.First), 1)
	})
	return list, nil
}

// want checks one binding. Errors are errdefs.ErrInvalidArgument.
func want(p network.Port, b network.PortBinding, bind netip.Addr) (port.Want, error) {
	bad := func(format string, args ...any) (port.Want, error) {
		return port.Want{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
	}
	if p.Proto() != network.TCP && p.Proto() != network.UDP {
		return bad("cannot publish port %s: protocol %q is not supported, use tcp or udp", p, p.Proto())
	}
	if p.Num() == 0 {
		return bad("invalid port specification: container port 0 of %s", p)
	}
	w := port.Want{HostIP: b.HostIP.Unmap(), Proto: p.Proto()}
	if !w.HostIP.IsValid() {
		w.HostIP = bind
	}
	if w.HostIP == netip.IPv6Unspecified() {
		w.HostIP = netip.IPv4Unspecified()
	}
	if !w.HostIP.Is4() {
		return bad("cannot publish port %s on %s: only IPv4 host addresses are supported", p, b.HostIP)
	}
	if b.HostPort == "" {
		return w, nil
	}
	rng, err := network.ParsePortRange(b.HostPort)
	if err != nil {
		return bad("invalid port specification: %q: %v", b.HostPort, err)
	}
	w.First, w.Last = rng.Start(), rng.End()
	return w, nil
}

func protocolNumber(p network.IPProtocol) uint8 {
	if p == network.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

func (e *endpoint) forwards() []firewall.Forward {
	list := make([]firewall.Forward, 0, len(e.ports))
	for _, m := range e.ports {
		list = append(list, firewall.Forward{HostIP: m.HostIP, HostPort: m.HostPort, Proto: protocolNumber(m.Proto), Target: m.Container})
	}
	return list
}

// portMap is what inspect shows: bindings, and nil for what is exposed only.
func portMap(ms []port.Mapping, exposed network.PortSet) network.PortMap {
	out := network.PortMap{}
	for p := range exposed {
		out[p] = nil
	}
	for _, m := range ms {
		p, _ := network.PortFrom(m.Container.Port(), m.Proto)
		out[p] = append(out[p], network.PortBinding{HostIP: m.HostIP, HostPort: strconv.Itoa(int(m.HostPort))})
	}
	return out
}

// mappingsOf is the reverse of portMap, for a container with that address.
func mappingsOf(ports network.PortMap, addr netip.Addr) []port.Mapping {
	var ms []port.Mapping
	for p, bindings := range ports {
		for _, b := range bindings {
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil || !b.HostIP.Is4() {
				continue
			}
			ms = append(ms, port.Mapping{HostIP: b.HostIP, HostPort: uint16(n), Proto: p.Proto(), Container: netip.AddrPortFrom(addr, p.Num())})
		}
	}
	return ms
}

// Validate checks a request for what can never work, when a container is
// created. The namespace to share need not exist yet.
func (s *Service) Validate(r Request) error {
	invalid := errdefs.ErrInvalidArgument.WithMessage
	mode := s.effective(r.Mode)
	if mode.IsContainer() {
		return validateShared(r)
	}
	if mode.IsUserDefined() {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("network %s not found", mode))
	}
	if es := r.Endpoint; es != nil {
		if c := es.IPAMConfig; c != nil && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid() || len(c.LinkLocalIPs) > 0) {
			return invalid("user specified IP address is supported on user defined networks only")
		}
		if len(es.Aliases) > 0 {
			return invalid("network-scoped aliases are only supported for user-defined networks")
		}
		if n := len(es.MacAddress); n != 0 && (n != 6 || es.MacAddress[0]&1 != 0) {
			return invalid(fmt.Sprintf("invalid MAC address: %s", es.MacAddress))
		}
		if mode.IsHost() && len(es.MacAddress) > 0 {
			return invalid("conflicting options: mac-address and the network mode")
		}
	}
	var gateway netip.Addr
	if s.bridge != nil {
		gateway = s.bridge.Address.Addr()
	}
	for _, line := range r.ExtraHosts {
		if _, _, err := hostfile.ParseExtra(line, gateway); err != nil {
			return err
		}
	}
	if mode.IsBridge() {
		_, err := wants(r, netip.IPv4Unspecified(), s.opt.DefaultBind)
		return err
	}
	return nil
}

// validateShared refuses what belongs to the container whose network is shared.
func validateShared(r Request) error {
	conflict := func(what string) error {
		return errdefs.ErrInvalidArgument.WithMessage("conflicting options: " + what)
	}
	switch {
	case len(r.DNS) > 0 || len(r.DNSSearch) > 0 || len(r.DNSOptions) > 0:
		return conflict("dns and the network mode")
	case len(r.ExtraHosts) > 0:
		return conflict("custom host-to-IP mapping and the network mode")
	case r.Endpoint != nil && len(r.Endpoint.MacAddress) > 0:
		return conflict("mac-address and the network mode")
	case r.PublishAll || len(r.Ports) > 0:
		return conflict("port publishing and the container type network mode")
	}
	return nil
}
