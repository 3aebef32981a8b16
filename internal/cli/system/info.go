package system

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/version"
)

// information is what templates of info see.
type information struct {
	*system.Info `json:",omitempty"`
	ServerErrors []string `json:",omitempty"`
	UserName     string   `json:"-"`
	ClientInfo   clientInfo
	ClientErrors []string `json:",omitempty"`
}

type clientInfo struct {
	Debug         bool
	clientVersion `json:",omitempty"`
	Plugins       []string
	Warnings      []string
}

func newInfo(app *cli.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:   "info [OPTIONS]",
		Short: "Display system-wide information",
		Example: `  hoy info
  hoy info --format "{{.ServerVersion}} {{.Driver}}"`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runInfo(cmd, app, layout) },
	}
	listflag.Format(cmd.Flags(), &layout, "f", false)
	return cmd
}

// runInfo shows the client's part also where no daemon answers, and then says so.
func runInfo(cmd *cobra.Command, app *cli.App, layout string) error {
	info := information{ClientInfo: clientInfo{
		Debug:         app.Global.Debug,
		clientVersion: clientVersion{Version: version.Version, Context: "default"},
		Plugins:       []string{},
	}}
	api, err := app.Client()
	if err == nil {
		var got client.SystemInfoResult
		if got, err = api.Info(cmd.Context(), client.InfoOptions{}); err == nil {
			info.Info = &got.Info
		}
	}
	if layout != "" {
		if layout == "json" {
			layout = "{{json .}}"
		}
		if info.Info == nil {
			info.Info = &system.Info{}
			info.ServerErrors = []string{fmt.Sprint(err)}
		}
		return errors.Join(format.Execute(app.Out, layout, info), err)
	}
	p := printer{app.Out}
	p.client(info.ClientInfo)
	if err != nil {
		fmt.Fprintln(app.Out, "\nServer:")
		return err
	}
	fmt.Fprintln(app.Out, "\nServer:")
	p.server(info.Info)
	fmt.Fprintln(app.Out)
	for _, warning := range info.Warnings {
		fmt.Fprintln(app.Err, warning)
	}
	return nil
}

// printer writes lines as Docker's info has them.
type printer struct{ w io.Writer }

// line writes a value under a label; depth is the indentation.
func (p printer) line(depth int, label string, value any) {
	fmt.Fprintf(p.w, "%s%s: %v\n", strings.Repeat(" ", depth), label, value)
}

// some is line for texts that may be missing.
func (p printer) some(depth int, label, value string) {
	if value != "" {
		p.line(depth, label, value)
	}
}

// list writes a label with a line for each of its values; nothing where there are none.
func (p printer) list(label string, values []string) {
	if len(values) == 0 {
		return
	}
	fmt.Fprintf(p.w, " %s:\n", label)
	for _, value := range values {
		fmt.Fprintf(p.w, "  %s\n", value)
	}
}

func (p printer) client(c clientInfo) {
	fmt.Fprintln(p.w, "Client:")
	fmt.Fprintf(p.w, " Version:    %s\n", c.Version)
	fmt.Fprintf(p.w, " Context:    %s\n Debug Mode: %v\n", c.Context, c.Debug)
}

func (p printer) server(i *system.Info) {
	p.line(1, "Containers", i.Containers)
	p.line(2, "Running", i.ContainersRunning)
	p.line(2, "Paused", i.ContainersPaused)
	p.line(2, "Stopped", i.ContainersStopped)
	p.line(1, "Images", i.Images)
	p.some(1, "Server Version", i.ServerVersion)
	p.some(1, "Storage Driver", i.Driver)
	p.pairs(2, i.DriverStatus)
	p.pairs(2, i.SystemStatus)
	p.some(1, "Logging Driver", i.LoggingDriver)
	p.some(1, "Cgroup Driver", i.CgroupDriver)
	p.some(1, "Cgroup Version", i.CgroupVersion)
	p.plugins(i.Plugins)
	p.list("CDI spec directories", i.CDISpecDirs)
	p.devices(i.DiscoveredDevices)
	p.swarm(i.Swarm)
	if len(i.Runtimes) > 0 {
		p.line(1, "Runtimes", strings.Join(slices.Sorted(maps.Keys(i.Runtimes)), " "))
		p.line(1, "Default Runtime", i.DefaultRuntime)
	}
	if i.OSType == "linux" {
		p.linux(i)
	}
	p.host(i)
	p.settings(i)
}

