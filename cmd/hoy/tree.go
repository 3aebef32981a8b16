package main

import (
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/containers"
	"hoy/internal/cli/images"
	"hoy/internal/cli/networks"
	"hoy/internal/cli/system"
	"hoy/internal/cli/volumes"
)

// newTree assembles the verbs: each is reachable by its short form and below its
// management command.
func newTree(app *cli.App) *cobra.Command {
	root := cli.NewRoot(app)
	root.AddCommand(containers.Commands(app)...)
	root.AddCommand(images.Commands(app)...)
	root.AddCommand(networks.Commands(app)...)
	root.AddCommand(volumes.Commands(app)...)
	root.AddCommand(system.Commands(app)...)
	root.AddCommand(containers.Management(app), images.Management(app), networks.Management(app), system.Management(app), volumes.Management(app))
	return root
}
