package main

import (
	"github.com/spf13/cobra"

	"hoy/internal/cli"
)

// newTree assembles the verbs: each is reachable by its short form and below its
// management command.
func newTree(app *cli.App) *cobra.Command {
	root := cli.NewRoot(app)
	return root
}
