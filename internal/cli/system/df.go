package system

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/request"
)

var usageTable = format.Table{
	Columns: []string{"Type", "TotalCount", "Active", "Size", "Reclaimable"},
	Headers: map[string]string{
		"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
	},
}

func newDiskUsage(app *cli.App) *cobra.Command {
	var layout string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "df [OPTIONS]",
		Short: "Show disk usage",
		Example: `  hoy system df
  hoy system df -v
  hoy system df --format "{{.Type}}: {{.Size}}"`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			usage, err := api.DiskUsage(cmd.Context(), client.DiskUsageOptions{Verbose: verbose})
			if err != nil {
				return err
			}
			space := ourSpace(cmd.Context(), app)
			if verbose {
				if err := writeVerboseUsage(app.Out, layout, usage); err != nil {
					return err
				}
				if layout == "" || layout == "table" {
					writeSpace(app.Out, space)
				}
				return tellStale(app, space)
			}
			rows := usageRows(usage)
			if space != nil {
				rows = append(rows, format.Row{
					"Type": "Engine", "TotalCount": "", "Active": "", "Size": size(space.Engine), "Reclaimable": size(0),
				})
			}
			if err := usageTable.Write(app.Out, format.Options{Format: layout, Width: app.Out.Width()}, rows); err != nil {
				return err
			}
			return tellStale(app, space)
		},
	}
	listflag.Format(cmd.Flags(), &layout, "", true)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show detailed information on space usage")
	return cmd
}

// ourSpace is what only our own engine tells: what its own files take, and how
// old the numbers are. It is nil with another.
func ourSpace(ctx context.Context, app *cli.App) *request.Space {
	s := &request.Space{}
	if app.Ask(ctx, http.MethodGet, "/hoy/system/space", s) != nil {
		return nil
	}
	return s
}

// writeSpace is the last section of df -v.
func writeSpace(w io.Writer, s *request.Space) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "\nEngine space usage: %s, of which %s are kept for removals on a full disk\n", size(s.Engine), size(s.Reserve))
	fmt.Fprintf(w, "Logs and records of containers: %s\n", size(s.Logs))
	fmt.Fprintf(w, "Total below %s: %s; %s of %s are free\n", s.DataRoot, size(s.Total), size(s.Free), size(s.Size))
}

// tellStale says so where the numbers are not of this moment.
func tellStale(app *cli.App, s *request.Space) error {
	if s == nil || s.Stale == 0 {
		return nil
	}
	when := "some are not counted yet"
	if !s.AsOf.IsZero() {
		when = "as of " + s.AsOf.Local().Format(time.DateTime) + " (" + units.HumanDuration(time.Since(s.AsOf)) + " ago)"
	}
	_, err := fmt.Fprintf(app.Err, "%d large directories are being counted: %s\n", s.Stale, when)
	return err
}

func usageRows(u client.DiskUsageResult) []format.Row {
	cache := usageRow("Build Cache", u.BuildCache.TotalCount, u.BuildCache.ActiveCount, u.BuildCache.TotalSize, u.BuildCache.Reclaimable)
	cache["Reclaimable"] = size(u.BuildCache.Reclaimable)
	return []format.Row{
		usageRow("Images", u.Images.TotalCount, u.Images.ActiveCount, u.Images.TotalSize, u.Images.Reclaimable),
		usageRow("Containers", u.Containers.TotalCount, u.Containers.ActiveCount, u.Containers.TotalSize, u.Containers.Reclaimable),
		usageRow("Local Volumes", u.Volumes.TotalCount, u.Volumes.ActiveCount, u.Volumes.TotalSize, u.Volumes.Reclaimable),
		cache,
	}
}

func usageRow(kind string, total, active, bytes, reclaimable int64) format.Row {
	free := size(reclaimable)
	if bytes > 0 {
		free += fmt.Sprintf(" (%d%%)", reclaimable*100/bytes)
	}
	return format.Row{
		"Type": kind, "TotalCount": strconv.FormatInt(total, 10), "Active": strconv.FormatInt(active, 10),
		"Size": size(bytes), "Reclaimable": free,
	}
}

func size(bytes int64) string { return units.HumanSize(float64(bytes)) }
