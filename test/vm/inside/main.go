// Command inside is what runs in a test machine: the first stage in the initial
// RAM file system, process 1 of a machine without systemd, and the runner of the
// plan's steps.
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch {
	case os.Args[0] == "/init":
		err = firstStage()
	case len(os.Args) == 2 && os.Args[1] == "init":
		err = bareInit()
	case len(os.Args) == 2 && os.Args[1] == "run":
		err = run()
	default:
		err = fmt.Errorf("usage: inside init|run")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}
