package show

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
)

// NewLogs returns `logs`.
func NewLogs(app *cli.App) *cobra.Command {
	opt := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}
	cmd := &cobra.Command{
		Use:   "logs [OPTIONS] CONTAINER [CONTAINER...]",
		Short: "Fetch the logs of one or more containers",
		Example: `  hoy logs -f --tail 100 web
  hoy logs --since 10m -t web
  hoy logs -f web db                     (each line begins with the container's name)`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
		RunE: func(cmd *cobra.Command, names []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			if len(names) == 1 {
				return logs(cmd.Context(), api, names[0], opt, app.Out, app.Err)
			}
			return logsOfMany(cmd.Context(), app, api, names, opt)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&opt.Details, "details", false, "Show extra details provided to logs")
	fs.BoolVarP(&opt.Follow, "follow", "f", false, "Follow log output")
	fs.StringVar(&opt.Since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	fs.StringVarP(&opt.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	fs.BoolVarP(&opt.Timestamps, "timestamps", "t", false, "Show timestamps")
	fs.StringVar(&opt.Until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	return cmd
}

func logs(ctx context.Context, api client.APIClient, name string, opt client.ContainerLogsOptions, out, errs io.Writer) error {
	info, err := api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	stream, err := api.ContainerLogs(ctx, info.Container.ID, opt)
	if err != nil {
		return err
	}
	defer stream.Close()
	if info.Container.Config.Tty {
		_, err = io.Copy(out, stream)
	} else {
		_, err = stdcopy.StdCopy(out, errs, stream)
	}
	return err
}

// logsOfMany follows or reads several logs at once; each line begins with the
// name of its container, in a colour of its own on a terminal.
func logsOfMany(ctx context.Context, app *cli.App, api client.APIClient, names []string, opt client.ContainerLogsOptions) error {
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		prefix := fmt.Sprintf("%-*s | ", width, name)
		if app.Out.Color() {
			prefix = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colours[i%len(colours)], prefix)
		}
		wg.Go(func() {
			out := &prefixed{to: app.Out, mu: &mu, prefix: prefix}
			err := &prefixed{to: app.Err, mu: &mu, prefix: prefix}
			errs[i] = errors.Join(logs(ctx, api, name, opt, out, err), out.flush(), err.flush())
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// colours are those of the terminal that are readable on light and dark ground.
var colours = []int{36, 33, 32, 35, 34, 31}

// prefixed writes whole lines, each after a prefix.
type prefixed struct {
	to     io.Writer
	mu     *sync.Mutex
	prefix string
	rest   []byte
}

func (p *prefixed) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	end := bytes.LastIndexByte(p.rest, '\n')
	if end < 0 {
		return len(data), nil
	}
	lines := string(p.rest[:end+1])
	p.rest = append(p.rest[:0], p.rest[end+1:]...)
	return len(data), p.emit(lines)
}

func (p *prefixed) flush() error {
	if len(p.rest) == 0 {
		return nil
	}
	last := string(p.rest) + "\n"
	p.rest = nil
	return p.emit(last)
}

func (p *prefixed) emit(lines string) error {
	var out strings.Builder
	for line := range strings.Lines(lines) {
		out.WriteString(p.prefix)
		out.WriteString(line)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.to, out.String())
	return err
}
