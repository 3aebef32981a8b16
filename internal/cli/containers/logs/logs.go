// Package logs has the verb logs: one container's as Docker writes it; several
// at once, by time, behind their names; by pattern; and across restarts.
package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
)

// request is one call of `logs`.
type request struct {
	app      *cli.App
	api      client.APIClient
	opt      client.ContainerLogsOptions
	grep     string
	pattern  *regexp.Regexp // nil lets every line through
	invert   bool
	restarts bool
	print    *printer
}

// New returns `logs`.
func New(app *cli.App) *cobra.Command {
	r := &request{app: app, opt: client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}}
	cmd := &cobra.Command{
		Use:   "logs [OPTIONS] CONTAINER [CONTAINER...]",
		Short: "Fetch the logs of one or more containers",
		Long: `Fetch the logs of one or more containers

Lines of several containers begin with the container's name and come in the order of their times; with --follow they come as
they are written. --follow ends when the containers have ended, --follow-restarts does not. --tail counts lines before --grep.`,
		Example: `  hoy logs -f --tail 100 web
  hoy logs --since 10m -t web
  hoy logs -f web db                     (each line begins with the container's name)
  hoy logs --grep 'error|panic' web db
  hoy logs --grep '^GET /health' --invert -f web
  hoy logs --follow-restarts web         (across restarts, and when web is made anew)`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
		RunE:              func(cmd *cobra.Command, names []string) error { return r.run(cmd.Context(), names) },
	}
	fs := cmd.Flags()
	fs.BoolVar(&r.opt.Details, "details", false, "Show extra details provided to logs")
	fs.BoolVarP(&r.opt.Follow, "follow", "f", false, "Follow log output")
	fs.BoolVar(&r.restarts, "follow-restarts", false, "Follow log output across restarts and re-creations, until interrupted")
	fs.StringVar(&r.grep, "grep", "", "Show only lines that match the regular expression")
	fs.BoolVar(&r.invert, "invert", false, "With --grep, show only lines that do not match")
	fs.StringVar(&r.opt.Since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	fs.StringVarP(&r.opt.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	fs.BoolVarP(&r.opt.Timestamps, "timestamps", "t", false, "Show timestamps")
	fs.StringVar(&r.opt.Until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	return cmd
}

func (r *request) run(ctx context.Context, names []string) error {
	var err error
	switch {
	case r.grep != "":
		if r.pattern, err = regexp.Compile(r.grep); err != nil {
			return fmt.Errorf("invalid --grep: %w", err)
		}
	case r.invert:
		return errors.New("--invert needs --grep")
	}
	r.opt.Follow = r.opt.Follow || r.restarts
	if r.api, err = r.app.Client(); err != nil {
		return err
	}
	if len(names) == 1 && r.pattern == nil && !r.restarts {
		return r.plain(ctx, names[0])
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r.print = newPrinter(r.app.Out, r.app.Err, names, r.app.Out.Color())
	err = r.many(ctx, names)
	if ctx.Err() != nil {
		return cli.Exit(128 + int(syscall.SIGINT)) // no line was cut: the printer writes whole ones
	}
	return err
}

// plain passes one container's log through as it comes.
func (r *request) plain(ctx context.Context, name string) error {
	info, err := r.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	stream, err := r.api.ContainerLogs(ctx, info.Container.ID, r.opt)
	if err != nil {
		return err
	}
	defer stream.Close()
	if info.Container.Config.Tty {
		_, err = io.Copy(r.app.Out, stream)
	} else {
		_, err = stdcopy.StdCopy(r.app.Out, r.app.Err, stream)
	}
	return err
}

// wanted says whether the pattern lets a line through.
func (r *request) wanted(l line) bool {
	return r.pattern == nil || r.pattern.Match(l.bare()) != r.invert
}

// many reads the logs of all at once.
func (r *request) many(ctx context.Context, names []string) error {
	sources := make([]*source, len(names))
	for i, name := range names {
		sources[i] = &source{r: r, name: name, opt: r.opt}
		sources[i].opt.Timestamps = r.opt.Timestamps || r.restarts || len(names) > 1 && !r.opt.Follow
	}
	if r.opt.Follow || len(names) == 1 {
		return r.live(ctx, sources)
	}
	return r.merged(ctx, sources)
}

// live prints lines as they come.
func (r *request) live(ctx context.Context, sources []*source) error {
	errs := make([]chan error, len(sources))
	for i, s := range sources {
		errs[i] = make(chan error, 1)
		go func() {
			errs[i] <- s.read(ctx, func(l line) error { return r.print.line(s.name, l, r.opt.Timestamps) })
		}()
	}
	var all error
	for i := range errs {
		all = errors.Join(all, <-errs[i])
	}
	return all
}

// queued is how many lines of each container wait for their turn.
const queued = 256

// merged prints the lines of all by their times. Those of a container are in
// their own order, whatever its clock did.
func (r *request) merged(ctx context.Context, sources []*source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make([]chan line, len(sources))
	errs := make([]error, len(sources))
	for i, s := range sources {
		lines[i] = make(chan line, queued)
		go func() {
			defer close(lines[i])
			errs[i] = s.read(ctx, func(l line) error {
				select {
				case lines[i] <- l:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
	}
	heads := make([]*line, len(sources))
	take := func(i int) {
		heads[i] = nil
		if l, ok := <-lines[i]; ok {
			heads[i] = &l
		}
	}
	for i := range sources {
		take(i)
	}
	for {
		next := -1
		for i, h := range heads {
			if h != nil && (next < 0 || h.at.Before(heads[next].at)) {
				next = i
			}
		}
		if next < 0 {
			return errors.Join(errs...)
		}
		if err := r.print.line(sources[next].name, *heads[next], r.opt.Timestamps); err != nil {
			return err
		}
		take(next)
	}
}
