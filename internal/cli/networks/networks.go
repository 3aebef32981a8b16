// Package networks has the verbs on networks.
package networks

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
)

// Commands gives the verbs that stand at the top: none.
func Commands(*cli.App) []*cobra.Command { return nil }

// Management gives `network` with all its verbs.
func Management(app *cli.App) *cobra.Command {
	return cli.Group("network", "Manage networks", nil,
		newConnect(app), newCreate(app), newDisconnect(app), newInspect(app), newList(app), newPrune(app), newRemove(app))
}

var listTable = format.Table{
	Columns: []string{"ID", "Name", "Driver", "Scope"},
	Quiet:   "ID",
	Headers: map[string]string{
		"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
		"Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
	},
	Shrink: []string{"Name"},
}

// shortID is how many digits of an id a row shows.
const shortID = 12

func newList(app *cli.App) *cobra.Command {
	var layout string
	var full, quiet bool
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List networks",
		Example: `  hoy network ls
  hoy network ls --filter driver=bridge --format "{{.Name}}"`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	set := cmd.Flags()
	filter := listflag.Filter(set, "f", `Provide filter values (e.g. "driver=bridge")`)
	listflag.Format(set, &layout, "", true)
	set.BoolVar(&full, "no-trunc", false, "Do not truncate the output")
	set.BoolVarP(&quiet, "quiet", "q", false, "Only display network IDs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := app.Client()
		if err != nil {
			return err
		}
		list, err := api.NetworkList(cmd.Context(), client.NetworkListOptions{Filters: filter.Filters()})
		if err != nil {
			return err
		}
		if layout == "" && !quiet {
			layout = app.Settings().NetworksFmt
		}
		slices.SortStableFunc(list.Items, func(a, b network.Summary) int { return format.CompareNames(a.Name, b.Name) })
		var rows []format.Row
		for i := range list.Items {
			rows = append(rows, row(&list.Items[i].Network, full))
		}
		width := app.Out.Width()
		if full {
			width = 0
		}
		return listTable.Write(app.Out, format.Options{Format: layout, Quiet: listflag.Quiet(quiet, layout), Width: width, Warnings: app.Err}, rows)
	}
	return cmd
}

func row(n *network.Network, full bool) format.Row {
	id := n.ID
	if !full {
		id = id[:min(len(id), shortID)]
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		labels = append(labels, name+"="+n.Labels[name])
	}
	return format.Row{
		"ID": id, "Name": n.Name, "Driver": n.Driver, "Scope": n.Scope,
		"IPv4": strconv.FormatBool(n.EnableIPv4), "IPv6": strconv.FormatBool(n.EnableIPv6),
		"Internal": strconv.FormatBool(n.Internal), "Labels": strings.Join(labels, ","), "CreatedAt": n.Created.String(),
	}.WithLabels(n.Labels)
}

func newInspect(app *cli.App) *cobra.Command {
	var layout string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short: "Display detailed information on one or more networks",
		Example: `  hoy network inspect bridge
  hoy network inspect --format "{{json .IPAM.Config}}" bridge`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Networks(app, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			return format.Inspect(app.Out, layout, args, func(ref string) (format.Object, error) {
				got, err := api.NetworkInspect(cmd.Context(), ref, client.NetworkInspectOptions{Verbose: verbose})
				return format.Object{Typed: got.Network, Raw: got.Raw}, err
			})
		},
	}
	listflag.Format(cmd.Flags(), &layout, "f", false)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Verbose output for diagnostics")
	return cmd
}

func newRemove(app *cli.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm NETWORK [NETWORK...]",
		Aliases:           []string{"remove"},
		Short:             "Remove one or more networks",
		Example:           `  hoy network rm backend`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Networks(app, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			failed := 0
			for _, name := range args {
				_, err := api.NetworkRemove(cmd.Context(), name, client.NetworkRemoveOptions{})
				switch {
				case err == nil:
					fmt.Fprintln(app.Out, name)
				case client.IsErrConnectionFailed(err):
					return err
				case force && errdefs.IsNotFound(err):
				default:
					failed = 1
					fmt.Fprintln(app.Err, err)
				}
			}
			return cli.Exit(failed)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not error if the network does not exist")
	return cmd
}

func newPrune(app *cli.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "prune [OPTIONS]",
		Short:             "Remove all unused networks",
		Example:           `  hoy network prune --filter until=24h`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	set := cmd.Flags()
	filter := listflag.Filter(set, "", `Provide filter values (e.g. "until=<timestamp>")`)
	set.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !force {
			yes, err := app.Confirm("WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?")
			if err != nil || !yes {
				return err
			}
		}
		api, err := app.Client()
		if err != nil {
			return err
		}
		return Prune(cmd, app, api, filter.Filters())
	}
	return cmd
}

// Prune removes networks that no container uses and lists them on the output.
func Prune(cmd *cobra.Command, app *cli.App, api client.APIClient, filters client.Filters) error {
	result, err := api.NetworkPrune(cmd.Context(), client.NetworkPruneOptions{Filters: filters})
	if err != nil || len(result.Report.NetworksDeleted) == 0 {
		return err
	}
	fmt.Fprintln(app.Out, "Deleted Networks:")
	for _, name := range result.Report.NetworksDeleted {
		fmt.Fprintln(app.Out, name)
	}
	fmt.Fprintln(app.Out)
	return nil
}

func newDisconnect(app *cli.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "disconnect [OPTIONS] NETWORK CONTAINER",
		Short:             "Disconnect a container from a network",
		Example:           `  hoy network disconnect backend web`,
		Args:              cli.ExactArgs(2),
		ValidArgsFunction: networkThenContainer(app),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			_, err = api.NetworkDisconnect(cmd.Context(), args[0], client.NetworkDisconnectOptions{Container: args[1], Force: force})
			return err
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the container to disconnect from a network")
	return cmd
}

func networkThenContainer(app *cli.App) complete.Func {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return complete.Networks(app, 1)(cmd, args, typed)
		case 1:
			return complete.Containers(app, 2, nil)(cmd, args, typed)
		}
		return complete.None(cmd, args, typed)
	}
}
