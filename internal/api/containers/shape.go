package containers

import (
	"net/http"
	"net/netip"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"hoy/internal/api/edge"
)

// oldInspect is GET /containers/{id}/json up to API 1.51. Its fields hide
// those of the same name in what it embeds.
type oldInspect struct {
	*container.InspectResponse
	Config          *oldConfig
	HostConfig      any
	NetworkSettings *oldNetworkSettings
}

type oldConfig struct {
	*container.Config
	OnBuild    []string
	MacAddress string `json:",omitempty"`
}

// kernelHostConfig has what clients before 1.42 expect; no kernel has it any more.
type kernelHostConfig struct {
	*container.HostConfig
	KernelMemory, KernelMemoryTCP int64
}

// oldNetworkSettings repeats the default bridge's endpoint, as before there
// were several networks.
type oldNetworkSettings struct {
	*container.NetworkSettings
	Bridge                 string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                netip.Addr
	GlobalIPv6Address      netip.Addr
	GlobalIPv6PrefixLen    int
	IPAddress              netip.Addr
	IPPrefixLen            int
	IPv6Gateway            netip.Addr
	MacAddress             network.HardwareAddr
}

// ageInspect gives an old client the fields that it knows.
func ageInspect(r *http.Request, c container.InspectResponse) any {
	if edge.Before(r, 48) {
		c.ImageManifestDescriptor = nil
	}
	if c.GraphDriver == nil {
		c.GraphDriver = &storage.DriverData{Name: c.Driver}
	}
	old := oldInspect{InspectResponse: &c, HostConfig: c.HostConfig}
	if c.Config != nil {
		old.Config = &oldConfig{Config: c.Config, OnBuild: c.Config.OnBuild}
	}
	if c.HostConfig != nil && edge.Before(r, 42) {
		old.HostConfig = kernelHostConfig{HostConfig: c.HostConfig}
	}
	if c.NetworkSettings != nil {
		old.NetworkSettings = ageNetwork(r, &c)
	}
	return old
}

func ageNetwork(r *http.Request, c *container.InspectResponse) *oldNetworkSettings {
	set := *c.NetworkSettings
	old := &oldNetworkSettings{NetworkSettings: &set}
	if edge.Before(r, 45) && len(c.ID) >= 12 {
		// The short id was among the aliases then.
		set.Networks = make(map[string]*network.EndpointSettings, len(c.NetworkSettings.Networks))
		for name, ep := range c.NetworkSettings.Networks {
			ep = ep.Copy()
			if ep != nil && ep.Aliases != nil {
				ep.Aliases = append(ep.Aliases, c.ID[:12])
			}
			set.Networks[name] = ep
		}
	}
	if ep := set.Networks[network.NetworkBridge]; ep != nil {
		old.EndpointID, old.Gateway, old.IPAddress, old.IPPrefixLen = ep.EndpointID, ep.Gateway, ep.IPAddress, ep.IPPrefixLen
		old.GlobalIPv6Address, old.GlobalIPv6PrefixLen = ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen
		old.IPv6Gateway, old.MacAddress = ep.IPv6Gateway, ep.MacAddress
	}
	return old
}
