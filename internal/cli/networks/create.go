package networks

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/flags/value"
)

type createOptions struct {
	driver, scope, configFrom, ipamDriver             string
	attachable, configOnly, ingress, internal, v4, v6 bool
	subnets, ranges, gateways                         []string
	aux, ipamOptions, options                         value.Map
	labels                                            value.List
}

func newCreate(app *cli.App) *cobra.Command {
	opt := createOptions{labels: value.List{Check: value.Label}}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] NETWORK",
		Short: "Create a network",
		Example: `  hoy network create backend
  hoy network create --subnet 10.5.0.0/24 --gateway 10.5.0.254 --internal backend`,
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.None,
		RunE:              func(cmd *cobra.Command, args []string) error { return runCreate(cmd, app, &opt, args[0]) },
	}
	set := cmd.Flags()
	set.StringVarP(&opt.driver, "driver", "d", "bridge", "Driver to manage the Network")
	set.VarP(&opt.options, "opt", "o", "Set driver specific options")
	set.Var(&opt.labels, "label", "Set metadata on a network")
	set.BoolVar(&opt.internal, "internal", false, "Restrict external access to the network")
	set.BoolVar(&opt.v4, "ipv4", true, "Enable or disable IPv4 address assignment")
	set.BoolVar(&opt.v6, "ipv6", false, "Enable or disable IPv6 address assignment")
	set.BoolVar(&opt.attachable, "attachable", false, "Enable manual container attachment")
	set.BoolVar(&opt.ingress, "ingress", false, "Create swarm routing-mesh network")
	set.StringVar(&opt.scope, "scope", "", "Control the network's scope")
	set.BoolVar(&opt.configOnly, "config-only", false, "Create a configuration only network")
	set.StringVar(&opt.configFrom, "config-from", "", "The network from which to copy the configuration")
	set.StringVar(&opt.ipamDriver, "ipam-driver", "default", "IP Address Management Driver")
	set.StringSliceVar(&opt.subnets, "subnet", nil, "Subnet in CIDR format that represents a network segment")
	set.StringSliceVar(&opt.ranges, "ip-range", nil, "Allocate container ip from a sub-range")
	set.StringSliceVar(&opt.gateways, "gateway", nil, "IPv4 or IPv6 Gateway for the master subnet")
	set.Var(&opt.aux, "aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
	set.Var(&opt.ipamOptions, "ipam-opt", "Set IPAM driver specific options")
	return cmd
}

func runCreate(cmd *cobra.Command, app *cli.App, opt *createOptions, name string) error {
	config, err := ipamConfig(opt)
	if err != nil {
		return err
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	request := client.NetworkCreateOptions{
		Driver: opt.driver, Scope: opt.scope, Internal: opt.internal, Attachable: opt.attachable,
		Ingress: opt.ingress, ConfigOnly: opt.configOnly, ConfigFrom: opt.configFrom,
		Options: orEmpty(opt.options.Values), Labels: labelMap(opt.labels.Values),
		IPAM: &network.IPAM{Driver: opt.ipamDriver, Config: config, Options: orEmpty(opt.ipamOptions.Values)},
	}
	if cmd.Flags().Changed("ipv4") {
		request.EnableIPv4 = &opt.v4
	}
	if cmd.Flags().Changed("ipv6") {
		request.EnableIPv6 = &opt.v6
	}
	created, err := api.NetworkCreate(cmd.Context(), name, request)
	if err != nil {
		return err
	}
	for _, warning := range created.Warning {
		fmt.Fprintln(app.Err, "WARNING:", warning)
	}
	fmt.Fprintln(app.Out, created.ID)
	return nil
}

func labelMap(labels []string) map[string]string {
	m := map[string]string{}
	value.AddPairs(m, labels)
	return m
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// ipamConfig puts each range, gateway and further address to the subnet that it
// lies in, which must be given and must not overlap another one.
func ipamConfig(opt *createOptions) ([]network.IPAMConfig, error) {
	if len(opt.subnets) < len(opt.ranges) || len(opt.subnets) < len(opt.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	var config []network.IPAMConfig
	for _, text := range opt.subnets {
		subnet, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid CIDR address: %s", text)
		}
		for _, other := range config {
			if other.Subnet.Overlaps(subnet) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		config = append(config, network.IPAMConfig{Subnet: subnet})
	}
	within := func(addr netip.Addr) *network.IPAMConfig {
		for i := range config {
			if config[i].Subnet.Contains(addr) {
				return &config[i]
			}
		}
		return nil
	}
	for _, text := range opt.ranges {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid CIDR address: %s", text)
		}
		c := within(prefix.Addr())
		if c == nil || prefix.Bits() < c.Subnet.Bits() {
			return nil, fmt.Errorf("no matching subnet for range %s", text)
		}
		if c.IPRange.IsValid() {
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, c.IPRange, c.Subnet)
		}
		c.IPRange = prefix
	}
	for _, text := range opt.gateways {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("invalid gateway address: %s", text)
		}
		c := within(addr)
		if c == nil {
			return nil, fmt.Errorf("no matching subnet for gateway %s", text)
		}
		if c.Gateway.IsValid() {
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, c.Gateway, c.Subnet)
		}
		c.Gateway = addr
	}
	return config, auxAddresses(opt.aux.Values, within)
}

