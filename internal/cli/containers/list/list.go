// Package list has the verb that lists containers.
package list

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
)

type listFlags struct {
	all, latest, noTrunc, quiet, size bool
	last                              int
	format                            string
	filter                            *listflag.Value
}

// New returns the verb under the given name.
func New(app *cli.App, use string, aliases ...string) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use: use, Aliases: aliases,
		Short: "List containers",
		Example: `  hoy ps -a
  hoy ps --filter status=exited --filter label=app=web
  hoy ps --format 'table {{.Names}}\t{{.Status}}\t{{.Ports}}'
  hoy rm $(hoy ps -aq -f status=exited)`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE:              func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), app) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all", "a", false, "Show all containers (default shows just running)")
	f.filter = listflag.Filter(fs, "f", "Filter output based on conditions provided")
	listflag.Format(fs, &f.format, "", true)
	fs.IntVarP(&f.last, "last", "n", -1, "Show n last created containers (includes all states)")
	fs.BoolVarP(&f.latest, "latest", "l", false, "Show the latest created container (includes all states)")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Only display container IDs")
	fs.BoolVarP(&f.size, "size", "s", false, "Display total file sizes")
	return cmd
}

var table = format.Table{
	Columns: []string{"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"},
	Quiet:   "ID",
	Headers: map[string]string{
		"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
		"RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
		"Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM",
	},
	Shrink: []string{"Ports", "Command", "Image"},
}

func (f *listFlags) run(ctx context.Context, app *cli.App) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	text := f.format
	if text == "" && !f.quiet {
		text = app.Settings().PsFormat
	}
	opt := client.ContainerListOptions{All: f.all, Limit: f.last, Size: f.size, Filters: f.filter.Filters()}
	if f.latest && f.last == -1 {
		opt.Limit = 1
	}
	if text != "" && !f.quiet && format.Uses(text, "Size") && !strings.HasPrefix(text, "json") {
		opt.Size = true
	}
	found, err := api.ContainerList(ctx, opt)
	if err != nil {
		return err
	}
	width := app.Out.Width()
	if f.noTrunc {
		width = 0
	}
	rows := make([]format.Row, len(found.Items))
	for i, c := range found.Items {
		rows[i] = newRow(&c, f.noTrunc, opt.Size, width > 0)
	}
	view := table
	if f.size {
		view.Columns = append(slices.Clone(view.Columns), "Size")
	}
	return view.Write(app.Out, format.Options{Format: text, Quiet: f.quiet, Width: width, Warnings: app.Err}, rows)
}

const shortID = 12

func newRow(c *container.Summary, full, size, fold bool) format.Row {
	created := time.Unix(c.Created, 0)
	row := format.Row{
		"ID": short(c.ID, full), "Names": names(c.Names, full), "Image": imageName(c, full), "Command": command(c.Command, full),
		"CreatedAt": created.String(), "RunningFor": units.HumanDuration(time.Now().UTC().Sub(created)) + " ago",
		"Ports": Ports(c.Ports, fold), "State": string(c.State), "Status": c.Status,
		"Size": sizes(c), "Labels": labels(c.Labels), "Mounts": mounts(c.Mounts, full),
		"LocalVolumes": strconv.Itoa(localVolumes(c.Mounts)), "Networks": networks(c), "Platform": nil,
	}
	if !size && c.SizeRw == 0 && c.SizeRootFs == 0 {
		row["Size"] = "0B"
	}
	if d := c.ImageManifestDescriptor; d != nil && d.Platform != nil {
		row["Platform"] = map[string]string{"architecture": d.Platform.Architecture, "os": d.Platform.OS}
	}
	return row.WithLabels(c.Labels)
}

func short(id string, full bool) string {
	if full || len(id) <= shortID {
		return id
	}
	return id[:shortID]
}

// names drops the leading slash and, in the short view, the names that links
// gave, which contain another one.
func names(all []string, full bool) string {
	var kept []string
	for _, name := range all {
		name = strings.TrimPrefix(name, "/")
		if full || !strings.Contains(name, "/") {
			kept = append(kept, name)
		}
	}
	return strings.Join(kept, ",")
}

// imageName is the name given at create; an id is shortened.
func imageName(c *container.Summary, full bool) string {
	switch {
	case c.Image == "":
		return "<no image>"
	case full:
		return c.Image
	}
	if id := strings.TrimPrefix(c.ImageID, "sha256:"); c.Image == c.ImageID || c.Image == id {
		return short(id, false)
	}
	name, digest, ok := strings.Cut(c.Image, "@")
	if !ok || digest == "" {
		return c.Image
	}
	return name
}

const commandWidth = 20

func command(text string, full bool) string {
	if !full {
		text = format.Ellipsis(text, commandWidth)
	}
	return strconv.Quote(text)
}

func sizes(c *container.Summary) string {
	rw := units.HumanSizeWithPrecision(float64(c.SizeRw), 3)
	if c.SizeRootFs <= 0 {
		return rw
	}
	return fmt.Sprintf("%s (virtual %s)", rw, units.HumanSizeWithPrecision(float64(c.SizeRootFs), 3))
}

func labels(all map[string]string) string {
	pairs := make([]string, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, key+"="+all[key])
	}
	return strings.Join(pairs, ",")
}

const mountWidth = 15

func mounts(all []container.MountPoint, full bool) string {
	var shown []string
	for _, m := range all {
		name := cmp.Or(m.Name, m.Source)
		if !full {
			name = format.Ellipsis(name, mountWidth)
		}
		shown = append(shown, name)
	}
	return strings.Join(shown, ",")
}

func localVolumes(all []container.MountPoint) int {
	n := 0
	for _, m := range all {
		if m.Driver == "local" {
			n++
		}
	}
	return n
}

func networks(c *container.Summary) string {
	if c.NetworkSettings == nil {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(c.NetworkSettings.Networks)), ",")
}
