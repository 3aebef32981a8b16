// Package network connects containers: the default bridge with its addresses,
// name files and published ports, the host's own network, and none at all.
//
// A container's network namespace is made here and handed over as an open file;
// nothing in the file system refers to it, so it dies with its last process.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/network/firewall"
	"hoy/internal/network/hostfile"
	"hoy/internal/network/ipam"
	"hoy/internal/network/link"
	"hoy/internal/network/port"
	"hoy/internal/store"
)

// Options of New.
type Options struct {
	// Bridge is the name of the default bridge ("hoy0"), Table of the nftables table ("hoy").
	Bridge, Table string
	// Subnet of the default bridge; the zero value lets the service choose one that is free.
	Subnet netip.Prefix
	// MTU of the default bridge; 0 takes that of the default route's link.
	MTU   int
	Store *store.DB
	// Events takes network events; nil drops them.
	Events func(events.Message)
	Log    *slog.Logger
	// DefaultBind is the host address of published ports that name none; the zero value is 0.0.0.0.
	DefaultBind netip.Addr
	// Disabled leaves the default bridge out: containers then have no network
	// unless they share another's.
	Disabled bool
	// NetNS is the namespace to work in; nil is the process's own.
	NetNS *os.File
}

// Request asks for a container's network.
type Request struct {
	ContainerID, Name, Hostname, Domainname string
	Mode                                    container.NetworkMode
	// Endpoint is what was asked for; nil asks for nothing special.
	Endpoint   *network.EndpointSettings
	Ports      network.PortMap
	PublishAll bool
	Exposed    network.PortSet
	DNS        []netip.Addr
	// DNSSearch, DNSOptions and ExtraHosts as in container.HostConfig.
	DNSSearch, DNSOptions, ExtraHosts []string
	// Dir is where hosts, hostname and resolv.conf are written; empty writes none.
	Dir string
	// PeerPid is a process in the network namespace to share, in mode "container:".
	PeerPid int
	// NetNS, where not nil, is a fresh namespace to use in place of a new one.
	NetNS *os.File
	// InUse says that NetNS is that of a container that runs: only what belongs
	// to the network is made in it.
	InUse bool
	// Unplugged asks for a namespace with nothing but its loopback, whatever the mode.
	Unplugged bool
}

// Attachment is a container's network as it came to be.
type Attachment struct {
	// NetNS is the namespace, which the caller closes; nil is the host's.
	NetNS     *os.File
	SandboxID string
	Networks  map[string]*network.EndpointSettings
	Ports     network.PortMap
}

// Held is what a running container has of the network, as it was recorded.
type Held struct {
	ContainerID, Name string
	Networks          map[string]*network.EndpointSettings
	Ports             network.PortMap
}

// identity is the record of a predefined network.
type identity struct {
	ID      string       `json:"id"`
	Created time.Time    `json:"created"`
	Subnet  netip.Prefix `json:"subnet,omitzero"`
}

// Service is the network of one engine. It is safe for concurrent use; its lock
// guards maps and is never held across a system call.
type Service struct {
	opt     Options
	host    *link.Host
	bridge  *link.Bridge
	pool    *ipam.Pool
	ports   *port.Allocator
	table   *firewall.Table
	catalog *catalog

	mu        sync.Mutex
	endpoints map[string]*endpoint

	leaving sync.WaitGroup
	reap    chan string
	closed  chan struct{}
}

// New prepares the default bridge, its firewall table and routing. What an
// earlier engine left of containers stays until Restore.
func New(opt Options) (_ *Service, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if !opt.DefaultBind.IsValid() {
		opt.DefaultBind = netip.IPv4Unspecified()
	}
	if !opt.DefaultBind.Is4() {
		return nil, fmt.Errorf("default bind address %s: only IPv4 ports are published: %w", opt.DefaultBind, errdefs.ErrInvalidArgument)
	}
	s := &Service{opt: opt, endpoints: map[string]*endpoint{}, reap: make(chan string, 4096), closed: make(chan struct{})}
	if s.host, err = link.Open(opt.NetNS); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.host.Close()
		}
	}()
	if s.ports, err = port.NewAllocator(s.host.Do); err != nil {
		return nil, err
	}
	if s.catalog, err = openCatalog(opt); err != nil {
		return nil, err
	}
	if !opt.Disabled {
		if err = s.openBridge(); err != nil {
			return nil, fmt.Errorf("default bridge: %w", err)
		}
	}
	s.leaving.Go(s.reapLinks)
	return s, nil
}

