// Command bench times hoy beside Docker and podman on the same work, in turns,
// with the kernel's floor measured in the same run, and prints a table. It runs
// in a network namespace of its own, so that no engine's rules meet the host's.
//
//	go run ./bench [-n RUNS] [-row NAME] [-out FILE] [-bin FOLDER]
//	go run ./bench -idle [-idle-hoy N] [-idle-docker N] [-out FILE] [-bin FOLDER]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// inside marks the process that runs in the new network namespace.
const inside = "HOY_BENCH_INSIDE"

func main() {
	runs := flag.Int("n", 30, "timed runs of each row and engine; long rows take a part of it")
	row := flag.String("row", "", "only the rows whose name contains this")
	out := flag.String("out", "", "also write the table to this file")
	many := flag.Bool("idle", false, "measure many containers that do nothing, instead of the rows")
	hoys := flag.Int("idle-hoy", 1000, "with -idle: how many of hoy's")
	others := flag.Int("idle-docker", 100, "with -idle: how many of Docker's")
	bin := flag.String("bin", "bin", "folder of hoy, hoyd and hoy-run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case os.Getenv(inside) == "":
		err = enter(ctx)
	case *many:
		err = benchIdle(ctx, *bin, *hoys, *others, *out)
	default:
		err = bench(ctx, *bin, *runs, *row, *out)
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
func enter(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	// Told to end, it takes its engines along first.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return cmd.Run()
}

func bench(ctx context.Context, bin string, runs int, only, out string) (err error) {
	load := loadAverage()
	dir, err := os.MkdirTemp("", "hoy-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rootfs, tarball, err := busybox(ctx, dir)
	if err != nil {
		return err
	}
	engines, err := startAll(ctx, dir, bin, tarball)
	if err != nil {
		return err
	}
	defer func() {
		for _, e := range engines {
			e.stop()
		}
	}()
	floor, err := buildFloor(ctx, dir)
	if err != nil {
		return err
	}
	table := heading(engines)
	var missed []error
	for _, w := range rows {
		if !strings.Contains(w.name, only) {
			continue
		}
		times, err := measure(ctx, w, engines, max(1, runs/w.share))
		if err != nil {
			return err
		}
		low, err := runFloor(ctx, floor, rootfs)
		if err != nil {
			return err
		}
		table += line(w, times, low)
		missed = append(missed, w.check(engines, times))
	}
	fmt.Print(table)
	if out != "" {
		err = replaceHead(out, page(ctx, table, load, engines))
	}
	return errors.Join(append(missed, err)...)
}

// measure times one row for all engines in turns: the slice is empty for an
// engine that has no such thing.
func measure(ctx context.Context, w work, engines []*engine, runs int) (times [][]time.Duration, err error) {
	times = make([][]time.Duration, len(engines))
	each := func(do func(context.Context, *engine) error) error {
		for _, e := range engines {
			if do == nil || w.api && e.api == nil {
				continue
			}
			if err := do(ctx, e); err != nil {
				return fmt.Errorf("%s: %s: %w", e.name, w.name, err)
			}
		}
		return nil
	}
	if err := each(w.first); err != nil {
		return nil, err
	}
	warm := max(1, 3/w.share)
	for i := range runs + warm {
		for k, e := range engines {
			if w.api && e.api == nil {
				continue
			}
			took, err := w.once(ctx, e)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", e.name, w.name, err)
			}
			if i >= warm {
				times[k] = append(times[k], took)
			}
		}
	}
	return times, each(w.last)
}

func line(w work, times [][]time.Duration, low time.Duration) string {
	floor, ratio := "–", "–"
	hoy := median(times[0])
	if w.floor {
		floor, ratio = ms(low), fmt.Sprintf("%.1f", float64(hoy)/float64(low))
	}
	text := fmt.Sprintf("| %s | %d | %s", w.name, len(times[0]), floor)
	for _, t := range times {
		if len(t) == 0 {
			text += " | – | –"
			continue
		}
		s := slices.Sorted(slices.Values(t))
		text += fmt.Sprintf(" | %s | %s", ms(median(t)), ms(s[len(s)*9/10]))
	}
	text += " | " + ratio
	for _, t := range times[1:] {
		text += " | " + fraction(hoy, t)
	}
	return text + " |\n"
}

// fraction is hoy's time as a part of another engine's.
func fraction(hoy time.Duration, others []time.Duration) string {
	switch other := float64(median(others)); {
	case other == 0:
		return "–"
	case other >= float64(hoy):
		return fmt.Sprintf("1/%.1f", other/float64(hoy))
	default:
		return fmt.Sprintf("%.1f", float64(hoy)/other)
	}
}

func heading(engines []*engine) string {
	head, rule := "| work | runs | floor", "|---|---|---"
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
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
