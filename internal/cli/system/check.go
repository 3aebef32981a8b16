package system

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/reconcile"
)

var checkTable = format.Table{
	Columns: []string{"Kind", "Object", "Store", "Machine", "Repair"},
	Headers: map[string]string{
		"Kind": "KIND", "Object": "OBJECT", "Store": "STORE SAYS", "Machine": "MACHINE HAS", "Repair": "REPAIR",
		"Repaired": "REPAIRED", "Error": "ERROR",
	},
	Shrink: []string{"Repair", "Machine", "Store", "Object"},
}

func newCheck(app *cli.App) *cobra.Command {
	var layout string
	var repair, images bool
	cmd := &cobra.Command{
		Use:   "check [OPTIONS]",
		Short: "Compare what the engine has recorded with the machine",
		Long: `Compare what the engine has recorded with the machine: processes, cgroups, links,
firewall rules, addresses, directories, and files that were found damaged.

The engine repairs by itself, within seconds, what it can. Exit code 0 says that
nothing differs, or that all was repaired; 1 that something does.`,
		Example: `  hoy system check
  hoy system check --repair
  hoy system check --images`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			found, err := askCheck(cmd.Context(), api, repair, images)
			if err != nil {
				return err
			}
			return showCheck(app, layout, found)
		},
	}
	flags := cmd.Flags()
	listflag.Format(flags, &layout, "", true)
	flags.BoolVar(&repair, "repair", false, "Repair what can be repaired, at once")
	flags.BoolVar(&images, "images", false, "Read all images and compare their digests")
	return cmd
}

// maxFindings bounds an answer, in bytes.
const maxFindings = 64 << 20

// askCheck calls an endpoint that the API client does not know.
func askCheck(ctx context.Context, api client.APIClient, repair, images bool) (found []reconcile.Finding, err error) {
	dial := api.Dialer()
	hc := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	defer hc.CloseIdleConnections()
	method, path := http.MethodGet, "http://hoy/hoy/system/check"
	if repair {
		method = http.MethodPost
	}
	if images {
		path += "?images=1"
	}
	req, err := http.NewRequestWithContext(ctx, method, path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxFindings)
	if resp.StatusCode != http.StatusOK {
		var answer struct{ Message string }
		_ = json.NewDecoder(body).Decode(&answer)
		return nil, fmt.Errorf("the daemon cannot check itself (%s): %s", resp.Status, answer.Message)
	}
	return found, json.NewDecoder(body).Decode(&found)
}

func showCheck(app *cli.App, layout string, found []reconcile.Finding) error {
	if len(found) == 0 && layout == "" {
		fmt.Fprintln(app.Out, "Nothing differs.")
		return nil
	}
	rows := make([]format.Row, len(found))
	open := 0
	for i, f := range found {
		done := f.Repair
		switch {
		case f.Repaired:
			done = "done: " + f.Repair
		case f.Error != "":
			done = "failed: " + f.Error
		}
		if !f.Repaired {
			open++
		}
		rows[i] = format.Row{
			"Kind": f.Kind, "Object": f.Object, "Store": f.Store, "Machine": f.Machine, "Repair": done,
			"Repaired": f.Repaired, "Error": f.Error,
		}
	}
	if err := checkTable.Write(app.Out, format.Options{Format: layout, Width: app.Out.Width()}, rows); err != nil {
		return err
	}
	return cli.Exit(min(open, 1))
}