// openBridge settles subnet and MTU and makes bridge and table.
func (s *Service) openBridge() error {
	if len(s.opt.Bridge) == 0 || len(s.opt.Bridge) > 15 {
		return fmt.Errorf("bridge name %q: must have 1 to 15 characters: %w", s.opt.Bridge, errdefs.ErrInvalidArgument)
	}
	// Two engines that start at once must not choose the same subnet.
	release := s.host.Exclusive("hoy-subnets", 3*time.Second)
	defer release()
	found, err := s.host.FindBridge(s.opt.Bridge)
	if err != nil {
		return err
	}
	taken, mtu, err := s.host.Occupied(s.opt.Bridge)
	if err != nil {
		return err
	}
	if s.opt.MTU == 0 {
		s.opt.MTU = mtu
	}
	gateway, err := s.chooseSubnet(found, taken)
	if err != nil {
		return err
	}
	if s.pool, err = ipam.NewPool(gateway.Masked()); err != nil {
		return err
	}
	if gateway.Addr() != s.pool.Gateway() {
		if err := s.pool.Claim(gateway.Addr()); err != nil {
			return err
		}
	}
	if s.bridge, err = s.host.EnsureBridge(link.Bridge{Name: s.opt.Bridge, Address: gateway, MTU: s.opt.MTU}); err != nil {
		return err
	}
	switch changed, err := s.host.EnableForwarding(); {
	case err != nil:
		return err
	case changed:
		s.opt.Log.Info("IP forwarding was off and is now on", "sysctl", "net.ipv4.ip_forward")
	}
	s.table = firewall.New(firewall.Options{
		Table: s.opt.Table, Bridge: s.opt.Bridge, Subnet: s.pool.Subnet(), NetNS: s.host.NetNS(), In: s.host.Do, Log: s.opt.Log})
	s.warnOfBlockers()
	return nil
}

// chooseSubnet returns the gateway's address with the subnet's length: what the
// bridge has already, what was asked for, what was recorded, or a free one.
func (s *Service) chooseSubnet(found *link.Bridge, taken []netip.Prefix) (netip.Prefix, error) {
	first := func(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits()) }
	id := s.catalog.ids[network.NetworkBridge]
	switch {
	case s.opt.Subnet.IsValid():
		if !s.opt.Subnet.Addr().Is4() {
			return netip.Prefix{}, fmt.Errorf("subnet %s: must be IPv4: %w", s.opt.Subnet, errdefs.ErrInvalidArgument)
		}
		if s.opt.Subnet != s.opt.Subnet.Masked() {
			return s.opt.Subnet, nil // as with dockerd's bip, an address in it is the gateway
		}
		return first(s.opt.Subnet), nil
	case found != nil && found.Address.IsValid():
		return found.Address, nil
	case id.Subnet.IsValid():
		for _, t := range taken {
			if t.Overlaps(id.Subnet) {
				s.opt.Log.Warn("the bridge's subnet overlaps a route of the host", "subnet", id.Subnet, "route", t)
			}
		}
		return first(id.Subnet), nil
	}
	p, err := ipam.Choose(ipam.Pools, taken, hostfile.Nameservers())
	if err != nil {
		return netip.Prefix{}, err
	}
	id.Subnet = p
	return first(p), s.catalog.save(network.NetworkBridge, id)
}

// warnOfBlockers tells of firewalls that will drop what containers send and get.
func (s *Service) warnOfBlockers() {
	names, err := s.table.Blockers()
	if err != nil {
		s.opt.Log.Warn("cannot look at the host's other firewall rules", "error", err)
		return
	}
	for _, name := range names {
		s.opt.Log.Warn("another firewall drops forwarded packets by default; unless it accepts those of the bridge, containers reach nothing outside",
			"chain", name, "bridge", s.opt.Bridge,
			"remedy", remedy(name, s.opt.Bridge))
	}
}

