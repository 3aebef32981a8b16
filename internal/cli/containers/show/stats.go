package show

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
)

// refresh is how often the live table is drawn.
const refresh = 500 * time.Millisecond

// stats is one call of `stats`.
type stats struct {
	app     *cli.App
	api     client.APIClient
	all     bool
	once    bool
	noTrunc bool
	format  string

	mu      sync.Mutex
	lines   []*line
	working sync.WaitGroup
}

// line is the row of one container; guarded by stats.mu.
type line struct {
	id   string
	last sample
	err  error
	gone bool

	ready chan struct{} // closed with the first sample, or the failure to get one
	once  sync.Once
}

func (l *line) answered() { l.once.Do(func() { close(l.ready) }) }

// NewStats returns `stats`.
func NewStats(app *cli.App) *cobra.Command {
	s := &stats{app: app}
	cmd := &cobra.Command{
		Use:               "stats [OPTIONS] [CONTAINER...]",
		Short:             "Display a live stream of container(s) resource usage statistics",
		Example:           "  hoy stats\n  hoy stats --no-stream --format '{{.Name}}: {{.MemUsage}}' web db",
		ValidArgsFunction: complete.Containers(app, 0, complete.Running),
		RunE:              func(cmd *cobra.Command, names []string) error { return s.run(cmd.Context(), names) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&s.all, "all", "a", false, "Show all containers (default shows just running)")
	listflag.Format(fs, &s.format, "", true)
	fs.BoolVar(&s.once, "no-stream", false, "Disable streaming stats and only pull the first result")
	fs.BoolVar(&s.noTrunc, "no-trunc", false, "Do not truncate output")
	return cmd
}

func (s *stats) run(ctx context.Context, names []string) error {
	var err error
	if s.api, err = s.app.Client(); err != nil {
		return err
	}
	if s.format == "" {
		s.format = s.app.Settings().StatsFormat
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if len(names) == 0 {
		list, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: s.all})
		if err != nil {
			return err
		}
		if !s.once {
			go s.follow(ctx)
		}
		for _, c := range list.Items {
			s.watch(ctx, c.ID, c.ID)
		}
	}
	for _, name := range names {
		s.watch(ctx, name, name)
	}
	if s.once {
		s.working.Wait()
		if err := s.failure(); err != nil {
			return err
		}
		return s.write(s.app.Out)
	}
	return s.live(ctx, len(names) > 0)
}

// watch adds a line and keeps it up to date until the container stops.
func (s *stats) watch(ctx context.Context, asked, id string) {
	l := &line{id: id, last: sample{asked: asked}, ready: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.lines, func(o *line) bool { return o.id == id && !o.gone }) {
		return
	}
	s.lines = append(s.lines, l)
	s.working.Go(func() { s.collect(ctx, l) })
}

func (s *stats) collect(ctx context.Context, l *line) {
	err := s.read(ctx, l)
	defer l.answered()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.once {
		l.gone, l.last.valid = true, false
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		l.err = err
	}
}

func (s *stats) read(ctx context.Context, l *line) error {
	res, err := s.api.ContainerStats(ctx, l.id, client.ContainerStatsOptions{Stream: !s.once, IncludePreviousSample: s.once})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for dec := json.NewDecoder(res.Body); ; {
		var got container.StatsResponse
		if err := dec.Decode(&got); err != nil {
			return err
		}
		next := newSample(l.last.asked, &got)
		// A stopped container answers with a sample that was never read.
		next.valid = !got.Read.IsZero()
		s.mu.Lock()
		l.last = next
		s.mu.Unlock()
		l.answered()
		if s.once {
			return nil
		}
	}
}

// follow watches containers that start while the table is shown.
func (s *stats) follow(ctx context.Context) {
	filters := client.Filters{}.Add("type", string(events.ContainerEventType)).Add("event", string(events.ActionStart))
	stream := s.api.Events(ctx, client.EventsListOptions{Filters: filters})
	for {
		select {
		case msg := <-stream.Messages:
			s.watch(ctx, msg.Actor.ID, msg.Actor.ID)
		case <-stream.Err:
			return
		}
	}
}

// live draws the table until interrupted, or until all that was asked for by
// name is gone.
func (s *stats) live(ctx context.Context, named bool) error {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	ticks := time.NewTicker(refresh)
	defer ticks.Stop()
	if !s.awaitFirst(ctx, interrupted) {
		return nil
	}
	if err := s.failure(); named && err != nil {
		return err
	}
	terminal := s.app.Out.IsTerminal()
	if terminal {
		fmt.Fprint(s.app.Out, "\x1b[2J")
	}
	for {
		if err := s.draw(terminal); err != nil {
			return err
		}
		if named && s.allGone() {
			return s.failure()
		}
		select {
		case <-ticks.C:
		case <-interrupted:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		s.forget(named)
	}
}

// awaitFirst waits until each line has something to show. It reports false where
// the user has had enough.
func (s *stats) awaitFirst(ctx context.Context, interrupted <-chan os.Signal) bool {
	s.mu.Lock()
	lines := slices.Clone(s.lines)
	s.mu.Unlock()
	for _, l := range lines {
		select {
		case <-l.ready:
		case <-interrupted:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// draw writes the table over the one before: no flicker, and no rest of a longer
// line or table.
func (s *stats) draw(terminal bool) error {
	if !terminal {
		return s.write(s.app.Out)
	}
	var body bytes.Buffer
	if err := s.write(&body); err != nil {
		return err
	}
	height, _ := s.app.Out.Size()
	lines := strings.SplitAfter(body.String(), "\n")
	if height > 1 && len(lines) > int(height) {
		lines = lines[:height-1]
	}
	var out strings.Builder
	out.WriteString("\x1b[H")
	for _, text := range lines {
		out.WriteString(strings.Replace(text, "\n", "\x1b[K\n", 1))
	}
	out.WriteString("\x1b[J")
	_, err := io.WriteString(s.app.Out, out.String())
	return err
}

func (s *stats) write(w io.Writer) error {
	s.mu.Lock()
	rows := make([]format.Row, len(s.lines))
	for i, l := range s.lines {
		rows[i] = l.last.row(s.noTrunc)
	}
	s.mu.Unlock()
	return statsTable.Write(w, format.Options{Format: s.format, Width: s.app.Out.Width()}, rows)
}

// forget drops the lines of containers that have stopped; those asked for by
// name stay.
func (s *stats) forget(named bool) {
	if named || s.all {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = slices.DeleteFunc(s.lines, func(l *line) bool { return l.gone })
}

func (s *stats) allGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.lines, func(l *line) bool { return !l.gone })
}

func (s *stats) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range s.lines {
		errs = append(errs, l.err)
	}
	return errors.Join(errs...)
}
