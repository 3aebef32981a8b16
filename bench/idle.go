package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// idleTitle begins the part of the page that idle writes.
const idleTitle = "## Idle containers"

// atOnce is how many containers are started or removed side by side.
const atOnce = 8

// rest is how long files take to go, and unused memory to be given back.
const rest = 12 * time.Second

// idle is what many containers that do nothing cost one engine.
type idle struct {
	name                   string
	n                      int
	started, removed       time.Duration
	psAPI, psCLI           time.Duration
	helpers, daemon, after int64 // KiB
	taken                  int64 // KiB of the machine's available memory
	helperCount            int
}

// benchIdle measures hoy with many containers and Docker with fewer.
func benchIdle(ctx context.Context, bin string, many, fewer int, out string) (err error) {
	load := loadAverage()
	dir, err := os.MkdirTemp("", "hoy-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	_, tarball, err := busybox(ctx, dir)
	if err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	var found []*idle
	for _, e := range []struct {
		start func(ctx context.Context, dir, bin string) (*engine, error)
		n     int
	}{{startHoy, many}, {startDocker, fewer}} {
		one, err := idleOf(ctx, e.start, dir, bin, tarball, e.n)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintln(os.Stderr, "bench: left out:", err)
			continue
		}
		if err != nil {
			return err
		}
		found = append(found, one)
	}
	text := idleTable(found, load, hostLine(ctx))
	fmt.Print(text)
	if out == "" {
		return nil
	}
	return replacePart(out, idleTitle, text)
}

// idleOf has an engine of its own, alone on the machine, for its time.
func idleOf(ctx context.Context, start func(context.Context, string, string) (*engine, error), dir, bin, tarball string, n int) (*idle, error) {
	e, err := start(ctx, dir, bin)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	if err := errors.Join(e.ready(ctx), e.run(ctx, "import", tarball, "busybox")); err != nil {
		return nil, err
	}
	// One life, so that what is loaded or made once is there.
	if err := life("bridge")(ctx, e); err != nil {
		return nil, err
	}
	r := &idle{name: e.name, n: n}
	before := available(ctx)
	ids := make([]string, n)
	r.started, err = timed(func() error {
		return crowded(n, func(i int) (err error) { ids[i], err = sleeper(ctx, e); return err })
	})
	if err != nil {
		return nil, fmt.Errorf("%s: start: %w", e.name, err)
	}
	r.taken = before - available(ctx)
	r.daemon, r.helpers, r.helperCount = r.memory(e, dir)
	if r.psAPI, err = best(10, func() error {
		list, err := e.api.ContainerList(ctx, client.ContainerListOptions{})
		if err == nil && len(list.Items) != n {
			err = fmt.Errorf("ps lists %d of %d", len(list.Items), n)
		}
		return err
	}); err != nil {
		return nil, err
	}
	if r.psCLI, err = best(10, func() error { return e.run(ctx, "ps") }); err != nil {
		return nil, err
	}
	r.removed, err = timed(func() error {
		return crowded(n, func(i int) error {
			_, err := e.api.ContainerRemove(ctx, ids[i], client.ContainerRemoveOptions{Force: true})
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("%s: remove: %w", e.name, err)
	}
	pause(ctx, rest)
	r.after, _, _ = r.memory(e, dir)
	return r, nil
}

// sleeper starts a container that does nothing.
func sleeper(ctx context.Context, e *engine) (string, error) {
	made, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &container.Config{Image: "busybox", Cmd: []string{"sleep", "100000"}}, HostConfig: &container.HostConfig{},
	})
	if err != nil {
		return "", err
	}
	_, err = e.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
	return made.ID, err
}

func timed(do func() error) (time.Duration, error) {
	begun := time.Now()
	err := do()
	return time.Since(begun), err
}

// best is the median of n runs.
func best(n int, do func() error) (time.Duration, error) {
	var took []time.Duration
	for range n {
		d, err := timed(do)
		if err != nil {
			return 0, err
		}
		took = append(took, d)
	}
	return median(took), nil
}

// crowded does all from 0 to n, some side by side.
func crowded(n int, do func(i int) error) error {
	var mu sync.Mutex
	var all []error
	var wg sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					mu.Lock()
					all = append(all, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(all...)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// available is the machine's available memory in KiB, after a moment of rest.
func available(ctx context.Context) int64 {
	pause(ctx, rest)
	b, _ := os.ReadFile("/proc/meminfo")
	return field(string(b), "MemAvailable:")
}

func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// memory adds up what the engine's processes have: the daemons' memory that is
// theirs alone, and the helpers' share of all that they have mapped.
func (r *idle) memory(e *engine, dir string) (daemon, helpers int64, count int) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		line, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(line), dir) {
			continue
		}
		args := strings.Split(string(line), "\x00")
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(path), "smaps_rollup"))
		if err != nil {
			continue
		}
		text := string(rollup)
		switch base := filepath.Base(args[0]); {
		case base == "hoy-run" && e.name == "hoy", strings.HasPrefix(base, "containerd-shim") && e.name == docker:
			helpers += field(text, "Pss:")
			count++
		case base == "hoyd" && e.name == "hoy", (base == "dockerd" || base == "containerd") && e.name == docker:
			daemon += field(text, "Private_Clean:") + field(text, "Private_Dirty:")
		}
	}
	return daemon, helpers, count
}

