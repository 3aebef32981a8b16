package system

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/images"
	"hoy/internal/cli/listflag"
	"hoy/internal/cli/networks"
	"hoy/internal/cli/volumes"
)

type pruneOptions struct {
	all, force, volumes bool
	filter              *listflag.Value
}

func newPrune(app *cli.App) *cobra.Command {
	var opt pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove unused data",
		Example: `  hoy system prune
  hoy system prune -a --volumes --filter label!=keep`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runPrune(cmd, app, opt) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&opt.all, "all", "a", false, "Remove all unused images not just dangling ones")
	opt.filter = listflag.Filter(flags, "", `Provide filter values (e.g. "label=<key>=<value>")`)
	flags.BoolVarP(&opt.force, "force", "f", false, "Do not prompt for confirmation")
	flags.BoolVar(&opt.volumes, "volumes", false, "Prune anonymous volumes")
	return cmd
}

func runPrune(cmd *cobra.Command, app *cli.App, opt pruneOptions) error {
	if opt.volumes && opt.filter.Has("until") {
		return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
	}
	if !opt.force {
		yes, err := app.Confirm(pruneWarning(opt))
		if err != nil || !yes {
			return err
		}
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	steps := []func() (uint64, error){
		func() (uint64, error) { return pruneContainers(cmd, app, api, opt.filter.Filters()) },
		func() (uint64, error) { return 0, networks.Prune(cmd, app, api, opt.filter.Filters()) },
	}
	if opt.volumes {
		steps = append(steps, func() (uint64, error) { return volumes.Prune(cmd, app, api, false, opt.filter.Filters()) })
	}
	steps = append(steps,
		func() (uint64, error) { return images.Prune(cmd, app, api, opt.all, opt.filter.Filters()) },
		func() (uint64, error) { return pruneCache(cmd, app, api, opt) })
	total := uint64(0)
	for _, step := range steps {
		reclaimed, err := step()
		// A daemon that does not have a kind of thing has none of it to remove.
		if err != nil && !errdefs.IsNotImplemented(err) {
			return err
		}
		total += reclaimed
	}
	fmt.Fprintln(app.Out, "Total reclaimed space:", units.HumanSize(float64(total)))
	return nil
}

func pruneWarning(opt pruneOptions) string {
	var text strings.Builder
	text.WriteString("WARNING! This will remove:\n")
	lines := []string{"all stopped containers", "all networks not used by at least one container"}
	if opt.volumes {
		lines = append(lines, "all anonymous volumes not used by at least one container")
	}
	if opt.all {
		lines = append(lines, "all images without at least one container associated to them", "all build cache")
	} else {
		lines = append(lines, "all dangling images", "unused build cache")
	}
	for _, line := range lines {
		text.WriteString("  - " + line + "\n")
	}
	if filters := opt.filter.All(); len(filters) > 0 {
		text.WriteString("\n  Items to be pruned will be filtered with:\n")
		for _, filter := range filters {
			text.WriteString("  - " + filter + "\n")
		}
	}
	text.WriteString("\nAre you sure you want to continue?")
	return text.String()
}

func pruneContainers(cmd *cobra.Command, app *cli.App, api client.APIClient, filters client.Filters) (uint64, error) {
	result, err := api.ContainerPrune(cmd.Context(), client.ContainerPruneOptions{Filters: filters})
	if err != nil || len(result.Report.ContainersDeleted) == 0 {
		return 0, err
	}
	fmt.Fprintln(app.Out, "Deleted Containers:")
	for _, id := range result.Report.ContainersDeleted {
		fmt.Fprintln(app.Out, id)
	}
	fmt.Fprintln(app.Out)
	return result.Report.SpaceReclaimed, nil
}

func pruneCache(cmd *cobra.Command, app *cli.App, api client.APIClient, opt pruneOptions) (uint64, error) {
	result, err := api.BuildCachePrune(cmd.Context(), client.BuildCachePruneOptions{All: opt.all, Filters: opt.filter.Filters()})
	if err != nil || len(result.Report.CachesDeleted) == 0 {
		return 0, err
	}
	fmt.Fprintln(app.Out, "Deleted build cache objects:")
	for _, id := range result.Report.CachesDeleted {
		fmt.Fprintln(app.Out, id)
	}
	fmt.Fprintln(app.Out)
	return result.Report.SpaceReclaimed, nil
}
