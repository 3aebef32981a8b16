package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/filter"
	"hoy/internal/store"
)

// FilterKeys are the filters of List.
var FilterKeys = []string{"dangling", "driver", "id", "label", "name", "scope", "type"}

var predefined = []string{network.NetworkBridge, network.NetworkHost, network.NetworkNone}

// catalog knows the networks that exist by name and id.
type catalog struct {
	bucket *store.Bucket[identity]
	ids    map[string]identity
	names  []string
}

// openCatalog reads the ids of the predefined networks, which are made once and then stay.
func openCatalog(opt Options) (*catalog, error) {
	bucket, err := store.NewBucket[identity](opt.Store, "networks")
	if err != nil {
		return nil, err
	}
	c := &catalog{bucket: bucket, ids: map[string]identity{}, names: predefined}
	if opt.Disabled {
		c.names = predefined[1:]
	}
	for _, name := range predefined {
		id, err := bucket.Get(name)
		if err != nil {
			if !errors.Is(err, errdefs.ErrNotFound) {
				opt.Log.Error("the record of a network is damaged and is made anew", "network", name, "error", err)
			}
			id = identity{ID: store.NewID(), Created: time.Now().UTC()}
			if err := bucket.Put(name, id); err != nil {
				return nil, err
			}
		}
		c.ids[name] = id
	}
	return c, nil
}

// save is called only while the service is opened.
func (c *catalog) save(name string, id identity) error {
	c.ids[name] = id
	return c.bucket.Put(name, id)
}

// lookup finds a name by name, id or an unambiguous beginning of one.
func (c *catalog) lookup(ref string) (string, error) {
	if slices.Contains(c.names, ref) {
		return ref, nil
	}
	var found []string
	for _, n := range c.names {
		if ref != "" && strings.HasPrefix(c.ids[n].ID, ref) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", errdefs.ErrNotFound.WithMessage(fmt.Sprintf("network %s not found", ref))
	}
	return "", errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found)))
}

// describe renders one network, without its containers.
func (s *Service) describe(name string) network.Network {
	n := network.Network{
		Name: name, ID: s.catalog.ids[name].ID, Created: s.catalog.ids[name].Created, Scope: "local", Driver: name,
		EnableIPv4: true, IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}},
		Options: map[string]string{}, Labels: map[string]string{},
	}
	switch name {
	case network.NetworkNone:
		n.Driver = "null"
	case network.NetworkBridge:
		n.IPAM.Config = []network.IPAMConfig{{Subnet: s.pool.Subnet(), Gateway: s.bridge.Address.Addr()}}
		n.Options = map[string]string{
			"com.docker.network.bridge.default_bridge":       "true",
			"com.docker.network.bridge.enable_icc":           "true",
			"com.docker.network.bridge.enable_ip_masquerade": "true",
			"com.docker.network.bridge.host_binding_ipv4":    s.opt.DefaultBind.String(),
			"com.docker.network.bridge.name":                 s.opt.Bridge,
			"com.docker.network.driver.mtu":                  strconv.Itoa(s.opt.MTU),
		}
	}
	return n
}

// containers lists who is on the network.
func (s *Service) containers(name string) map[string]network.EndpointResource {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]network.EndpointResource{}
	for id, e := range s.endpoints {
		if e.network != name {
			continue
		}
		r := network.EndpointResource{Name: e.name, EndpointID: e.settings.EndpointID, MacAddress: e.settings.MacAddress}
		if e.settings.IPAddress.IsValid() {
			r.IPv4Address = netip.PrefixFrom(e.settings.IPAddress, e.settings.IPPrefixLen)
		}
		out[id] = r
	}
	return out
}

// List gives the networks that the filters let through, without their containers.
func (s *Service) List(_ context.Context, f filter.Args) ([]network.Inspect, error) {
	dangling, err := f.Bool("dangling", false)
	if err != nil {
		return nil, err
	}
	for _, kind := range f["type"] {
		if kind != "builtin" && kind != "custom" {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter: 'type'='%s'", kind))
		}
	}
	list := []network.Inspect{}
	for _, name := range s.catalog.names {
		n := s.describe(name)
		idOK := f.MatchFunc("id", func(v string) bool { return strings.HasPrefix(n.ID, v) })
		if !f.MatchPattern("name", n.Name) || !idOK || !f.Match("driver", n.Driver) || !f.Match("scope", n.Scope) ||
			!f.Match("type", "builtin") || !f.MatchLabels("label", n.Labels) || (f.Has("dangling") && dangling) {
			continue
		}
		list = append(list, network.Inspect{Network: n, Containers: map[string]network.EndpointResource{}})
	}
	return list, nil
}

// Inspect finds a network by name, id or an unambiguous beginning of one.
func (s *Service) Inspect(_ context.Context, ref string) (network.Inspect, error) {
	name, err := s.catalog.lookup(ref)
	if err != nil {
		return network.Inspect{}, err
	}
	return network.Inspect{Network: s.describe(name), Containers: s.containers(name)}, nil
}

// Create is not possible yet.
func (s *Service) Create(_ context.Context, req network.CreateRequest) (network.CreateResponse, error) {
	if req.Name == "" {
		return network.CreateResponse{}, errdefs.ErrInvalidArgument.WithMessage("network name is required")
	}
	if slices.Contains(predefined, req.Name) {
		return network.CreateResponse{}, errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("operation is not permitted on predefined %s network", req.Name))
	}
	return network.CreateResponse{}, errdefs.ErrNotImplemented.WithMessage("this engine has no user-defined networks yet: use bridge, host, none or container:NAME")
}

// Remove refuses: all networks that exist are predefined.
func (s *Service) Remove(_ context.Context, ref string) error {
	name, err := s.catalog.lookup(ref)
	if err != nil {
		return err
	}
	return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("%s is a pre-defined network and cannot be removed", name))
}

// Prune removes nothing: predefined networks stay.
func (s *Service) Prune(context.Context, filter.Args) (network.PruneReport, error) {
	return network.PruneReport{}, nil
}

func (s *Service) publish(action events.Action, e *endpoint) {
	if s.opt.Events == nil {
		return
	}
	s.opt.Events(events.Message{Type: events.NetworkEventType, Action: action, Scope: "local",
		Actor: events.Actor{ID: s.catalog.ids[e.network].ID, Attributes: map[string]string{
			"container": e.containerID, "name": e.network, "type": driver(e.network)}}})
}

func driver(name string) string {
	if name == network.NetworkNone {
		return "null"
	}
	return name
}
