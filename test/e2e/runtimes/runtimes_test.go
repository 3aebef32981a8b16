// Package runtimes runs the core of what a person does with containers by the
// built-in runtime, by Debian's runc and crun, and by hoy-run as one runtime
// among others, and compares.
package runtimes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

// scene is one engine and the runtime that its containers are to be run by.
type scene struct {
	*engine.Engine
	t       *testing.T
	runtime string
}

// run runs `hoy run` by the scene's runtime.
func (s *scene) run(args ...string) *engine.Result {
	s.t.Helper()
	return s.Hoy(append([]string{"run", "--runtime", s.runtime}, args...)...)
}

// must is run that has to succeed.
func (s *scene) must(args ...string) string {
	s.t.Helper()
	return s.run(args...).Must(s.t)
}

// up starts a container that stays and has a name of its own.
func (s *scene) up(args ...string) (name string) {
	s.t.Helper()
	name = engine.Unique("c")
	s.must(append([]string{"-d", "--name", name}, args...)...)
	return name
}

// want compares, with the runtime's own answer where it is known to differ.
func (s *scene) want(what, got, want string) {
	s.t.Helper()
	if other, ok := differences[s.runtime+": "+what]; ok {
		want = other
	}
	if got != want {
		s.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// differences are answers that are a runtime's own choice, by runtime and what was asked.
var differences = map[string]string{
	"runc: domain name": "(none)", // 1.1 does not know the field
}

// crunHere is crun, which refuses hybrid machines whose version 2 tree has a
// controller: there it is shown the version 1 trees alone.
func crunHere(t *testing.T, dir string) string {
	path, err := exec.LookPath("crun")
	if err != nil {
		t.Fatalf("%v: the package crun has it", err)
	}
	unified := "/sys/fs/cgroup/unified"
	text, err := os.ReadFile(unified + "/cgroup.controllers")
	if err != nil || strings.TrimSpace(string(text)) == "" {
		return path
	}
	t.Logf("crun refuses this machine for the version 2 controllers %s: it does not get to see them", strings.TrimSpace(string(text)))
	wrapper := filepath.Join(dir, "crun")
	script := fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c 'umount %s; exec %s \"$@\"' crun \"$@\"\n", unified, path)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil { //nolint:gosec // it is to be executed
		t.Fatal(err)
	}
	return wrapper
}

// engineWith starts an engine that knows all runtimes.
func engineWith(t *testing.T, flags ...string) *engine.Engine {
	t.Helper()
	if _, err := exec.LookPath("runc"); err != nil {
		t.Fatalf("%v: the package runc has it", err)
	}
	dir := t.TempDir()
	e := engine.Start(t, append([]string{"--add-runtime", "crun=" + crunHere(t, dir), "--add-runtime", "hoy-oci=" + engine.Bin(t, "hoy-run")}, flags...)...)
	e.Busybox()
	return e
}

// all are the runtimes that are tried.
var all = []string{"hoy", "runc", "crun", "hoy-oci"}

// TestEveryRuntime tries every case by every runtime, each on an engine of its own.
func TestEveryRuntime(t *testing.T) {
	for _, name := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := engineWith(t)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.do(&scene{e, t, name}) })
			}
			clean(t, e)
		})
	}
}

// clean removes all containers and looks for what runtimes have kept.
func clean(t *testing.T, e *engine.Engine) {
	t.Helper()
	if ids := strings.Fields(e.Must("ps", "-aq")); len(ids) > 0 {
		e.Must(append([]string{"rm", "-f", "-v"}, ids...)...)
	}
	var left []string
	for _, pattern := range []string{e.Dir + "/run/oci/*", "/sys/fs/cgroup/*/" + e.Name + "/*", "/sys/fs/cgroup/" + e.Name + "/*-*"} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			if st, err := os.Stat(f); err == nil && st.IsDir() {
				left = append(left, f)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if dead := zombies(monitorPid(t, e)); len(dead) > 0 {
		engine.Eventually(t, "the monitor has reaped its orphans", func() bool { return len(zombies(monitorPid(t, e))) == 0 })
	}
}

func monitorPid(t *testing.T, e *engine.Engine) string {
	t.Helper()
	text, err := os.ReadFile(e.Dir + "/run/monitor.pid")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// zombies are the dead children of a process.
func zombies(pid string) (dead []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] == "Z" && f[1] == pid {
			dead = append(dead, path)
		}
	}
	return dead
}

// mountsOf counts the mounts that this process sees.
func mountsOf(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// TestNothingIsMountedOnTheHost, not even where the engine's directory lies on
// a shared mount, and what is bound from there is shared with the host all the same.
func TestNothingIsMountedOnTheHost(t *testing.T) {
	dir, err := os.MkdirTemp("", "hoy-shared-") //nolint:usetesting // unmounted before it is removed
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("shared", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(dir)
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"run", "bound"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e := engineWith(t, "--exec-root", dir+"/run")
	before := mountsOf(t)
	for _, name := range []string{"runc", "crun"} {
		s := &scene{e, t, name}
		c := s.up("-v", dir+"/bound:/b:rslave", "busybox", "sleep", "1000")
		if after := mountsOf(t); after != before {
			t.Errorf("%s: %d mounts on the host, %d before", name, after, before)
		}
		if name == "crun" {
			continue // may be wrapped in a namespace that shares nothing
		}
		if err := unix.Mount("late", dir+"/bound", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		s.want("a mount that the host makes later", e.Must("exec", c, "sh", "-c", "grep -c ' /b ' /proc/mounts"), "2")
		if err := unix.Unmount(dir+"/bound", 0); err != nil {
			t.Error(err)
		}
	}
	e.Must(append([]string{"rm", "-f"}, strings.Fields(e.Must("ps", "-aq"))...)...)
}