func (p printer) pairs(depth int, pairs [][2]string) {
	for _, pair := range pairs {
		p.line(depth, pair[0], pair[1])
	}
}

func (p printer) plugins(plugins system.PluginsInfo) {
	fmt.Fprintln(p.w, " Plugins:")
	p.line(2, "Volume", strings.Join(plugins.Volume, " "))
	p.line(2, "Network", strings.Join(plugins.Network, " "))
	if len(plugins.Authorization) != 0 {
		p.line(2, "Authorization", strings.Join(plugins.Authorization, " "))
	}
	p.line(2, "Log", strings.Join(plugins.Log, " "))
}

func (p printer) devices(devices []system.DeviceInfo) {
	var lines []string
	for _, device := range devices {
		lines = append(lines, device.Source+": "+device.ID)
	}
	p.list("Discovered Devices", lines)
}

func (p printer) swarm(s swarm.Info) {
	state := s.LocalNodeState
	if state == "" {
		state = swarm.LocalNodeStateInactive
	}
	p.line(1, "Swarm", state)
	if state == swarm.LocalNodeStateInactive || state == swarm.LocalNodeStateLocked {
		return
	}
	p.line(2, "NodeID", s.NodeID)
	p.some(2, "Error", s.Error)
	p.line(2, "Is Manager", s.ControlAvailable)
	p.line(2, "Node Address", s.NodeAddr)
}

func (p printer) linux(i *system.Info) {
	p.line(1, "Init Binary", i.InitBinary)
	p.line(1, "containerd version", i.ContainerdCommit.ID)
	p.line(1, "runc version", i.RuncCommit.ID)
	p.line(1, "init version", i.InitCommit.ID)
	if len(i.SecurityOptions) == 0 {
		return
	}
	fmt.Fprintln(p.w, " Security Options:")
	for _, option := range i.SecurityOptions {
		for n, field := range strings.Split(option, ",") {
			key, value, _ := strings.Cut(field, "=")
			switch {
			case n == 0 && key == "name":
				fmt.Fprintf(p.w, "  %s\n", value)
			case n == 0:
				fmt.Fprintf(p.w, "  %s\n", field)
			case key == "profile":
				p.line(3, "Profile", value)
			}
		}
	}
}

func (p printer) host(i *system.Info) {
	p.some(1, "Kernel Version", i.KernelVersion)
	p.some(1, "Operating System", i.OperatingSystem)
	p.some(1, "OSType", i.OSType)
	p.some(1, "Architecture", i.Architecture)
	p.line(1, "CPUs", i.NCPU)
	p.line(1, "Total Memory", units.BytesSize(float64(i.MemTotal)))
	p.some(1, "Name", i.Name)
	p.some(1, "ID", i.ID)
	p.line(1, "Docker Root Dir", i.DockerRootDir)
	p.line(1, "Debug Mode", i.Debug)
	if i.Debug {
		p.line(2, "File Descriptors", i.NFd)
		p.line(2, "Goroutines", i.NGoroutines)
		p.line(2, "System Time", i.SystemTime)
		p.line(2, "EventsListeners", i.NEventsListener)
	}
	p.some(1, "HTTP Proxy", i.HTTPProxy)
	p.some(1, "HTTPS Proxy", i.HTTPSProxy)
	p.some(1, "No Proxy", i.NoProxy)
	p.list("Labels", i.Labels)
	p.line(1, "Experimental", i.ExperimentalBuild)
}

func (p printer) settings(i *system.Info) {
	if r := i.RegistryConfig; r != nil {
		var insecure []string
		for _, name := range slices.Sorted(maps.Keys(r.IndexConfigs)) {
			if !r.IndexConfigs[name].Secure {
				insecure = append(insecure, name)
			}
		}
		for _, network := range r.InsecureRegistryCIDRs {
			insecure = append(insecure, network.String())
		}
		p.list("Insecure Registries", insecure)
		p.list("Registry Mirrors", r.Mirrors)
	}
	p.line(1, "Live Restore Enabled", i.LiveRestoreEnabled)
	p.some(1, "Product License", i.ProductLicense)
	if len(i.DefaultAddressPools) > 0 {
		fmt.Fprintln(p.w, " Default Address Pools:")
		for _, pool := range i.DefaultAddressPools {
			fmt.Fprintf(p.w, "   Base: %s, Size: %d\n", pool.Base, pool.Size)
		}
	}
	if f := i.FirewallBackend; f != nil {
		p.line(1, "Firewall Backend", f.Driver)
		p.pairs(2, f.Info)
	}
}
