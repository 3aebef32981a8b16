// Package volumes has the verbs on volumes.
package volumes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/flags/value"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
)

// Commands gives the verbs that stand at the top: none.
func Commands(*cli.App) []*cobra.Command { return nil }

// Management gives `volume` with all its verbs.
func Management(app *cli.App) *cobra.Command {
	return cli.Group("volume", "Manage volumes", nil,
		newCreate(app), newInspect(app), newList(app), newRemove(app), newPrune(app))
}

func newCreate(app *cli.App) *cobra.Command {
	var driver, name string
	var options value.Map
	labels := value.List{Check: value.Label}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [VOLUME]",
		Short: "Create a volume",
		Example: `  hoy volume create data
  hoy volume create --label env=test -o type=tmpfs -o device=tmpfs -o o=size=64m scratch`,
		Args:              cli.MaxArgs(1),
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if name != "" {
					return errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
				}
				name = args[0]
			}
			api, err := app.Client()
			if err != nil {
				return err
			}
			created, err := api.VolumeCreate(cmd.Context(), client.VolumeCreateOptions{
				Name: name, Driver: driver, DriverOpts: orEmpty(options.Values), Labels: labelMap(labels.Values),
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(app.Out, created.Volume.Name)
			return nil
		},
	}
	set := cmd.Flags()
	set.StringVarP(&driver, "driver", "d", "local", "Specify volume driver name")
	set.StringVar(&name, "name", "", "Specify volume name")
	_ = set.MarkHidden("name")
	set.VarP(&options, "opt", "o", "Set driver specific options")
	set.Var(&labels, "label", "Set metadata for a volume")
	return cmd
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

var listTable = format.Table{
	Columns: []string{"Driver", "Name"},
	Quiet:   "Name",
	Headers: map[string]string{
		"Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS",
		"Links": "LINKS", "Size": "SIZE", "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
	},
}

func newList(app *cli.App) *cobra.Command {
	var layout string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Example: `  hoy volume ls
  hoy volume ls --filter dangling=true -q`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	set := cmd.Flags()
	filter := listflag.Filter(set, "f", `Provide filter values (e.g. "dangling=true")`)
	listflag.Format(set, &layout, "", true)
	set.BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := app.Client()
		if err != nil {
			return err
		}
		list, err := api.VolumeList(cmd.Context(), client.VolumeListOptions{Filters: filter.Filters()})
		if err != nil {
			return err
		}
		if layout == "" && !quiet {
			layout = app.Settings().VolumesFormat
		}
		slices.SortFunc(list.Items, func(a, b volume.Volume) int { return format.CompareNames(a.Name, b.Name) })
		var rows []format.Row
		for i := range list.Items {
			rows = append(rows, row(&list.Items[i]))
		}
		return listTable.Write(app.Out, format.Options{Format: layout, Quiet: listflag.Quiet(quiet, layout), Width: app.Out.Width(), Warnings: app.Err}, rows)
	}
	return cmd
}

func row(v *volume.Volume) format.Row {
	links, size := "N/A", "N/A"
	if v.UsageData != nil {
		links, size = fmt.Sprint(v.UsageData.RefCount), units.HumanSize(float64(v.UsageData.Size))
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(v.Labels)) {
		labels = append(labels, name+"="+v.Labels[name])
	}
	return format.Row{
		"Name": v.Name, "Driver": v.Driver, "Scope": v.Scope, "Mountpoint": v.Mountpoint,
		"Labels": strings.Join(labels, ","), "Links": links, "Size": size,
		"Availability": "N/A", "Group": "N/A", "Status": "N/A",
	}.WithLabels(v.Labels)
}

func newInspect(app *cli.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] VOLUME [VOLUME...]",
		Short: "Display detailed information on one or more volumes",
		Example: `  hoy volume inspect data
  hoy volume inspect --format "{{.Mountpoint}}" data`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Volumes(app, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			return format.Inspect(app.Out, layout, args, func(ref string) (format.Object, error) {
				got, err := api.VolumeInspect(cmd.Context(), ref, client.VolumeInspectOptions{})
				return format.Object{Typed: got.Volume, Raw: got.Raw}, err
			})
		},
	}
	listflag.Format(cmd.Flags(), &layout, "f", false)
	return cmd
}

func newRemove(app *cli.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] VOLUME [VOLUME...]",
		Aliases: []string{"remove"},
		Short:   "Remove one or more volumes",
		Long:    "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
		Example: `  hoy volume rm data
  hoy volume rm $(hoy volume ls -q --filter dangling=true)`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Volumes(app, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				if _, err := api.VolumeRemove(cmd.Context(), name, client.VolumeRemoveOptions{Force: force}); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(app.Out, name)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of one or more volumes")
	return cmd
}

func newPrune(app *cli.App) *cobra.Command {
	var all, force bool
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove unused local volumes",
		Example: `  hoy volume prune
  hoy volume prune -a --filter label!=keep`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	set := cmd.Flags()
	set.BoolVarP(&all, "all", "a", false, "Remove all unused volumes, not just anonymous ones")
	filter := listflag.Filter(set, "", `Provide filter values (e.g. "label=<label>")`)
	set.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if all && filter.Has("all") {
			return errors.New("conflicting options: cannot specify both --all and --filter all=1")
		}
		what := "anonymous local volumes"
		if all {
			what = "all local volumes"
		}
		return app.Prune(force, what+" not used by at least one container", func(api client.APIClient) (uint64, error) {
			return Prune(cmd, app, api, all, filter.Filters())
		})
	}
	return cmd
}

// Prune removes volumes that no container uses, all of them or those without a
// name of their own, lists them on the output and returns the bytes that were freed.
func Prune(cmd *cobra.Command, app *cli.App, api client.APIClient, all bool, filters client.Filters) (uint64, error) {
	result, err := api.VolumePrune(cmd.Context(), client.VolumePruneOptions{All: all, Filters: filters})
	if err != nil || len(result.Report.VolumesDeleted) == 0 {
		return 0, err
	}
	fmt.Fprintln(app.Out, "Deleted Volumes:")
	for _, name := range result.Report.VolumesDeleted {
		fmt.Fprintln(app.Out, name)
	}
	fmt.Fprintln(app.Out)
	return result.Report.SpaceReclaimed, nil
}
