// Package images has the verbs on images.
package images

import (
	"github.com/spf13/cobra"

	"hoy/internal/cli"
)

// Commands gives the verbs that stand at the top: images, pull, push, rmi and so on.
func Commands(app *cli.App) []*cobra.Command {
	list, remove := newList(app), newRemove(app)
	list.Use, list.Aliases = "images [OPTIONS] [REPOSITORY[:TAG]]", nil
	remove.Use, remove.Aliases = "rmi [OPTIONS] IMAGE [IMAGE...]", nil
	all := cli.Common(list, newPull(app), newPush(app))
	all = append(all, remove, newSearch(app), newTag(app), newHistory(app), newImport(app), newLoad(app), newSave(app), newBuild())
	for _, cmd := range all {
		name := cmd.Name()
		switch name {
		case "images":
			alias(cmd, "hoy image ls, hoy image list, hoy images")
		case "rmi":
			alias(cmd, "hoy image rm, hoy image remove, hoy rmi")
		case "search", "build":
		default:
			alias(cmd, "hoy image "+name+", hoy "+name)
		}
	}
	return all
}

// Management gives `image` with all its verbs.
func Management(app *cli.App) *cobra.Command {
	group := cli.Group("image", "Manage images", nil,
		newList(app), newPull(app), newPush(app), newTag(app), newRemove(app), newHistory(app),
		newInspect(app), newImport(app), newLoad(app), newSave(app), newPrune(app), newBuild())
	for _, cmd := range group.Commands() {
		name := cmd.Name()
		switch name {
		case "ls":
			alias(cmd, "hoy image ls, hoy image list, hoy images")
		case "rm":
			alias(cmd, "hoy image rm, hoy image remove, hoy rmi")
		case "inspect", "prune", "build":
		default:
			alias(cmd, "hoy image "+name+", hoy "+name)
		}
	}
	return group
}

// alias tells help every way to call cmd, which stands in two places.
func alias(cmd *cobra.Command, list string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations["aliases"] = list
}
