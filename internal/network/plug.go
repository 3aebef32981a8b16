package network

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/network/hostfile"
	"hoy/internal/store"
)

// Find gives the name of a network by its name, id or an unambiguous beginning of one.
func (s *Service) Find(ref string) (string, error) { return s.catalog.lookup(ref) }

// Unplug takes the network r.Mode from a container, whose namespace lives on
// where it runs. The address comes free after the link that has it is gone. On
// error the container is on the network still.
func (s *Service) Unplug(ctx context.Context, r Request) error {
	s.mu.Lock()
	e := s.endpoints[r.ContainerID]
	s.mu.Unlock()
	if e == nil {
		s.publish(events.ActionDisconnect, &endpoint{containerID: r.ContainerID, network: string(s.effective(r.Mode))})
		return nil
	}
	if e.veth != "" {
		if err := s.host.Delete(e.veth); err != nil {
			return err
		}
	}
	err := s.Detach(ctx, r.ContainerID)
	if r.Dir != "" && e.settings.IPAddress.IsValid() {
		err = errors.Join(err, hostfile.Readdress(r.Dir, hostfile.Names{Hostname: r.Hostname, Domainname: r.Domainname}, e.settings.IPAddress))
	}
	if err != nil {
		s.opt.Log.Error("a disconnected container's network is not wholly undone; the next start sweeps it", "container", r.ContainerID, "error", err)
	}
	return nil
}

// unplugged is the network of a container that was disconnected by hand: none,
// but its own namespace.
func (s *Service) unplugged(r Request) (*Attachment, error) {
	ns, err := s.host.Namespace(r.NetNS, nil)
	if err != nil {
		return nil, err
	}
	if err := s.writeFiles(r, &endpoint{settings: &network.EndpointSettings{}}); err != nil {
		_ = ns.Close()
		return nil, err
	}
	return &Attachment{NetNS: ns, SandboxID: store.NewID(), Networks: map[string]*network.EndpointSettings{}, Ports: network.PortMap{}}, nil
}
