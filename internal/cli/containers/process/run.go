package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/containers/session"
	"hoy/internal/cli/flags"
)

// run is one call of `run`.
type run struct {
	*creation
	detach   bool
	sigProxy bool
	keys     string

	api     client.APIClient
	id      string
	stdinOn bool
}

// NewRun returns `run`.
func NewRun(app *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short: "Create and run a new container from an image",
		Example: `  hoy run --rm hoy/hello
  hoy run -it --rm debian bash
  hoy run -d --name web -p 8080:80 -v "$PWD/site:/usr/share/nginx/html:ro" nginx
  hoy run -d --restart unless-stopped -m 256m --cpus 1.5 --env-file app.env app
  echo hello | hoy run -i --rm busybox cat`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Images(app, 1),
	}
	fs := cmd.Flags()
	r := &run{creation: newCreation(app, fs)}
	fs.BoolVarP(&r.detach, "detach", "d", false, "Run container in background and print container ID")
	fs.BoolVar(&r.sigProxy, "sig-proxy", true, "Proxy received signals to the process")
	fs.StringVar(&r.keys, "detach-keys", "", "Override the key sequence for detaching a container")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.opts.Image, r.opts.Args = args[0], args[1:]
		err := r.run(cmd)
		if err == nil {
			return nil
		}
		var status *cli.StatusError
		if errors.As(err, &status) {
			return err
		}
		return badFlags(cmd, err)
	}
	return cmd
}

func (r *run) run(cmd *cobra.Command) error {
	spec, err := r.spec(cmd)
	if err != nil {
		return err
	}
	if r.api, err = r.app.Client(); err != nil {
		return err
	}
	ctx := cmd.Context()
	if r.id, err = r.create(ctx, spec); err != nil {
		return err
	}
	if !spec.Config.AttachStdout && !spec.Config.AttachStderr && !r.stdinOn {
		return r.background(ctx, cmd)
	}
	return r.foreground(ctx, cmd, spec)
}

func (r *run) spec(cmd *cobra.Command) (*flags.Spec, error) {
	if given, _ := r.opts.Attaches(""); given && r.detach {
		return nil, cli.Fail(1, errors.New("conflicting options: cannot specify both --attach and --detach"))
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	spec, err := r.opts.Spec(cmd.Flags())
	if err != nil {
		return nil, err
	}
	spec.Attach(r.opts, r.detach)
	if spec.Config.Tty {
		height, width := r.app.Out.Size()
		spec.Host.ConsoleSize = [2]uint{height, width}
		r.sigProxy = false
	}
	r.stdinOn = spec.Config.AttachStdin
	if r.stdinOn && spec.Config.Tty && !r.app.In.IsTerminal() {
		return nil, errors.New("the input device is not a TTY")
	}
	if _, err := (&session.Session{App: r.app, DetachKeys: r.keys}).Keys(); err != nil {
		return nil, err
	}
	return spec, nil
}

func (r *run) background(ctx context.Context, cmd *cobra.Command) error {
	if _, err := r.api.ContainerStart(ctx, r.id, client.ContainerStartOptions{}); err != nil {
		return startFailure(ctx, r.api, r.id, badFlags(cmd, err), nil)
	}
	fmt.Fprintln(r.app.Out, r.id)
	return nil
}

// foreground attaches and waits before the container starts, so that no output
// and no exit is lost however short its life.
func (r *run) foreground(ctx context.Context, cmd *cobra.Command, spec *flags.Spec) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan struct{})
	if r.sigProxy {
		defer session.ForwardSignals(ctx, r.app, r.api, r.id, started)()
	}
	s := &session.Session{
		App: r.app, TTY: spec.Config.Tty, DetachKeys: r.keys,
		Stdin: r.stdinOn, Stdout: spec.Config.AttachStdout, Stderr: spec.Config.AttachStderr,
	}
	keys, err := s.Keys()
	if err != nil {
		return err
	}
	exit := make(chan client.ContainerWaitResult, 1)
	go func() {
		exit <- r.api.ContainerWait(ctx, r.id, client.ContainerWaitOptions{Condition: waitCondition(r.opts.AutoRemove())})
	}()
	attached, err := r.api.ContainerAttach(ctx, r.id, client.ContainerAttachOptions{
		Stream: true, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, DetachKeys: keys,
	})
	if err != nil {
		return err
	}
	defer attached.Close()
	wait := <-exit
	streamed := make(chan error, 1)
	go func() { streamed <- s.Stream(ctx, &attached.HijackedResponse) }()
	if _, err := r.api.ContainerStart(ctx, r.id, client.ContainerStartOptions{}); err != nil {
		attached.Close()
		<-streamed
		return startFailure(ctx, r.api, r.id, badFlags(cmd, err), r.removal(wait))
	}
	close(started)
	if spec.Config.Tty {
		defer session.FollowSize(ctx, r.app, containerSize(r.api, r.id))()
	}
	if over, err := session.Ended(r.app, "container "+r.id[:min(12, len(r.id))], <-streamed); over {
		return err
	}
	if r.detach {
		fmt.Fprintln(r.app.Out, r.id)
		return nil
	}
	return exitOf(wait)
}

// removal is the wait for a container that removes itself, nil for another one,
// which stays and can be asked.
func (r *run) removal(wait client.ContainerWaitResult) *client.ContainerWaitResult {
	if !r.opts.AutoRemove() {
		return nil
	}
	return &wait
}

func waitCondition(autoRemove bool) container.WaitCondition {
	if autoRemove {
		return container.WaitConditionRemoved
	}
	return container.WaitConditionNextExit
}

// exitOf waits for the end of a container and returns its exit code as an error.
func exitOf(wait client.ContainerWaitResult) error {
	select {
	case result := <-wait.Result:
		if result.Error != nil {
			return cli.Fail(cli.ExitUsage, errors.New(result.Error.Message))
		}
		return cli.Exit(int(result.StatusCode))
	case err := <-wait.Error:
		return cli.Fail(cli.ExitUsage, fmt.Errorf("error waiting for container: %w", err))
	}
}

// failurePatience bounds the wait for the removal of what did not start.
const failurePatience = 5 * time.Second

// startFailure gives the error of a start the exit code that the daemon recorded:
// 126 for a command that cannot be executed, 127 for one that does not exist,
// 125 for all else.
func startFailure(ctx context.Context, api client.APIClient, id string, cause error, removal *client.ContainerWaitResult) error {
	code := cli.ExitUsage
	if removal != nil {
		select {
		case result := <-removal.Result:
			code = commandCode(int(result.StatusCode))
		case <-removal.Error:
		case <-time.After(failurePatience):
		}
	} else if state, err := api.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); err == nil && state.Container.State != nil {
		code = commandCode(state.Container.State.ExitCode)
	}
	return cli.Fail(code, cause)
}

func commandCode(code int) int {
	if code == cli.ExitNotExecutable || code == cli.ExitNotFound {
		return code
	}
	return cli.ExitUsage
}

func containerSize(api client.APIClient, id string) session.Resizer {
	return func(ctx context.Context, height, width uint) error {
		_, err := api.ContainerResize(ctx, id, client.ContainerResizeOptions{Height: height, Width: width})
		return err
	}
}
