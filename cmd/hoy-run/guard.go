package main

import (
	"flag"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hoy/internal/monitor"
	"hoy/internal/monitor/boot"
	"hoy/internal/monitor/guard"
)

// runGuard is the guardian: the parent of the monitor.
func runGuard(args []string) int {
	opt := guard.Options{Log: boot.Log(os.Stderr), Args: args}
	flags := flag.NewFlagSet("hoy-run guard", flag.ContinueOnError)
	flags.String("socket", "", "the monitor's Unix socket")
	flags.String("exec-root", "", "the monitor's directory")
	listen := flags.Int("listen-fd", 0, "inherited descriptor of the monitor's listening socket")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *listen <= 2 || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "hoy-run guard: --listen-fd is needed, with the monitor's flags")
		return 2
	}
	unix.CloseOnExec(*listen)
	opt.Listener = os.NewFile(uintptr(*listen), "listener")
	opt.Args = []string{"--socket", flags.Lookup("socket").Value.String(), "--exec-root", flags.Lookup("exec-root").Value.String()}
	monitor.LeaveUnit()
	boot.Process(opt.Log)
	if err := guard.Run(opt); err != nil {
		opt.Log.Error("the guardian has ended", "error", err)
		return 1
	}
	return 0
}
