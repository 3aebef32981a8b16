package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/cli/progress"
)

// timeLayout is RFC 3339 with all nine digits, so that lines align.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// event is what templates of events see. The first three members are those of
// the API before 1.22, which scripts still read.
type event struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func newEvents(app *cli.App) *cobra.Command {
	var since, until, layout string
	cmd := &cobra.Command{
		Use:   "events [OPTIONS]",
		Short: "Get real time events from the server",
		Example: `  hoy events
  hoy events --since 1h --filter type=container --filter event=die
  hoy events --format json --until 2030-01-01`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
	}
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "Show all events created since timestamp")
	flags.StringVar(&until, "until", "", "Stream events until this timestamp")
	filter := listflag.Filter(flags, "f", "Filter output based on conditions provided")
	listflag.Format(flags, &layout, "", false)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		write, err := eventWriter(app.Out, layout, app.Out.IsTerminal())
		if err != nil {
			return cli.Fail(64, err)
		}
		api, err := app.Client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		stream := api.Events(ctx, client.EventsListOptions{Since: exact(since), Until: exact(until), Filters: filter.Filters()})
		return follow(ctx, stream, write)
	}
	return cmd
}

// exact turns a duration before now into the moment, with its fraction of a
// second: the client library drops that, and with it the events of the second
// that until lies in. Other forms of time stay as they are.
func exact(moment string) string {
	d, err := time.ParseDuration(moment)
	if err != nil || moment == "0" {
		return moment
	}
	t := time.Now().Add(-d)
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}

func follow(ctx context.Context, stream client.EventsResult, write func(events.Message) error) error {
	for {
		select {
		case m := <-stream.Messages:
			if err := write(m); err != nil {
				return err
			}
		case err := <-stream.Err:
			switch {
			case err == nil, errors.Is(err, io.EOF):
				return nil
			case ctx.Err() != nil:
				return ctx.Err()
			}
			return err
		}
	}
}

// eventWriter gives what writes one event as a line. Attributes are an image's
// making: for a terminal, what would command it is taken out.
func eventWriter(w io.Writer, layout string, terminal bool) (func(events.Message) error, error) {
	var tmpl *template.Template
	switch layout {
	case "":
		return func(m events.Message) error {
			line := eventLine(m)
			if terminal {
				line = progress.Clean(line)
			}
			_, err := fmt.Fprintln(w, line)
			return err
		}, nil
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return func(m events.Message) error { return encoder.Encode(withLegacy(m)) }, nil
	}
	tmpl, err := format.Parse(layout)
	if err != nil {
		return nil, err
	}
	// An attribute that only some events have is no mistake; a field that none has is.
	tmpl.Option("missingkey=default")
	if err := tmpl.Execute(io.Discard, event{}); err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return func(m events.Message) error {
		var line strings.Builder
		if err := tmpl.Execute(&line, withLegacy(m)); err != nil {
			return fmt.Errorf("template parsing error: %w", err)
		}
		_, err := fmt.Fprintln(w, line.String())
		return err
	}, nil
}

func withLegacy(m events.Message) event {
	e := event{Message: m}
	switch m.Type {
	case events.ContainerEventType:
		e.From = m.Actor.Attributes["image"]
		e.Status, e.ID = string(m.Action), m.Actor.ID
	case events.ImageEventType:
		e.Status, e.ID = string(m.Action), m.Actor.ID
	}
	return e
}

func eventLine(m events.Message) string {
	var line strings.Builder
	switch {
	case m.TimeNano != 0:
		line.WriteString(time.Unix(0, m.TimeNano).Format(timeLayout) + " ")
	case m.Time != 0:
		line.WriteString(time.Unix(m.Time, 0).Format(timeLayout) + " ")
	}
	fmt.Fprintf(&line, "%s %s %s", m.Type, m.Action, m.Actor.ID)
	if len(m.Actor.Attributes) > 0 {
		var attributes []string
		for _, key := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
			attributes = append(attributes, key+"="+m.Actor.Attributes[key])
		}
		line.WriteString(" (" + strings.Join(attributes, ", ") + ")")
	}
	return line.String()
}
