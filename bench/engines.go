package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// engine is one container engine under test: a command with its global
// arguments, and the daemon behind it where there is one.
type engine struct {
	name    string
	command []string
	daemon  *exec.Cmd
	finish  func() // gives back what outlives the daemon
}

func (e *engine) run(args ...string) ([]byte, error) {
	all := append(append([]string{}, e.command...), args...)
	out, err := exec.Command(all[0], all[1:]...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %s", all, err, bytes.TrimSpace(out))
	}
	return out, nil
}

func (e *engine) time(args []string) (time.Duration, error) {
	start := time.Now()
	_, err := e.run(args...)
	return time.Since(start), err
}

func (e *engine) stop() {
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
func startAll(dir, bin, tarball string) ([]*engine, error) {
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	var all []*engine
	for _, start := range []func(dir, bin string) (*engine, error){startHoy, startDocker, startPodman} {
		e, err := start(dir, bin)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintln(os.Stderr, "bench: left out:", err)
			continue
		}
		if err == nil {
			err = e.ready()
		}
		if err == nil {
			_, err = e.run("import", tarball, "busybox")
		}
		if err != nil {
			for _, e := range all {
				e.stop()
			}
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// ready waits until the engine answers.
func (e *engine) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := e.run("ps")
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

func launch(dir, name string, args ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, cmd.Start()
}

func startHoy(dir, bin string) (*engine, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	sock := "unix://" + dir + "/hoy.sock"
	d, err := launch(dir, "hoyd", filepath.Join(bin, "hoyd"), "-H", sock,
		"--data-root", dir+"/hoy", "--exec-root", dir+"/hoy-run", "--pidfile", dir+"/hoy.pid", "--cgroup-parent", "/hoy-bench")
	return &engine{name: "hoy", command: []string{filepath.Join(bin, "hoy"), "-H", sock}, daemon: d}, err
}

func startDocker(dir, _ string) (*engine, error) {
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, err
	}
	sock := "unix://" + dir + "/docker.sock"
	// Debian's own client, whatever else is first in the path: it belongs to the daemon measured.
	client := "/usr/bin/docker"
	d, err := launch(dir, "dockerd", dockerd, "-H", sock, "--data-root", dir+"/docker", "--exec-root", dir+"/docker-run",
		"-p", dir+"/docker.pid", "--bip", "172.30.99.1/24")
	return &engine{name: "Docker", command: []string{client, "-H", sock}, daemon: d,
		finish: func() { removeCgroups("docker") }}, err
}

func startPodman(dir, _ string) (*engine, error) {
	podman, err := exec.LookPath("podman")
	if err != nil {
		return nil, err
	}
	// runc, since crun refuses hybrid cgroup hierarchies; the limits, since raising hard ones needs a capability that not every root has.
	wrapper := filepath.Join(dir, "podman")
	script := fmt.Sprintf("#!/bin/sh\np='%s --runtime runc --cgroup-manager cgroupfs --root %s/podman-root --runroot %s/podman-run'\n"+
		"case $1 in run) shift; exec $p run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \"$@\";; *) exec $p \"$@\";; esac\n", podman, dir, dir)
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
