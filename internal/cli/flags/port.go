package flags

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
	"github.com/moby/moby/api/types/network"
)

// parsePorts returns what -p and --expose ask for.
func parsePorts(publish, expose []string) (network.PortSet, network.PortMap, error) {
	exposed, bindings := network.PortSet{}, network.PortMap{}
	for _, value := range publish {
		spec := value
		if strings.Contains(value, "=") {
			var err error
			if spec, err = shortPort(value); err != nil {
				return nil, nil, err
			}
		}
		mappings, err := nat.ParsePortSpec(spec)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range mappings {
			port, err := network.ParsePort(string(m.Port))
			if err != nil {
				return nil, nil, err
			}
			var ip netip.Addr
			if m.Binding.HostIP != "" {
				if ip, err = netip.ParseAddr(m.Binding.HostIP); err != nil {
					return nil, nil, fmt.Errorf("invalid IP address: %s", m.Binding.HostIP)
				}
			}
			exposed[port] = struct{}{}
			bindings[port] = append(bindings[port], network.PortBinding{HostIP: ip, HostPort: m.Binding.HostPort})
		}
	}
	for _, value := range expose {
		if strings.Contains(value, ":") {
			return nil, nil, fmt.Errorf("invalid port format for --expose: %s", value)
		}
		ports, err := network.ParsePortRange(value)
		if err != nil {
			return nil, nil, fmt.Errorf("invalid range format for --expose: %s, error: %w", value, err)
		}
		for port := range ports.All() {
			exposed[port] = struct{}{}
		}
	}
	return exposed, bindings, nil
}

// shortPort turns the long form, target=80,published=8080,protocol=tcp, into the
// short one.
func shortPort(value string) (string, error) {
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return "", err
	}
	target, published, proto := "", "", "tcp"
	for _, field := range fields {
		key, val, ok := strings.Cut(strings.ToLower(field), "=")
		if !ok || key == "" {
			return "", fmt.Errorf("invalid field: %s", field)
		}
		switch key {
		case "protocol":
			if val != "tcp" && val != "udp" && val != "sctp" {
				return "", fmt.Errorf("invalid protocol value '%s'", val)
			}
			proto = val
		case "mode":
			if val != "ingress" && val != "host" {
				return "", fmt.Errorf("invalid publish mode value (%s): must be either 'ingress' or 'host'", val)
			}
		case "target":
			if _, err := strconv.ParseUint(val, 10, 16); err != nil {
				return "", fmt.Errorf("invalid target port (%s): value must be an integer", val)
			}
			target = val
		case "published":
			if _, err := strconv.ParseUint(val, 10, 16); err != nil {
				return "", fmt.Errorf("invalid published port (%s): value must be an integer", val)
			}
			published = val
		default:
			return "", fmt.Errorf("invalid field key: %s", key)
		}
	}
	if target == "" {
		return "", errors.New("missing mandatory field 'target'")
	}
	return published + ":" + target + "/" + proto, nil
}
