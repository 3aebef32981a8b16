package system

import (
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/doctor"
)

var doctorTable = format.Table{
	Columns: []string{"Check", "Status", "Found", "Do"},
	Headers: map[string]string{"Check": "CHECK", "Status": "STATUS", "Found": "FOUND", "Do": "WHAT TO DO"},
	Shrink:  []string{"Found", "Do"},
}

func newDoctor(app *cli.App) *cobra.Command {
	var layout, root string
	cmd := &cobra.Command{
		Use:   "doctor [OPTIONS]",
		Short: "Look at this host and say what to do",
		Long: `Look at this host, without a daemon: kernel, cgroups, limits, firewall, disk, clock,
and what others left. Exit code 0 says that all is well, 1 that there is a warning,
2 that there is a problem.`,
		Example: `  hoy doctor
  hoy doctor --format json
  hoy doctor --data-root /srv/hoy`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(*cobra.Command, []string) error {
			all := doctor.Host{DataRoot: root}.Look()
			rows := make([]format.Row, len(all))
			for i, r := range all {
				rows[i] = format.Row{"Check": r.Check, "Status": r.Status, "Found": r.Found, "Do": r.Do}
			}
			if err := doctorTable.Write(app.Out, format.Options{Format: layout, Width: app.Out.Width()}, rows); err != nil {
				return err
			}
			return cli.Exit(doctor.Worst(all))
		},
	}
	listflag.Format(cmd.Flags(), &layout, "", true)
	cmd.Flags().StringVar(&root, "data-root", "/var/lib/hoy", "Where the daemon's data is or will be")
	return cmd
}
