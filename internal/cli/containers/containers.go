// Package containers assembles the verbs on containers.
package containers

import (
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/containers/files"
	"hoy/internal/cli/containers/lifecycle"
	"hoy/internal/cli/containers/list"
	"hoy/internal/cli/containers/logs"
	"hoy/internal/cli/containers/process"
	"hoy/internal/cli/containers/show"
)

// verbs are those that are called the same at the top and below `container`.
func verbs(app *cli.App) []*cobra.Command {
	return append(everyday(app),
		process.NewAttach(app), files.NewCommit(app), files.NewCopy(app), process.NewCreate(app), show.NewDiff(app),
		files.NewExport(app), lifecycle.NewKill(app), logs.New(app), lifecycle.NewPause(app), show.NewPort(app),
		lifecycle.NewRename(app), lifecycle.NewRestart(app), process.NewStart(app), show.NewStats(app),
		lifecycle.NewStop(app), show.NewTop(app), lifecycle.NewUnpause(app), lifecycle.NewUpdate(app), lifecycle.NewWait(app))
}

func everyday(app *cli.App) []*cobra.Command {
	return cli.Common(process.NewRun(app), process.NewExec(app))
}

// Commands returns the verbs at the top: run, ps, logs and so on.
func Commands(app *cli.App) []*cobra.Command {
	all := verbs(app)
	for _, cmd := range all {
		also(cmd, cmd.Name())
	}
	ps := cli.Common(list.New(app, "ps [OPTIONS]"))[0]
	ps.Annotations["aliases"] = listNames
	rm := lifecycle.NewRemove(app)
	rm.Aliases = nil
	annotate(rm, removeNames)
	return append(all, ps, rm, show.NewInspect(app))
}

const (
	listNames   = "hoy container ls, hoy container list, hoy container ps, hoy ps"
	removeNames = "hoy container rm, hoy container remove, hoy rm"
)

// Management returns `container` with all its verbs.
func Management(app *cli.App) *cobra.Command {
	all := verbs(app)
	for _, cmd := range all {
		also(cmd, cmd.Name())
	}
	ls, rm := list.New(app, "ls [OPTIONS]", "ps", "list"), lifecycle.NewRemove(app)
	annotate(ls, listNames)
	annotate(rm, removeNames)
	group := cli.Group("container", "Manage containers", nil, all...)
	group.AddCommand(ls, rm, show.NewContainerInspect(app), lifecycle.NewPrune(app))
	return group
}

// also tells help that a verb stands in two places.
func also(cmd *cobra.Command, name string) {
	annotate(cmd, "hoy container "+name+", hoy "+name)
}

func annotate(cmd *cobra.Command, aliases string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations["aliases"] = aliases
}
