package process

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/containers/session"
)

// NewAttach returns `attach`.
func NewAttach(app *cli.App) *cobra.Command {
	var noStdin, sigProxy bool
	var keys string
	cmd := &cobra.Command{
		Use:   "attach [OPTIONS] CONTAINER",
		Short: "Attach local standard input, output, and error streams to a running container",
		Example: `  hoy attach shell                       (leave with Ctrl-P Ctrl-Q)
  hoy attach --no-stdin --sig-proxy=false web`,
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.Containers(app, 1, complete.Running),
		RunE: func(cmd *cobra.Command, args []string) error {
			return attach(cmd.Context(), app, args[0], !noStdin, sigProxy, keys)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&noStdin, "no-stdin", false, "Do not attach STDIN")
	fs.BoolVar(&sigProxy, "sig-proxy", true, "Proxy all received signals to the process")
	fs.StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	return cmd
}

func attachable(state *container.State) error {
	switch {
	case !state.Running:
		return errors.New("cannot attach to a stopped container, start it first")
	case state.Paused:
		return errors.New("cannot attach to a paused container, unpause it first")
	case state.Restarting:
		return errors.New("cannot attach to a restarting container, wait until it is running")
	}
	return nil
}

func attach(ctx context.Context, app *cli.App, name string, stdin, sigProxy bool, keys string) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	info, err := api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	c := info.Container
	if err := attachable(c.State); err != nil {
		return err
	}
	s := &session.Session{
		App: app, TTY: c.Config.Tty, DetachKeys: keys,
		Stdin: stdin && c.Config.OpenStdin, Stdout: true, Stderr: true,
	}
	if s.Stdin && s.TTY && !app.In.IsTerminal() {
		return errors.New("the input device is not a TTY")
	}
	if keys, err = s.Keys(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{})
	close(ready)
	if sigProxy && !c.Config.Tty {
		defer session.ForwardSignals(ctx, app, api, c.ID, ready)()
	}
	wait := api.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	attached, err := api.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{
		Stream: true, Stdin: s.Stdin, Stdout: true, Stderr: true, DetachKeys: keys,
	})
	if err != nil {
		return err
	}
	defer attached.Close()
	if c.Config.Tty {
		redraw(ctx, app, api, c.ID)
		defer session.FollowSize(ctx, app, containerSize(api, c.ID))()
	}
	if over, err := session.Ended(app, "container "+name, s.Stream(ctx, &attached.HijackedResponse)); over {
		return err
	}
	return exitOf(wait)
}

// redraw makes programs on the terminal draw themselves anew for who has just
// come: they do when the size changes, so it changes by one and back.
func redraw(ctx context.Context, app *cli.App, api client.APIClient, id string) {
	height, width := app.Out.Size()
	if height == 0 || width == 0 {
		return
	}
	_ = containerSize(api, id)(ctx, height+1, width+1)
}