func idleTable(found []*idle, load, host string) string {
	text := idleTitle + "\n\nMade by `bench/run -idle`; do not edit. " + host + ", load average " + load + " before.\n\n" +
		"Containers of `sleep` on the default bridge, started and removed by " + strconv.Itoa(atOnce) + " clients through the API. Helpers are the processes that\n" +
		"an engine keeps for its containers (hoy's one monitor; a shim each), as their proportional share of memory; the daemon's memory is\n" +
		"what is its own alone (Docker's is dockerd's and containerd's). The machine's memory is the difference of `MemAvailable`: the\n" +
		"container's process, namespaces, cgroups, links and mounts are in it.\n\n"
	rows := []struct {
		what  string
		value func(r *idle) string
	}{
		{"helper processes", func(r *idle) string { return strconv.Itoa(r.helperCount) }},
		{"memory of helpers, each container", func(r *idle) string { return kib(r.helpers, r.n) }},
		{"memory of the machine, each container", func(r *idle) string { return kib(r.taken, r.n) }},
		{"memory of the daemon", func(r *idle) string { return mib(r.daemon) }},
		{"memory of the daemon after the last was removed", func(r *idle) string { return mib(r.after) }},
		{"`ps`, API", func(r *idle) string { return ms(r.psAPI) }},
		{"`ps`, command line", func(r *idle) string { return ms(r.psCLI) }},
		{"create and start, all", func(r *idle) string { return each(r.started, r.n) }},
		{"`rm -f`, all", func(r *idle) string { return each(r.removed, r.n) }},
	}
	head, rule := "| ", "|---"
	for _, r := range found {
		head += fmt.Sprintf("| %s, %d containers ", r.name, r.n)
		rule += "|---"
	}
	text += head + "|\n" + rule + "|\n"
	for _, row := range rows {
		text += "| " + row.what
		for _, r := range found {
			text += " | " + row.value(r)
		}
		text += " |\n"
	}
	return text
}

func kib(total int64, n int) string { return fmt.Sprintf("%.0f KiB", float64(total)/float64(n)) }

func mib(total int64) string { return fmt.Sprintf("%.1f MiB", float64(total)/1024) }

func each(d time.Duration, n int) string {
	return fmt.Sprintf("%.1f s (%s each)", d.Seconds(), ms(d/time.Duration(n)))
}

// replacePart puts text in the place of the part of a page that begins with
// title and ends before the next title of its kind; a new part goes to the end.
func replacePart(path, title, text string) error {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	before, old, found := strings.Cut(string(b), title+"\n")
	after := ""
	if found {
		if i := strings.Index(old, "\n## "); i >= 0 {
			after = old[i:]
		}
	}
	page := strings.TrimRight(before, "\n") + "\n\n" + strings.TrimRight(text, "\n") + "\n" + after
	return os.WriteFile(path, []byte(strings.TrimLeft(page, "\n")), 0o644) //nolint:forbidigo // a report, made again by the next run
}

// replaceHead puts text in the place of all before the page's further parts.
func replaceHead(path, text string) error {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if i := strings.Index(string(b), "\n## "); i >= 0 {
		text = strings.TrimRight(text, "\n") + "\n" + string(b[i:])
	}
	return os.WriteFile(path, []byte(text), 0o644) //nolint:forbidigo // a report, made again by the next run
}
