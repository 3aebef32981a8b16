// Package lifecycle has the verbs that change the state of containers: stop,
// kill, restart, pause, unpause, wait, rm, rename, update and prune.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/listflag"
)

// each returns the RunE of a verb that does one request per container.
func each(app *cli.App, do func(ctx context.Context, api client.APIClient, name string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, names []string) error {
		api, err := app.Client()
		if err != nil {
			return err
		}
		return app.EachPrint(names, func(name string) error { return do(cmd.Context(), api, name) })
	}
}

// stopFlags are shared by stop and restart.
type stopFlags struct {
	signal        string
	timeout, time int
}

func (f *stopFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.signal, "signal", "s", "", "Signal to send to the container")
	fs.IntVarP(&f.timeout, "timeout", "t", 0, "Seconds to wait before killing the container")
	fs.IntVar(&f.time, "time", 0, "Seconds to wait before killing the container")
	fs.Lookup("time").Hidden = true
}

// wait returns the timeout where one was given.
func (f *stopFlags) wait(cmd *cobra.Command) (*int, error) {
	long, old := cmd.Flags().Changed("timeout"), cmd.Flags().Changed("time")
	switch {
	case long && old:
		return nil, errors.New("conflicting options: cannot specify both --timeout and --time")
	case long:
		return &f.timeout, nil
	case old:
		return &f.time, nil
	}
	return nil, nil
}

// NewStop returns `stop`.
func NewStop(app *cli.App) *cobra.Command {
	var f stopFlags
	cmd := &cobra.Command{
		Use:   "stop [OPTIONS] CONTAINER [CONTAINER...]",
		Short: "Stop one or more running containers",
		Example: `  hoy stop web
  hoy stop -t 60 db
  hoy stop $(hoy ps -q)`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, complete.Running),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		timeout, err := f.wait(cmd)
		if err != nil {
			return err
		}
		return each(app, func(ctx context.Context, api client.APIClient, name string) error {
			_, err := api.ContainerStop(ctx, name, client.ContainerStopOptions{Signal: f.signal, Timeout: timeout})
			return err
		})(cmd, args)
	}
	return cmd
}

// NewRestart returns `restart`.
func NewRestart(app *cli.App) *cobra.Command {
	var f stopFlags
	cmd := &cobra.Command{
		Use:               "restart [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Restart one or more containers",
		Example:           "  hoy restart web\n  hoy restart -s SIGHUP -t 5 proxy",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		timeout, err := f.wait(cmd)
		if err != nil {
			return err
		}
		return each(app, func(ctx context.Context, api client.APIClient, name string) error {
			_, err := api.ContainerRestart(ctx, name, client.ContainerRestartOptions{Signal: f.signal, Timeout: timeout})
			return err
		})(cmd, args)
	}
	return cmd
}

// NewKill returns `kill`.
func NewKill(app *cli.App) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:               "kill [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Kill one or more running containers",
		Example:           "  hoy kill web\n  hoy kill -s HUP proxy",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, complete.Running),
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	cmd.RunE = each(app, func(ctx context.Context, api client.APIClient, name string) error {
		_, err := api.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: signal})
		return err
	})
	return cmd
}

// NewPause returns `pause`.
func NewPause(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "pause CONTAINER [CONTAINER...]",
		Short:             "Pause all processes within one or more containers",
		Example:           "  hoy pause web db",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, complete.Running),
		RunE: each(app, func(ctx context.Context, api client.APIClient, name string) error {
			_, err := api.ContainerPause(ctx, name, client.ContainerPauseOptions{})
			return err
		}),
	}
}

// NewUnpause returns `unpause`.
func NewUnpause(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "unpause CONTAINER [CONTAINER...]",
		Short:             "Unpause all processes within one or more containers",
		Example:           "  hoy unpause web db",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, complete.Paused),
		RunE: each(app, func(ctx context.Context, api client.APIClient, name string) error {
			_, err := api.ContainerUnpause(ctx, name, client.ContainerUnpauseOptions{})
			return err
		}),
	}
}

// NewWait returns `wait`.
func NewWait(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "wait CONTAINER [CONTAINER...]",
		Short:             "Block until one or more containers stop, then print their exit codes",
		Example:           "  hoy wait job && hoy logs job",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, complete.Running),
		RunE: func(cmd *cobra.Command, names []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				wait := api.ContainerWait(cmd.Context(), name, client.ContainerWaitOptions{})
				select {
				case result := <-wait.Result:
					fmt.Fprintln(app.Out, result.StatusCode)
				case err := <-wait.Error:
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		},
	}
}

// NewRemove returns `rm`.
func NewRemove(app *cli.App) *cobra.Command {
	var opt client.ContainerRemoveOptions
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] CONTAINER [CONTAINER...]", Aliases: []string{"remove"},
		Short: "Remove one or more containers",
		Example: `  hoy rm web
  hoy rm -fv web db
  hoy rm $(hoy ps -aq -f status=exited)`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&opt.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	fs.BoolVarP(&opt.RemoveLinks, "link", "l", false, "Remove the specified link")
	fs.BoolVarP(&opt.RemoveVolumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		names := make([]string, len(args))
		for i, name := range args {
			if names[i] = strings.Trim(name, "/"); names[i] == "" {
				return errors.New("container name cannot be empty")
			}
		}
		api, err := app.Client()
		if err != nil {
			return err
		}
		var absent sync.Map // by name: with --force that is told, but is no failure
		return cli.Each(names, func(name string) error {
			_, err := api.ContainerRemove(cmd.Context(), name, opt)
			if opt.Force && errdefs.IsNotFound(err) {
				fmt.Fprintln(app.Err, err)
				absent.Store(name, true)
				return nil
			}
			return err
		}, func(name string) {
			if _, gone := absent.Load(name); !gone {
				fmt.Fprintln(app.Out, name)
			}
		})
	}
	return cmd
}

// NewRename returns `rename`.
func NewRename(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "rename CONTAINER NEW_NAME",
		Short:             "Rename a container",
		Example:           "  hoy rename red_ant web",
		Args:              cli.ExactArgs(2),
		ValidArgsFunction: complete.Containers(app, 1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, name := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
			if old == "" || name == "" {
				return errors.New("Error: Neither old nor new names may be empty") //nolint:staticcheck // users know this sentence
			}
			api, err := app.Client()
			if err != nil {
				return err
			}
			if _, err := api.ContainerRename(cmd.Context(), old, client.ContainerRenameOptions{NewName: name}); err != nil {
				return fmt.Errorf("%w\nError: failed to rename container named %s", err, old)
			}
			return nil
		},
	}
}

// NewPrune returns `container prune`.
func NewPrune(app *cli.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "prune [OPTIONS]",
		Short:             "Remove all stopped containers",
		Example:           "  hoy container prune\n  hoy container prune -f --filter until=24h",
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	filter := listflag.Filter(cmd.Flags(), "", `Provide filter values (e.g. "until=<timestamp>")`)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return app.Prune(force, "all stopped containers", func(api client.APIClient) (uint64, error) {
			pruned, err := api.ContainerPrune(cmd.Context(), client.ContainerPruneOptions{Filters: filter.Filters()})
			if err != nil {
				return 0, err
			}
			if len(pruned.Report.ContainersDeleted) > 0 {
				fmt.Fprintln(app.Out, "Deleted Containers:")
				for _, id := range pruned.Report.ContainersDeleted {
					fmt.Fprintln(app.Out, id)
				}
				fmt.Fprintln(app.Out)
			}
			return pruned.Report.SpaceReclaimed, nil
		})
	}
	return cmd
}
