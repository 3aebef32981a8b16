// Command shell gives a person a shell in a test machine, with the project's
// binaries and tests built from the tree as it is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"hoy/test/vm/machine"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "shell:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	systemd := flag.Bool("systemd", false, "boot with systemd")
	dir := flag.String("dir", "", "make the machine in this directory and take Debian's files from there the next time")
	tests := flag.String("tests", "hoy/test/vm/guest", "package whose tests are to be in the machine")
	memory := flag.Int("memory", 0, "megabytes of memory")
	flag.Parse()
	reuse := *dir != ""
	if !reuse {
		var err error
		if *dir, err = os.MkdirTemp("", "hoy-vm-base-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(*dir) }()
	} else if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	module, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(module, "go.mod")); err != nil {
		return fmt.Errorf("run it in the module's root: %w", err)
	}
	fmt.Println("making the machine: half a minute")
	b, err := machine.Make(ctx, *dir, module, []string{*tests}, reuse)
	if err != nil {
		return err
	}
	m := &machine.Machine{Kernel: b.Kernel, Inside: b.Inside, Disk: b.Disk, Init: machine.Bare, Memory: *memory}
	if *systemd {
		m.Init = machine.Systemd
	}
	return m.Shell(ctx)
}
