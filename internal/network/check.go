package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"hoy/internal/network/link"
	"hoy/internal/reconcile"
)

// Check compares what containers hold of the network with bridge, links,
// addresses, routing and rules. netns opens a running container's namespace. Of
// links and addresses only those are called ownerless that stay so: who looks
// twice does not take a start under way for one.
func (s *Service) Check(ctx context.Context, netns func(containerID string) (*os.File, error)) []reconcile.Finding {
	if s.bridge == nil {
		return nil
	}
	return checker{s}.check(ctx, netns)
}

// checker has what Check is made of.
type checker struct{ *Service }

func (s checker) check(ctx context.Context, netns func(containerID string) (*os.File, error)) []reconcile.Finding {
	links, err := s.host.Links()
	if err != nil {
		return []reconcile.Finding{{Kind: "link", Object: s.opt.Bridge, Store: "recorded", Machine: err.Error()}}
	}
	held := s.held()
	all := s.checkBridge(links, held)
	all = append(all, s.checkLinks(links, held, netns)...)
	all = append(all, s.checkAddresses(held)...)
	all = append(all, s.checkForwarding()...)
	return append(all, s.checkRules(ctx)...)
}

// held are the endpoints on the bridge.
func (s checker) held() map[string]*endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := maps.Clone(s.endpoints)
	maps.DeleteFunc(held, func(_ string, e *endpoint) bool { return e.network != network.NetworkBridge })
	return held
}

// current says whether the endpoint is its container's still.
func (s checker) current(e *endpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints[e.containerID] == e
}

func (s checker) checkBridge(links map[string]link.Link, held map[string]*endpoint) []reconcile.Finding {
	f := reconcile.Finding{Kind: "bridge", Object: s.opt.Bridge, Store: s.bridge.Address.String(), Repair: "make it as it was and join the containers' links"}
	found, err := s.host.FindBridge(s.opt.Bridge)
	switch l, there := links[s.opt.Bridge]; {
	case err != nil:
		f.Machine = err.Error()
	case !there || found == nil:
		f.Machine = "not there"
	case l.Index != s.bridge.Index:
		f.Machine = "another bridge of that name"
		f.Repair = "stop its owner, remove it, and start the engine again"
		return []reconcile.Finding{f}
	case found.Address != s.bridge.Address:
		f.Machine = "address " + found.Address.String()
		if !found.Address.IsValid() {
			f.Machine = "no address"
		}
	case !l.Up:
		f.Machine = "down"
	default:
		return nil
	}
	f.Fix = func(context.Context) error {
		made, err := s.host.EnsureBridge(*s.bridge)
		if err != nil {
			return err
		}
		if made.Index != s.bridge.Index {
			return fmt.Errorf("the bridge came back with number %d in place of %d: start the engine again", made.Index, s.bridge.Index)
		}
		var errs []error
		for _, e := range held {
			if err := s.host.Adopt(e.veth, s.bridge.Index); err != nil && !link.IsGone(err) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	return []reconcile.Finding{f}
}

func (s checker) checkLinks(links map[string]link.Link, held map[string]*endpoint, netns func(string) (*os.File, error)) (all []reconcile.Finding) {
	owned := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		e := held[id]
		owned[e.veth] = true
		f := reconcile.Finding{Kind: "link", Object: e.veth, Store: "of container " + e.name}
		switch l, there := links[e.veth]; {
		case !there:
			f.Machine, f.Repair = "not there", "wire the container again with its address"
			f.Fix = func(context.Context) error { return s.rewire(e, netns) }
		case l.Master != s.bridge.Index || !l.Up:
			f.Machine, f.Repair = "not on the bridge", "join it to the bridge"
			if l.Master == s.bridge.Index {
				f.Machine = "down"
			}
			f.Fix = func(context.Context) error {
				if !s.current(e) {
					return nil
				}
				return s.host.Adopt(e.veth, s.bridge.Index)
			}
		default:
			continue
		}
		all = append(all, f)
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if owned[name] || links[name].Master != s.bridge.Index || !isVethName(name) {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "link", Object: name, Store: "of no container", Machine: "on the bridge", Repair: "delete it",
			Fix: func(context.Context) error {
				for _, e := range s.held() {
					if e.veth == name {
						return nil
					}
				}
				return s.host.Delete(name)
			},
		})
	}
	return all
}

// rewire makes the link of a running container again: the pair went with the
// end that was deleted.
func (s checker) rewire(e *endpoint, netns func(string) (*os.File, error)) error {
	ns, err := netns(e.containerID)
	if err != nil {
		return err
	}
	defer ns.Close()
	if !s.current(e) {
		return nil
	}
	es := e.settings
	return s.host.Plug(ns, &link.Veth{
		Name: e.veth, Bridge: s.bridge.Index, MTU: s.opt.MTU,
		Address: netip.PrefixFrom(es.IPAddress, es.IPPrefixLen), Gateway: es.Gateway, MAC: net.HardwareAddr(es.MacAddress),
		Hairpin: len(e.ports) > 0,
	})
}

func (s checker) checkAddresses(held map[string]*endpoint) (all []reconcile.Finding) {
	owners := map[netip.Addr]string{}
	for _, e := range held {
		owners[e.settings.IPAddress] = e.name
	}
	given := s.pool.Given()
	for _, a := range slices.SortedFunc(maps.Keys(owners), netip.Addr.Compare) {
		if !slices.Contains(given, a) {
			all = append(all, reconcile.Finding{
				Kind: "address", Object: a.String(), Store: "of container " + owners[a], Machine: "free to be given again", Repair: "keep it for the container",
				Fix: func(context.Context) error { return s.pool.Claim(a) },
			})
		}
	}
	for _, a := range given {
		if owners[a] == "" && a != s.bridge.Address.Addr() {
			all = append(all, reconcile.Finding{
				Kind: "address", Object: a.String(), Store: "of no container", Machine: "given", Repair: "free it",
				Fix: func(context.Context) error {
					for _, e := range s.held() {
						if e.settings.IPAddress == a {
							return nil
						}
					}
					s.pool.Release(a)
					return nil
				},
			})
		}
	}
	return all
}

// checkForwarding looks at the switches without which no packet passes.
func (s checker) checkForwarding() (all []reconcile.Finding) {
	_ = s.host.Do(func() error {
		for _, name := range []string{"ipv4/ip_forward", "ipv4/conf/" + s.opt.Bridge + "/route_localnet"} {
			text, err := os.ReadFile("/proc/sys/net/" + name)
			if err != nil || strings.TrimSpace(string(text)) != "0" {
				continue // without the bridge there is no such switch
			}
			all = append(all, reconcile.Finding{
				Kind: "sysctl", Object: "net." + strings.ReplaceAll(name, "/", "."), Store: "1", Machine: "0", Repair: "set it to 1",
				Fix: func(context.Context) error {
					return s.host.Do(func() error { return link.WriteSysctl(link.Sysctl{Path: name, Value: "1"}) })
				},
			})
		}
		return nil
	})
	return all
}

func (s checker) checkRules(ctx context.Context) []reconcile.Finding {
	wrong, err := s.table.Verify(ctx)
	if err != nil {
		return []reconcile.Finding{{Kind: "rules", Object: "table ip " + s.opt.Table, Store: "recorded", Machine: err.Error()}}
	}
	if wrong == "" {
		return nil
	}
	return []reconcile.Finding{{
		Kind: "rules", Object: "table ip " + s.opt.Table, Store: "as the engine made it", Machine: wrong,
		Repair: "make the table again with all published ports", Fix: s.table.Repair,
	}}
}
