package images

import (
	"strconv"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/auth"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
)

var searchTable = format.Table{
	Columns: []string{"Name", "Description", "StarCount", "IsOfficial"},
	Quiet:   "Name",
	Headers: map[string]string{
		"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL",
	},
	Shrink: []string{"Description"},
}

// descriptionMax is how much of a description a row shows.
const descriptionMax = 45

func newSearch(app *cli.App) *cobra.Command {
	var layout string
	var limit int
	var full bool
	cmd := &cobra.Command{
		Use:   "search [OPTIONS] TERM",
		Short: "Search Docker Hub for images",
		Example: `  hoy search nginx
  hoy search --filter is-official=true --limit 5 debian`,
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.None,
	}
	flags := cmd.Flags()
	filter := listflag.Filter(flags, "f", "Filter output based on conditions provided")
	listflag.Format(flags, &layout, "", true)
	flags.IntVar(&limit, "limit", 0, "Max number of search results")
	flags.BoolVar(&full, "no-trunc", false, "Don't truncate output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := app.Client()
		if err != nil {
			return err
		}
		credentials := ""
		if _, err := auth.ServerOf(args[0]); err == nil { // a term need not be a reference
			if credentials, err = auth.Header(app.ConfigDir(), args[0], app.Err); err != nil {
				return err
			}
		}
		result, err := api.ImageSearch(cmd.Context(), args[0],
			client.ImageSearchOptions{RegistryAuth: credentials, Filters: filter.Filters(), Limit: limit})
		if err != nil {
			return err
		}
		var rows []format.Row
		for _, item := range result.Items {
			description := strings.NewReplacer("\n", " ", "\r", " ").Replace(item.Description)
			if !full {
				description = format.Ellipsis(description, descriptionMax)
			}
			official := ""
			switch {
			case layout == "json":
				official = strconv.FormatBool(item.IsOfficial)
			case item.IsOfficial:
				official = "[OK]"
			}
			rows = append(rows, format.Row{
				"Name": item.Name, "Description": description, "StarCount": strconv.Itoa(item.StarCount),
				"IsOfficial": official,
			})
		}
		return searchTable.Write(app.Out, format.Options{Format: layout, Width: app.Out.Width()}, rows)
	}
	return cmd
}