// remedy is what an administrator runs so that another firewall lets the bridge's packets pass.
func remedy(chain, bridge string) string {
	command := map[string]string{"ip filter FORWARD": "iptables", firewall.LegacyChain: "iptables-legacy"}[chain]
	if command != "" {
		return fmt.Sprintf("%[1]s -I FORWARD -i %[2]s -j ACCEPT; %[1]s -I FORWARD -o %[2]s -m conntrack --ctstate DNAT,ESTABLISHED,RELATED -j ACCEPT (beside Docker, in its chain DOCKER-USER)", command, bridge)
	}
	return fmt.Sprintf("nft insert rule %[1]s iifname %[2]s accept; nft insert rule %[1]s oifname %[2]s ct state established,related accept; nft insert rule %[1]s oifname %[2]s ct status dnat accept", chain, bridge)
}

// Close ends the service's own work and leaves bridge, links and rules in place.
func (s *Service) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
		close(s.closed)
	}
	s.leaving.Wait()
	if s.table != nil {
		s.table.Close()
	}
	s.mu.Lock()
	all := s.endpoints
	s.endpoints = map[string]*endpoint{}
	s.mu.Unlock()
	for _, e := range all {
		s.ports.Release(e.ports)
	}
	return s.host.Close()
}

// Destroy closes the service and removes its bridge, with all links on it, and its table.
func (s *Service) Destroy() error {
	var errs []error
	if s.bridge != nil {
		names, err := s.host.Members(s.bridge.Index)
		errs = append(errs, err, s.host.Delete(append(names, s.opt.Bridge)...), s.table.Destroy())
	}
	return errors.Join(append(errs, s.Close())...)
}

// Restore takes back what running containers hold, after a restart of the
// engine, and removes all that nobody holds. It is called once, before the
// first Attach.
func (s *Service) Restore(ctx context.Context, held []Held) error {
	owned := map[string]bool{}
	var forwards []firewall.Forward
	for _, h := range held {
		e, err := s.readopt(h)
		if err != nil {
			s.opt.Log.Error("cannot take back a container's network", "container", h.ContainerID, "error", err)
			continue
		}
		if e == nil {
			continue
		}
		s.mu.Lock()
		s.endpoints[h.ContainerID] = e
		s.mu.Unlock()
		owned[e.veth] = true
		forwards = append(forwards, e.forwards()...)
	}
	if s.bridge == nil {
		return nil
	}
	if err := s.table.Replace(ctx, forwards); err != nil {
		return err
	}
	return s.sweep(owned)
}

// readopt rebuilds the endpoint of a running container from its record; one that
// is on no bridge has none.
func (s *Service) readopt(h Held) (*endpoint, error) {
	for _, name := range []string{network.NetworkHost, network.NetworkNone} {
		if es := h.Networks[name]; es != nil {
			return &endpoint{containerID: h.ContainerID, name: h.Name, network: name, settings: es}, nil
		}
	}
	es := h.Networks[network.NetworkBridge]
	if es == nil || s.bridge == nil || es.EndpointID == "" {
		return nil, nil
	}
	if err := s.pool.Claim(es.IPAddress); err != nil {
		return nil, err
	}
	e := &endpoint{containerID: h.ContainerID, name: h.Name, network: network.NetworkBridge,
		settings: es, veth: vethName(es.EndpointID)}
	got, lost, err := s.ports.Reclaim(mappingsOf(h.Ports, es.IPAddress))
	if err != nil {
		s.ports.Release(got)
		s.pool.Release(es.IPAddress)
		return nil, err
	}
	for _, m := range lost {
		s.opt.Log.Warn("another program listens on a published port; connections go to the container all the same",
			"container", h.ContainerID, "port", m.String())
	}
	e.ports = got
	if err := s.host.Adopt(e.veth, s.bridge.Index); err != nil && !link.IsGone(err) {
		s.opt.Log.Warn("cannot join a container's link to the bridge", "container", h.ContainerID, "link", e.veth, "error", err)
	}
	return e, nil
}

// sweep deletes the links on the bridge that no endpoint owns.
func (s *Service) sweep(owned map[string]bool) error {
	names, err := s.host.Members(s.bridge.Index)
	if err != nil {
		return err
	}
	var stray []string
	for _, n := range names {
		if !owned[n] && isVethName(n) {
			stray = append(stray, n)
		}
	}
	if len(stray) > 0 {
		s.opt.Log.Info("removing links that no container owns", "links", stray)
	}
	return s.host.Delete(stray...)
}
