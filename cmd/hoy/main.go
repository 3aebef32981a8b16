// Command hoy is the command line of the container engine.
package main

import (
	"context"
	"os"

	"hoy/internal/cli"
)

func main() {
	app := cli.NewApp(os.Stdin, os.Stdout, os.Stderr)
	os.Exit(cli.Main(context.Background(), app, newTree(app), os.Args[1:]))
}
