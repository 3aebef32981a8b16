package process

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/containers/session"
)

// NewStart returns `start`.
func NewStart(app *cli.App) *cobra.Command {
	var attach, interactive bool
	var keys string
	cmd := &cobra.Command{
		Use:   "start [OPTIONS] CONTAINER [CONTAINER...]",
		Short: "Start one or more stopped containers",
		Example: `  hoy start web db
  hoy start -ai shell`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, complete.Stopped),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !attach && !interactive {
				return startAll(cmd.Context(), app, args)
			}
			if len(args) > 1 {
				return errors.New("you cannot start and attach multiple containers at once")
			}
			return startAttached(cmd.Context(), app, args[0], interactive, keys)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&attach, "attach", "a", false, "Attach STDOUT/STDERR and forward signals")
	fs.BoolVarP(&interactive, "interactive", "i", false, "Attach container's STDIN")
	fs.StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	return cmd
}

func startAll(ctx context.Context, app *cli.App, names []string) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	var failed []string
	var errs []error
	for _, name := range names {
		if _, err := api.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
			failed = append(failed, name)
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(app.Out, name)
	}
	if len(failed) > 0 {
		errs = append(errs, fmt.Errorf("Error: failed to start containers: %s", strings.Join(failed, ", "))) //nolint:staticcheck // users know this sentence
	}
	return errors.Join(errs...)
}

func startAttached(ctx context.Context, app *cli.App, name string, stdin bool, keys string) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	info, err := api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	c := info.Container
	s := &session.Session{
		App: app, TTY: c.Config.Tty, DetachKeys: keys,
		Stdin: stdin && c.Config.OpenStdin, Stdout: true, Stderr: true,
	}
	if keys, err = s.Keys(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan struct{})
	if !c.Config.Tty {
		defer session.ForwardSignals(ctx, app, api, c.ID, started)()
	}
	attached, err := api.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{
		Stream: true, Stdin: s.Stdin, Stdout: true, Stderr: true, DetachKeys: keys,
	})
	if err != nil {
		return err
	}
	defer attached.Close()
	wait := api.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: waitCondition(c.HostConfig.AutoRemove)})
	streamed := make(chan error, 1)
	go func() { streamed <- s.Stream(ctx, &attached.HijackedResponse) }()
	if _, err := api.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
		attached.Close()
		<-streamed
		return err
	}
	close(started)
	if c.Config.Tty {
		defer session.FollowSize(ctx, app, containerSize(api, c.ID))()
	}
	if over, err := session.Ended(app, "container "+name, <-streamed); over {
		return err
	}
	return exitOf(wait)
}
