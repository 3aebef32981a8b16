package images

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/cli/progress"
)

var historyTable = format.Table{
	Columns: []string{"ID", "CreatedSince", "CreatedBy", "Size", "Comment"},
	Quiet:   "ID",
	Headers: map[string]string{
		"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
		"CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
	},
	Shrink: []string{"CreatedBy", "Comment"},
}

// createdByMax is how much of a command a row shows.
const createdByMax = 45

type historyOptions struct {
	format, platform   string
	human, full, quiet bool
}

func newHistory(app *cli.App) *cobra.Command {
	var opt historyOptions
	cmd := &cobra.Command{
		Use:   "history [OPTIONS] IMAGE",
		Short: "Show the history of an image",
		Example: `  hoy history debian
  hoy history --no-trunc --format "{{.CreatedBy}}" app`,
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.Images(app, 1),
		RunE:              func(cmd *cobra.Command, args []string) error { return runHistory(cmd, app, opt, args[0]) },
	}
	flags := cmd.Flags()
	listflag.Format(flags, &opt.format, "", true)
	flags.BoolVarP(&opt.human, "human", "H", true, "Print sizes and dates in human readable format")
	flags.BoolVar(&opt.full, "no-trunc", false, "Don't truncate output")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "Only show image IDs")
	flags.StringVar(&opt.platform, "platform", "", "Show history for the given platform. Formatted as\n\"os[/arch[/variant]]\" (e.g., \"linux/amd64\")")
	return cmd
}

func runHistory(cmd *cobra.Command, app *cli.App, opt historyOptions, ref string) error {
	platform, err := optionalPlatform(opt.platform)
	if err != nil {
		return err
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	var more []client.ImageHistoryOption
	if platform != nil {
		more = append(more, client.ImageHistoryWithPlatform(*platform))
	}
	history, err := api.ImageHistory(cmd.Context(), ref, more...)
	if err != nil {
		return err
	}
	table := historyTable
	if !opt.human {
		table.Columns = []string{"ID", "CreatedAt", "CreatedBy", "Size", "Comment"}
	}
	var rows []format.Row
	for _, item := range history.Items {
		if app.Out.IsTerminal() {
			item.CreatedBy, item.Comment = progress.Clean(item.CreatedBy), progress.Clean(item.Comment)
		}
		rows = append(rows, historyRow(item, opt))
	}
	width := app.Out.Width()
	if opt.full {
		width = 0
	}
	return table.Write(app.Out, format.Options{Format: opt.format, Quiet: opt.quiet, Width: width, Warnings: app.Err}, rows)
}

func historyRow(item image.HistoryResponseItem, opt historyOptions) format.Row {
	createdBy := strings.ReplaceAll(item.CreatedBy, "\t", " ")
	if !opt.full {
		createdBy = format.Ellipsis(createdBy, createdByMax)
	}
	at := time.Unix(item.Created, 0).Format(time.RFC3339)
	row := format.Row{
		"ID": ID(item.ID, opt.full), "CreatedBy": createdBy, "Comment": item.Comment, "CreatedAt": at,
		"CreatedSince": Since(item.Created), "Size": units.HumanSizeWithPrecision(float64(item.Size), 3),
	}
	if !opt.human {
		row["CreatedSince"] = at
		row["Size"] = strconv.FormatInt(item.Size, 10)
	}
	return row
}

func newInspect(app *cli.App) *cobra.Command {
	var layout, platform string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short: "Display detailed information on one or more images",
		Example: `  hoy image inspect debian
  hoy image inspect --format "{{json .Config.Env}}" debian`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Images(app, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := optionalPlatform(platform)
			if err != nil {
				return err
			}
			api, err := app.Client()
			if err != nil {
				return err
			}
			return format.Inspect(app.Out, layout, args, func(ref string) (format.Object, error) {
				var raw bytes.Buffer
				opts := []client.ImageInspectOption{client.ImageInspectWithRawResponse(&raw)}
				if p != nil {
					opts = append(opts, client.ImageInspectWithPlatform(p))
				}
				got, err := api.ImageInspect(cmd.Context(), ref, opts...)
				return format.Object{Typed: got.InspectResponse, Raw: raw.Bytes()}, err
			})
		},
	}
	listflag.Format(cmd.Flags(), &layout, "f", false)
	cmd.Flags().StringVar(&platform, "platform", "", "Inspect a specific platform of the multi-platform image,\nformatted as os[/arch[/variant]] (e.g. linux/amd64)")
	return cmd
}
