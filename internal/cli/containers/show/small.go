package show

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
)

// NewTop returns `top`.
func NewTop(app *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "top CONTAINER [ps OPTIONS]",
		Short:             "Display the running processes of a container",
		Example:           "  hoy top web\n  hoy top web -o pid,rss,cmd",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 1, complete.Running),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			procs, err := api.ContainerTop(cmd.Context(), args[0], client.ContainerTopOptions{Arguments: args[1:]})
			if err != nil {
				return err
			}
			out := tabwriter.NewWriter(app.Out, 20, 1, 3, ' ', 0)
			fmt.Fprintln(out, strings.Join(procs.Titles, "\t"))
			for _, proc := range procs.Processes {
				fmt.Fprintln(out, strings.Join(proc, "\t"))
			}
			return out.Flush()
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// NewPort returns `port`.
func NewPort(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "port CONTAINER [PRIVATE_PORT[/PROTO]]",
		Short:             "List port mappings or a specific mapping for the container",
		Example:           "  hoy port web\n  hoy port web 80/tcp",
		Args:              cli.RangeArgs(1, 2),
		ValidArgsFunction: complete.Containers(app, 1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			info, err := api.ContainerInspect(cmd.Context(), args[0], client.ContainerInspectOptions{})
			if err != nil {
				return err
			}
			var ports network.PortMap
			if info.Container.NetworkSettings != nil {
				ports = info.Container.NetworkSettings.Ports
			}
			if len(args) == 1 {
				writePorts(app, ports)
				return nil
			}
			return writePort(app, ports, args[0], args[1])
		},
	}
}

func writePorts(app *cli.App, ports network.PortMap) {
	order := slices.SortedFunc(maps.Keys(ports), func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	})
	for _, port := range order {
		for _, host := range ports[port] {
			fmt.Fprintf(app.Out, "%s -> %s\n", port, hostPort(host))
		}
	}
}

func writePort(app *cli.App, ports network.PortMap, name, wanted string) error {
	port, err := network.ParsePort(wanted)
	if err != nil {
		return err
	}
	hosts := ports[port]
	if len(hosts) == 0 {
		return fmt.Errorf("Error: No public port '%s' published for %s", wanted, name) //nolint:staticcheck // users know this sentence
	}
	for _, host := range hosts {
		fmt.Fprintln(app.Out, hostPort(host))
	}
	return nil
}

func hostPort(b network.PortBinding) string {
	ip := ""
	if b.HostIP.IsValid() {
		ip = b.HostIP.String()
	}
	return net.JoinHostPort(ip, b.HostPort)
}

// NewDiff returns `diff`.
func NewDiff(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "diff CONTAINER",
		Short:             "Inspect changes to files or directories on a container's filesystem",
		Example:           "  hoy diff web         (A added, C changed, D deleted)",
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.Containers(app, 1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New("Container name cannot be empty") //nolint:staticcheck // users know this sentence
			}
			api, err := app.Client()
			if err != nil {
				return err
			}
			diff, err := api.ContainerDiff(cmd.Context(), args[0], client.ContainerDiffOptions{})
			if err != nil {
				return err
			}
			var out strings.Builder
			for _, change := range diff.Changes {
				fmt.Fprintf(&out, "%s %s\n", kindOf(change.Kind), change.Path)
			}
			_, err = fmt.Fprint(app.Out, out.String())
			return err
		},
	}
}

func kindOf(kind container.ChangeType) string {
	switch kind {
	case container.ChangeModify:
		return "C"
	case container.ChangeAdd:
		return "A"
	case container.ChangeDelete:
		return "D"
	}
	return "?"
}
