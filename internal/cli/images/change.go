package images

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/listflag"
)

func newTag(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Example: `  hoy tag app:latest registry.example:5000/team/app:1.2
  hoy tag 3f5a team/app`,
		Args:              cli.ExactArgs(2),
		ValidArgsFunction: complete.Images(app, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			_, err = api.ImageTag(cmd.Context(), client.ImageTagOptions{Source: args[0], Target: args[1]})
			return err
		},
	}
}

func newRemove(app *cli.App) *cobra.Command {
	var force, noPrune bool
	var platforms []string
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] IMAGE [IMAGE...]",
		Aliases: []string{"remove"},
		Short:   "Remove one or more images",
		Example: `  hoy rmi app:old
  hoy rmi $(hoy images -q --filter dangling=true)
  hoy rmi -f 3f5a`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Images(app, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := client.ImageRemoveOptions{Force: force, PruneChildren: !noPrune}
			for _, text := range platforms {
				p, err := ParsePlatform(text)
				if err != nil {
					return fmt.Errorf("invalid platform: %w", err)
				}
				opt.Platforms = append(opt.Platforms, p)
			}
			return runRemove(cmd, app, opt, args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&force, "force", "f", false, "Force removal of the image")
	flags.BoolVar(&noPrune, "no-prune", false, "Do not delete untagged parents")
	flags.StringSliceVar(&platforms, "platform", nil, "Remove only the given platform variant.\nFormatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")")
	return cmd
}

// runRemove goes on after an image that cannot be removed. With force, one that
// is not there is told and is no failure.
func runRemove(cmd *cobra.Command, app *cli.App, opt client.ImageRemoveOptions, refs []string) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	var errs []error
	failed := false
	for _, ref := range refs {
		removed, err := api.ImageRemove(cmd.Context(), ref, opt)
		if err != nil {
			failed = failed || !opt.Force || !errdefs.IsNotFound(err)
			errs = append(errs, err)
			continue
		}
		for _, item := range removed.Items {
			if item.Deleted != "" {
				fmt.Fprintln(app.Out, "Deleted:", item.Deleted)
			} else {
				fmt.Fprintln(app.Out, "Untagged:", item.Untagged)
			}
		}
	}
	if failed {
		return errors.Join(errs...)
	}
	for _, err := range errs {
		fmt.Fprintln(app.Err, err)
	}
	return nil
}

func newPrune(app *cli.App) *cobra.Command {
	var all, force bool
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove unused images",
		Example: `  hoy image prune
  hoy image prune -a --filter until=24h`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&all, "all", "a", false, "Remove all unused images, not just dangling ones")
	filter := listflag.Filter(flags, "", `Provide filter values (e.g. "until=<timestamp>")`)
	flags.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		what := "all dangling images"
		if all {
			what = "all images without at least one container associated to them"
		}
		return app.Prune(force, what, func(api client.APIClient) (uint64, error) {
			return Prune(cmd, app, api, all, filter.Filters())
		})
	}
	return cmd
}

// Prune removes images that no container uses, all of them or those without a
// name, lists them on the output and returns the bytes that were freed.
func Prune(cmd *cobra.Command, app *cli.App, api client.APIClient, all bool, filters client.Filters) (uint64, error) {
	filters.Add("dangling", fmt.Sprint(!all))
	result, err := api.ImagePrune(cmd.Context(), client.ImagePruneOptions{Filters: filters})
	if err != nil || len(result.Report.ImagesDeleted) == 0 {
		return 0, err
	}
	fmt.Fprintln(app.Out, "Deleted Images:")
	for _, item := range result.Report.ImagesDeleted {
		if item.Untagged != "" {
			fmt.Fprintln(app.Out, "untagged:", item.Untagged)
		} else {
			fmt.Fprintln(app.Out, "deleted:", item.Deleted)
		}
	}
	fmt.Fprintln(app.Out)
	return result.Report.SpaceReclaimed, nil
}
