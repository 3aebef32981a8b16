package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// busybox makes a root file system of the machine's static busybox, as a folder and as a tar.
func busybox(ctx context.Context, dir string) (rootfs, tarball string, err error) {
	rootfs, tarball = filepath.Join(dir, "rootfs"), filepath.Join(dir, "busybox.tar")
	for _, d := range []string{"bin", "dev", "proc", "sys", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(rootfs, d), 0o755); err != nil {
			return "", "", err
		}
	}
	content, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", "", fmt.Errorf("%w (package busybox-static)", err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "bin/busybox"), content, 0o755); err != nil { //nolint:forbidigo // temporary
		return "", "", err
	}
	for _, name := range []string{"sh", "true", "cat", "sleep", "echo"} {
		if err := os.Symlink("busybox", filepath.Join(rootfs, "bin", name)); err != nil {
			return "", "", err
		}
	}
	out, err := exec.CommandContext(ctx, "tar", "-C", rootfs, "-cf", tarball, ".").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("tar: %w: %s", err, out)
	}
	return rootfs, tarball, nil
}

func buildFloor(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "floor")
	out, err := exec.CommandContext(ctx, "gcc", "-O2", "-o", bin, "bench/floor/floor.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return bin, nil
}

// runFloor parses "floor net=1 median 1.02 ms, p90 1.30".
func runFloor(ctx context.Context, bin, rootfs string) (time.Duration, error) {
	out, err := exec.CommandContext(ctx, bin, rootfs, "1").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("floor: %w: %s", err, out)
	}
	f := strings.Fields(string(out))
	if len(f) < 4 {
		return 0, fmt.Errorf("floor printed %q", out)
	}
	v, err := strconv.ParseFloat(f[3], 64)
	return time.Duration(v * float64(time.Millisecond)), err
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func page(ctx context.Context, table, load string, engines []*engine) string {
	versions := ""
	for _, e := range engines[1:] {
		out, err := exec.CommandContext(ctx, e.command[0], append(e.command[1:], "--version")...).Output()
		if err == nil {
			versions += ", " + strings.TrimSpace(string(out))
		}
	}
	return fmt.Sprintf("# Benchmarks\n\nMade by `make bench`; do not edit. %s%s.\n\n"+
		"The engines take turns, run by run, warm, all with overlayfs on one disk, in one network namespace. A row of `code` is a whole\n"+
		"command line, from its start to its end; a row of the API is the same client library against each engine's socket. The floor is\n"+
		"`bench/floor/floor.c`, a container's life with nothing of an engine in it: namespaces, overlay, pivot, `execve`, wait. The other\n"+
		"engines are Debian's packages. `make bench` fails where `run --rm` takes more than a quarter of Docker's time.\n\n%s", hostLine(ctx)+", load average "+load+" before the first run", versions, table)
}

// loadAverage is that of the last minute: a machine that does other things measures them as well.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func hostLine(ctx context.Context) string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	mode := "v1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		mode = "v2"
	} else if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		mode = "hybrid"
	}
	return fmt.Sprintf("Linux %s, %d cores, HZ %s, cgroups %s, %s", bytes.TrimRight(u.Release[:], "\x00"), runtime.NumCPU(), hz(ctx), mode, time.Now().Format("2006-01-02"))
}

// hz reads the kernel's timer frequency where its configuration is readable.
func hz(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "zcat", "/proc/config.gz").Output()
	if err != nil {
		out, _ = os.ReadFile("/boot/config-" + strings.TrimSpace(release()))
	}
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "CONFIG_HZ="); ok {
			return v
		}
	}
	return "unknown"
}

func release() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return string(b)
}
