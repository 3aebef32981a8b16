// Command hoyd is the daemon: it runs containers and serves the Docker Engine API.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"hoy/internal/config"
	"hoy/internal/daemon"
	"hoy/internal/version"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	cfg, err := config.Load(args, os.Stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		return fail(err)
	case cfg.ShowVersion:
		fmt.Printf("hoyd version %s, build %s\n", version.Version, version.Commit)
		return 0
	case cfg.Validate:
		fmt.Println("configuration OK")
		return 0
	case os.Geteuid() != 0:
		return fail(errors.New("hoyd needs to be root: start it with sudo hoyd"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A second signal ends the daemon at once, as does a crash; containers go on in either case.
	context.AfterFunc(ctx, stop)
	if err := daemon.Run(ctx, cfg, args, os.Stderr); err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "hoyd:", err)
	return 1
}
