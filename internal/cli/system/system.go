// Package system has the verbs on the engine as a whole: version, info, events,
// disk usage, prune, and the logins of registries.
package system

import (
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/auth/login"
)

// Commands gives the verbs that stand at the top.
func Commands(app *cli.App) []*cobra.Command {
	info, events := newInfo(app), newEvents(app)
	aliases(info, events)
	cmds := cli.Common(append(login.Commands(app), newVersion(app), info)...)
	return append(cmds, events, newDoctor(app))
}

// Management gives `system` with all its verbs.
func Management(app *cli.App) *cobra.Command {
	info, events := newInfo(app), newEvents(app)
	aliases(info, events)
	return cli.Group("system", "Manage the engine", nil, newCheck(app), newDiskUsage(app), events, info, newPrune(app))
}

// aliases tells help that a verb stands in two places.
func aliases(cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		cmd.Annotations = map[string]string{"aliases": "hoy system " + cmd.Name() + ", hoy " + cmd.Name()}
	}
}
