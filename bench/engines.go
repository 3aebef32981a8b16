package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"
)

// engine is one container engine under test: a command with its global
// arguments, and the daemon behind it where there is one.
type engine struct {
	name    string
	command []string
	api     *client.Client // nil where the row's API is not asked of this engine
	daemon  *exec.Cmd
	finish  func() // gives back what outlives the daemon
}

// run runs the engine's command line.
func (e *engine) run(ctx context.Context, args ...string) error {
	all := append(append([]string{}, e.command...), args...)
	out, err := exec.CommandContext(ctx, all[0], all[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w: %s", all, err, bytes.TrimSpace(out))
	}
	return nil
}

// stop takes away what containers an interrupted row left, then the daemon.
func (e *engine) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, e.command[0], append(e.command[1:], "ps", "-aq")...).Output(); err == nil {
		if ids := strings.Fields(string(out)); len(ids) > 0 {
			_ = e.run(ctx, append([]string{"rm", "-f"}, ids...)...)
		}
	}
	if e.daemon != nil {
		_ = e.daemon.Process.Signal(syscall.SIGTERM)
		_ = e.daemon.Wait()
	}
	if e.finish != nil {
		e.finish()
	}
}

// startAll starts hoy and whichever other engines are installed, each with the
// busybox image. hoy is the first.
func startAll(ctx context.Context, dir, bin, tarball string) ([]*engine, error) {
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	var all []*engine
	for _, start := range []func(ctx context.Context, dir, bin string) (*engine, error){startHoy, startDocker, startPodman} {
		e, err := start(ctx, dir, bin)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintln(os.Stderr, "bench: left out:", err)
			continue
		}
		if err == nil {
			err = e.ready(ctx)
		}
		if err == nil {
			err = e.run(ctx, "import", tarball, "busybox")
		}
		if e != nil {
			all = append(all, e)
		}
		if err != nil {
			for _, e := range all {
				e.stop()
			}
			return nil, err
		}
	}
	return all, nil
}

// ready waits until the engine answers.
func (e *engine) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := e.run(ctx, "ps")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", e.name, err)
		case <-tick.C:
		}
	}
}

func launch(ctx context.Context, dir, name string, args ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, cmd.Start()
}

func startHoy(ctx context.Context, dir, bin string) (*engine, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	sock := "unix://" + dir + "/hoy.sock"
	d, err := launch(ctx, dir, "hoyd", filepath.Join(bin, "hoyd"), "-H", sock,
		"--data-root", dir+"/hoy", "--exec-root", dir+"/hoy-run", "--pidfile", dir+"/hoy.pid", "--cgroup-parent", "/hoy-bench")
	if err != nil {
		return nil, err
	}
	e := &engine{name: "hoy", command: []string{filepath.Join(bin, "hoy"), "-H", sock}, daemon: d}
	e.api, err = client.New(client.WithHost(sock))
	return e, err
}

// docker is the engine that goals are set against.
const docker = "Docker"

func startDocker(ctx context.Context, dir, _ string) (*engine, error) {
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, err
	}
	sock := "unix://" + dir + "/docker.sock"
	// Debian's own client, whatever else is first in the path: it belongs to the daemon measured.
	const debian = "/usr/bin/docker"
	d, err := launch(ctx, dir, "dockerd", dockerd, "-H", sock, "--data-root", dir+"/docker", "--exec-root", dir+"/docker-run",
		"-p", dir+"/docker.pid", "--bip", "172.30.99.1/24")
	if err != nil {
		return nil, err
	}
	e := &engine{name: docker, command: []string{debian, "-H", sock}, daemon: d, finish: func() { removeCgroups("docker") }}
	e.api, err = client.New(client.WithHost(sock))
	return e, err
}

func startPodman(_ context.Context, dir, _ string) (*engine, error) {
	podman, err := exec.LookPath("podman")
	if err != nil {
		return nil, err
	}
	// -t 0, since its rm -f else waits ten seconds for a process that ignores SIGTERM, as the others do not; runc, since crun refuses hybrid cgroup hierarchies; the limits, since raising hard ones needs a capability that not every root has.
	wrapper := filepath.Join(dir, "podman")
	script := fmt.Sprintf("#!/bin/sh\np='%s --runtime runc --cgroup-manager cgroupfs --root %s/podman-root --runroot %s/podman-run'\n"+
		"case $1 in run) shift; exec $p run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \"$@\";; rm) shift; exec $p rm -t 0 \"$@\";; *) exec $p \"$@\";; esac\n", podman, dir, dir)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil { //nolint:forbidigo // a temporary script
		return nil, err
	}
	return &engine{name: "podman", command: []string{wrapper}, finish: func() {
		removeCgroups("libpod_parent")
		_ = syscall.Unmount(dir+"/podman-root/overlay", syscall.MNT_DETACH)
	}}, nil
}

// removeCgroups removes the empty groups that another engine left behind.
func removeCgroups(name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + name + "/*", "/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name} {
		found, _ := filepath.Glob(pattern)
		for _, group := range found {
			_ = syscall.Rmdir(group) // files are refused, groups in use as well
		}
	}
}
