// Command hoy-run is the program beside the daemon: the monitor, which is the
// parent of every container, the init that a container may ask for, and an OCI
// runtime for other engines.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"hoy/internal/monitor/boot"
	"hoy/internal/monitor/server"
	"hoy/internal/oci"
)

// initName is what the program is called where it is bound into a container.
const initName = "docker-init"

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	if len(args) > 0 && filepath.Base(args[0]) == initName {
		return reap(args[1:])
	}
	if len(args) > 1 {
		switch args[1] {
		case "guard":
			return runGuard(args[2:])
		case "monitor":
			return runMonitor(args[2:])
		case "reap":
			return reap(args[2:])
		case "oci":
			return oci.Main(args[2:])
		}
	}
	// Engines call an OCI runtime with its flags and verbs, and nothing before them.
	return oci.Main(args[1:])
}

func runMonitor(args []string) int {
	opt := server.Options{Log: boot.Log(os.Stderr)}
	flags := flag.NewFlagSet("hoy-run monitor", flag.ContinueOnError)
	flags.StringVar(&opt.Socket, "socket", "", "Unix socket to serve at")
	flags.StringVar(&opt.ExecRoot, "exec-root", "", "directory for the records of exits")
	flags.IntVar(&opt.ListenFD, "listen-fd", 0, "inherited descriptor that listens at the socket already")
	flags.IntVar(&opt.GuardFD, "guard-fd", 0, "inherited socket to the guardian")
	flags.IntVar(&opt.EstateFD, "estate-fd", 0, "inherited descriptor of what the program before has left")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if opt.Socket == "" || opt.ExecRoot == "" || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "hoy-run monitor: --socket and --exec-root are needed, and nothing else")
		return 2
	}
	boot.Process(opt.Log)
	if err := server.Serve(opt); err != nil {
		opt.Log.Error("the monitor has ended", "error", err)
		return 1
	}
	return 0
}
