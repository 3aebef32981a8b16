package system

import (
	"fmt"
	"strconv"

	"github.com/docker/go-units"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
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
			if verbose {
				return writeVerboseUsage(app.Out, layout, usage)
			}
			return usageTable.Write(app.Out, format.Options{Format: layout, Width: app.Out.Width()}, usageRows(usage))
		},
	}
	listflag.Format(cmd.Flags(), &layout, "", true)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show detailed information on space usage")
	return cmd
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
