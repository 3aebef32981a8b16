package flags

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/cli/flags/value"
)

// attachment is one --network value.
type attachment struct {
	target     string
	aliases    []string
	driverOpts map[string]string
	links      []string
	ip4, ip6   string
	linkLocal  []string
	mac        string
	priority   int
}

// Networks are --network values: a name, or name=...,alias=...,ip=....
type Networks []attachment

func (n *Networks) String() string { return "" }

// Type names the value in help texts.
func (n *Networks) Type() string { return "network" }

// Set adds one network.
func (n *Networks) Set(value string) error {
	if !strings.Contains(value, "=") {
		*n = append(*n, attachment{target: value})
		return nil
	}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return err
	}
	var a attachment
	for _, field := range fields {
		key, val, ok := strings.Cut(strings.ToLower(field), "=")
		if !ok || key == "" {
			return fmt.Errorf("invalid field %s", field)
		}
		if err := a.set(strings.TrimSpace(key), strings.TrimSpace(val)); err != nil {
			return err
		}
	}
	if a.target == "" {
		return errors.New("network name/id is not specified")
	}
	*n = append(*n, a)
	return nil
}

func (a *attachment) set(key, val string) error {
	switch key {
	case "name":
		a.target = val
	case "alias":
		a.aliases = append(a.aliases, val)
	case "ip":
		a.ip4 = val
	case "ip6":
		a.ip6 = val
	case "link-local-ip":
		a.linkLocal = append(a.linkLocal, val)
	case "mac-address":
		mac, err := value.MAC(val)
		if err != nil {
			return err
		}
		a.mac = mac
	case "driver-opt":
		name, opt, ok := strings.Cut(val, "=")
		if !ok || name == "" {
			return errors.New("invalid key value pair format in driver options")
		}
		if a.driverOpts == nil {
			a.driverOpts = map[string]string{}
		}
		a.driverOpts[name] = opt
	case "gw-priority":
		n, err := strconv.Atoi(val)
		if err != nil {
			return fmt.Errorf("invalid gw-priority: %s is no integer", val)
		}
		a.priority = n
	default:
		return fmt.Errorf("invalid field key %s", key)
	}
	return nil
}

// endpoints returns the endpoint of each network and sets the mode to the first
// one. The flags --ip, --network-alias and their like belong to the first.
func (c *Container) endpoints(mode *container.NetworkMode) (map[string]*network.EndpointSettings, error) {
	nets := []attachment(c.networks)
	if len(nets) == 0 {
		nets = []attachment{{target: network.NetworkDefault}}
	}
	*mode = container.NetworkMode(nets[0].target)
	endpoints := map[string]*network.EndpointSettings{}
	userDefined, other := false, false
	for i, a := range nets {
		if container.NetworkMode(a.target).IsUserDefined() {
			userDefined = true
		} else {
			other = true
		}
		if i == 0 {
			if err := c.moveFlagsTo(&a); err != nil {
				return nil, err
			}
		}
		if _, twice := endpoints[a.target]; twice {
			return nil, fmt.Errorf("network %q is specified multiple times", a.target)
		}
		ep, err := a.endpoint()
		if err != nil {
			return nil, err
		}
		// The mode alone names a built-in network, unless there is more to say.
		if len(nets) > 1 || a.target == network.NetworkDefault || container.NetworkMode(a.target).IsUserDefined() || !reflect.DeepEqual(*ep, network.EndpointSettings{}) {
			endpoints[a.target] = ep
		}
	}
	if userDefined && other {
		return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	return endpoints, nil
}

// moveFlagsTo gives the first network what the flags of the container say.
func (c *Container) moveFlagsTo(a *attachment) error {
	conflict := func(name string) error {
		return fmt.Errorf("conflicting options: cannot specify both --%s and per-network %s", name, perNetwork[name])
	}
	switch {
	case len(a.aliases) > 0 && len(c.aliases.Values) > 0:
		return conflict("network-alias")
	case len(a.links) > 0 && len(c.links.Values) > 0:
		return conflict("link")
	case a.ip4 != "" && c.ip != "":
		return conflict("ip")
	case a.ip6 != "" && c.ip6 != "":
		return conflict("ip6")
	case a.mac != "" && c.mac != "":
		return conflict("mac-address")
	case len(a.linkLocal) > 0 && len(c.linkLocal.Values) > 0:
		return conflict("link-local-ip")
	}
	if len(c.aliases.Values) > 0 {
		a.aliases = c.aliases.Values
	}
	if len(c.links.Values) > 0 && container.NetworkMode(a.target).IsUserDefined() {
		a.links = c.links.Values
	}
	if c.ip != "" {
		a.ip4 = c.ip
	}
	if c.ip6 != "" {
		a.ip6 = c.ip6
	}
	if c.mac != "" {
		mac, err := value.MAC(c.mac)
		if err != nil {
			return fmt.Errorf("%s is not a valid mac address", c.mac)
		}
		a.mac = mac
	}
	if len(c.linkLocal.Values) > 0 {
		a.linkLocal = c.linkLocal.Values
	}
	return nil
}

var perNetwork = map[string]string{
	"network-alias": "alias", "link": "links", "ip": "IPv4 address", "ip6": "IPv6 address",
	"mac-address": "MAC address", "link-local-ip": "link-local IP addresses",
}

func (a *attachment) endpoint() (*network.EndpointSettings, error) {
	if strings.TrimSpace(a.target) == "" {
		return nil, errors.New("no name set for network")
	}
	if !container.NetworkMode(a.target).IsUserDefined() {
		if len(a.aliases) > 0 {
			return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
		}
		if len(a.links) > 0 {
			return nil, errors.New("links are only supported for user-defined networks")
		}
	}
	ep := &network.EndpointSettings{DriverOpts: a.driverOpts, Aliases: a.aliases, Links: a.links, GwPriority: a.priority}
	if a.ip4 != "" || a.ip6 != "" || len(a.linkLocal) > 0 {
		ipam, err := a.ipam()
		if err != nil {
			return nil, err
		}
		ep.IPAMConfig = ipam
	}
	if a.mac != "" {
		mac, err := net.ParseMAC(a.mac)
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", a.mac)
		}
		ep.MacAddress = network.HardwareAddr(mac)
	}
	return ep, nil
}

func (a *attachment) ipam() (*network.EndpointIPAMConfig, error) {
	var ipam network.EndpointIPAMConfig
	var err error
	if a.ip4 != "" {
		if ipam.IPv4Address, err = netip.ParseAddr(a.ip4); err != nil || !ipam.IPv4Address.Is4() {
			return nil, fmt.Errorf("invalid IPv4 address: %s", a.ip4)
		}
	}
	if a.ip6 != "" {
		if ipam.IPv6Address, err = netip.ParseAddr(a.ip6); err != nil || !ipam.IPv6Address.Is6() {
			return nil, fmt.Errorf("invalid IPv6 address: %s", a.ip6)
		}
	}
	for _, value := range a.linkLocal {
		ip, err := netip.ParseAddr(value)
		if err != nil {
			return nil, fmt.Errorf("invalid link-local IP address: %s", value)
		}
		ipam.LinkLocalIPs = append(ipam.LinkLocalIPs, ip)
	}
	return &ipam, nil
}
