// Command bench times hoy beside Docker and podman on the same work, in turns,
// with the kernel's floor measured in the same run, and prints a table. It runs
// in a network namespace of its own, so that no engine's rules meet the host's.
//
//	go run ./bench [-n RUNS] [-row NAME] [-out FILE]
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// inside marks the process that runs in the new network namespace.
const inside = "HOY_BENCH_INSIDE"

func main() {
	runs := flag.Int("n", 30, "timed runs of each row and engine, after 3 to warm up")
	row := flag.String("row", "", "only the rows whose name contains this")
	out := flag.String("out", "", "also write the table to this file")
	bin := flag.String("bin", "bin", "folder of hoy, hoyd and hoy-run")
	flag.Parse()
	var err error
	if os.Getenv(inside) == "" {
		err = enter()
	} else {
		err = bench(*bin, *runs, *row, *out)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// enter runs this program again in a new network namespace.
func enter() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return cmd.Run()
}

// work is one row: what is timed, as arguments behind each engine's command.
type work struct {
	name string
	args []string
	net  string // for the floor: "1" with a network namespace
}

var rows = []work{
	{"run --rm busybox true, bridge", []string{"run", "--rm", "busybox", "true"}, "1"},
	{"run --rm busybox true, none", []string{"run", "--rm", "--network", "none", "busybox", "true"}, "1"},
}

func bench(bin string, runs int, only, out string) error {
	dir, err := os.MkdirTemp("", "hoy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rootfs, tarball, err := busybox(dir)
	if err != nil {
		return err
	}
	engines, err := startAll(dir, bin, tarball)
	if err != nil {
		return err
	}
	defer func() {
		for _, e := range engines {
			e.stop()
		}
	}()
	floor, err := buildFloor(dir)
	if err != nil {
		return err
	}
	table := heading(engines)
	for _, w := range rows {
		if !strings.Contains(w.name, only) {
			continue
		}
		line, err := measure(w, engines, runs, func() (time.Duration, error) { return runFloor(floor, rootfs, w.net) })
		if err != nil {
			return err
		}
		table += line
	}
	fmt.Print(table)
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(page(table, runs)), 0o644) //nolint:forbidigo // a report, made again by the next run
}

// measure times one row for all engines in turns, and formats its line.
func measure(w work, engines []*engine, runs int, floor func() (time.Duration, error)) (string, error) {
	times := make([][]time.Duration, len(engines))
	for i := range runs + 3 {
		for k, e := range engines {
			took, err := e.time(w.args)
			if err != nil {
				return "", fmt.Errorf("%s: %s: %w", e.name, w.name, err)
			}
			if i >= 3 {
				times[k] = append(times[k], took)
			}
		}
	}
	low, err := floor()
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("| %s | %s", w.name, ms(low))
	hoy := median(times[0])
	for k := range engines {
		slices.Sort(times[k])
		line += fmt.Sprintf(" | %s | %s", ms(median(times[k])), ms(times[k][len(times[k])*9/10]))
	}
	line += fmt.Sprintf(" | %.1f", float64(hoy)/float64(low))
	for k := range engines[1:] {
		line += fmt.Sprintf(" | 1/%.1f", float64(median(times[k+1]))/float64(hoy))
	}
	return line + " |\n", nil
}

func heading(engines []*engine) string {
	head, rule := "| work | floor", "|---|---"
	for _, e := range engines {
		head += " | " + e.name + " median | p90"
		rule += "|---|---"
	}
	head, rule = head+" | hoy ÷ floor", rule+"|---"
	for _, e := range engines[1:] {
		head += " | hoy ÷ " + e.name
		rule += "|---"
	}
	return head + " |\n" + rule + "|\n"
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