func auxAddresses(aux map[string]string, within func(netip.Addr) *network.IPAMConfig) error {
	for name, text := range aux {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("invalid auxiliary address: %s", text)
		}
		c := within(addr)
		if c == nil {
			return fmt.Errorf("no matching subnet for aux-address %s", text)
		}
		if c.AuxAddress == nil {
			c.AuxAddress = map[string]netip.Addr{}
		}
		c.AuxAddress[name] = addr
	}
	return nil
}

type connectOptions struct {
	ip, ip6              string
	aliases, local, opts []string
	links                value.List
	priority             int
}

func newConnect(app *cli.App) *cobra.Command {
	var opt connectOptions
	cmd := &cobra.Command{
		Use:   "connect [OPTIONS] NETWORK CONTAINER",
		Short: "Connect a container to a network",
		Example: `  hoy network connect backend web
  hoy network connect --ip 10.5.0.7 --alias db backend postgres`,
		Args:              cli.ExactArgs(2),
		ValidArgsFunction: networkThenContainer(app),
		RunE: func(cmd *cobra.Command, args []string) error {
			endpoint, err := opt.endpoint()
			if err != nil {
				return err
			}
			api, err := app.Client()
			if err != nil {
				return err
			}
			_, err = api.NetworkConnect(cmd.Context(), args[0], client.NetworkConnectOptions{Container: args[1], EndpointConfig: endpoint})
			return err
		},
	}
	set := cmd.Flags()
	set.StringVar(&opt.ip, "ip", "", `IPv4 address (e.g., "172.30.100.104")`)
	set.StringVar(&opt.ip6, "ip6", "", `IPv6 address (e.g., "2001:db8::33")`)
	set.Var(&opt.links, "link", "Add link to another container")
	set.StringSliceVar(&opt.aliases, "alias", nil, "Add network-scoped alias for the container")
	set.StringSliceVar(&opt.local, "link-local-ip", nil, "Add a link-local address for the container")
	set.StringSliceVar(&opt.opts, "driver-opt", nil, "driver options for the network")
	set.IntVar(&opt.priority, "gw-priority", 0, "Highest gw-priority provides the default gateway.\nAccepts positive and negative values.")
	return cmd
}

func (o *connectOptions) endpoint() (*network.EndpointSettings, error) {
	ipam := &network.EndpointIPAMConfig{}
	parse := func(text string) (netip.Addr, error) {
		if text == "" {
			return netip.Addr{}, nil
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return addr, fmt.Errorf("invalid IP address: %s", text)
		}
		return addr, nil
	}
	var err error
	if ipam.IPv4Address, err = parse(o.ip); err != nil {
		return nil, err
	}
	if ipam.IPv6Address, err = parse(o.ip6); err != nil {
		return nil, err
	}
	for _, text := range o.local {
		addr, err := parse(text)
		if err != nil {
			return nil, err
		}
		ipam.LinkLocalIPs = append(ipam.LinkLocalIPs, addr)
	}
	options := map[string]string{}
	for _, text := range o.opts {
		key, val, ok := strings.Cut(text, "=")
		if !ok || strings.TrimSpace(key) == "" {
			return nil, errors.New("invalid key/value pair format in driver options")
		}
		options[strings.TrimSpace(key)] = strings.TrimSpace(val)
	}
	return &network.EndpointSettings{
		IPAMConfig: ipam, Links: o.links.Values, Aliases: o.aliases, DriverOpts: options, GwPriority: o.priority,
	}, nil
}
