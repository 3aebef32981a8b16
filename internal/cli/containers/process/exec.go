package process

import (
	"context"
	"errors"
	"time"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/containers/session"
	"hoy/internal/cli/flags/value"
)

type execFlags struct {
	detach, stdin, tty, privileged bool
	user, workdir, keys            string
	env, envFile                   value.List
}

// NewExec returns `exec`.
func NewExec(app *cli.App) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short: "Execute a command in a running container",
		Example: `  hoy exec -it web sh
  hoy exec -u postgres -w /var/lib/postgresql db psql -c 'select 1'
  hoy exec -d -e LEVEL=debug app reload`,
		Args:              cli.MinArgs(2),
		ValidArgsFunction: complete.Containers(app, 1, complete.Running),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), app, args[0], args[1:])
		},
	}
	f.env.Check = value.Env
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&f.detach, "detach", "d", false, "Detached mode: run command in the background")
	fs.StringVar(&f.keys, "detach-keys", "", "Override the key sequence for detaching a container")
	fs.VarP(&f.env, "env", "e", "Set environment variables")
	fs.Var(&f.envFile, "env-file", "Read in a file of environment variables")
	fs.BoolVarP(&f.stdin, "interactive", "i", false, "Keep STDIN open even if not attached")
	fs.BoolVar(&f.privileged, "privileged", false, "Give extended privileges to the command")
	fs.BoolVarP(&f.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	fs.StringVarP(&f.user, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	fs.StringVarP(&f.workdir, "workdir", "w", "", "Working directory inside the container")
	return cmd
}

func (f *execFlags) run(ctx context.Context, app *cli.App, name string, command []string) error {
	s := &session.Session{App: app, TTY: f.tty, DetachKeys: f.keys, Stdin: f.stdin && !f.detach, Stdout: true, Stderr: true}
	keys, err := s.Keys()
	if err != nil {
		return err
	}
	if s.Stdin && f.tty && !app.In.IsTerminal() {
		return errors.New("the input device is not a TTY")
	}
	env, err := value.ReadEnv(f.envFile.Values, f.env.Values)
	if err != nil {
		return err
	}
	opt := client.ExecCreateOptions{
		User: f.user, Privileged: f.privileged, TTY: f.tty, Env: env, WorkingDir: f.workdir, Cmd: command,
		AttachStdin: s.Stdin, AttachStdout: !f.detach, AttachStderr: !f.detach,
	}
	if f.keys != "" || app.Settings().DetachKeys != "" {
		opt.DetachKeys = keys
	}
	if f.tty {
		opt.ConsoleSize.Height, opt.ConsoleSize.Width = app.Out.Size()
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	created, err := api.ExecCreate(ctx, name, opt)
	if err != nil {
		return err
	}
	if f.detach {
		_, err := api.ExecStart(ctx, created.ID, client.ExecStartOptions{Detach: true, TTY: f.tty, ConsoleSize: opt.ConsoleSize})
		return execFailure(ctx, api, created.ID, err)
	}
	attached, err := api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: f.tty, ConsoleSize: opt.ConsoleSize})
	if err != nil {
		return execFailure(ctx, api, created.ID, err)
	}
	defer attached.Close()
	if f.tty {
		defer session.FollowSize(ctx, app, func(ctx context.Context, height, width uint) error {
			_, err := api.ExecResize(ctx, created.ID, client.ExecResizeOptions{Height: height, Width: width})
			return err
		})()
	}
	if over, err := session.Ended(app, "the command", s.Stream(ctx, &attached.HijackedResponse)); over {
		return err
	}
	return execExit(ctx, api, created.ID)
}

// execFailure gives the error of a start its exit code: 126 and 127 where the
// daemon recorded that the command cannot run, 1 else.
func execFailure(ctx context.Context, api client.APIClient, id string, cause error) error {
	if cause == nil {
		return nil
	}
	if state, err := api.ExecInspect(ctx, id, client.ExecInspectOptions{}); err == nil {
		if code := commandCode(state.ExitCode); code != cli.ExitUsage {
			return cli.Fail(code, cause)
		}
	}
	return cause
}

const (
	execTries = 100
	execPause = 20 * time.Millisecond
)

// execExit returns the exit code of a command whose output has ended. The record
// may follow a moment later.
func execExit(ctx context.Context, api client.APIClient, id string) error {
	for range execTries {
		state, err := api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil {
			return err
		}
		if !state.Running {
			return cli.Exit(state.ExitCode)
		}
		select {
		case <-time.After(execPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// The command closed its output and runs on.
	return nil
}
