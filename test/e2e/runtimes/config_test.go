package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hoy/test/e2e/engine"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil { //nolint:gosec // some of it is to be executed
		t.Fatal(err)
	}
}

func TestNamesAndReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "daemon.json")
	// It leaves a trace of its arguments and is runc.
	trace := filepath.Join(dir, "trace")
	writeFile(t, dir+"/traced", "#!/bin/sh\necho \"$@\" >> "+trace+"\nexec runc \"$@\"\n")
	writeFile(t, file, fmt.Sprintf(`{"runtimes":{"traced":{"path":%q,"runtimeArgs":["--debug"]}}}`, dir+"/traced"))
	e := engine.Start(t, "--config-file", file)
	e.Busybox()

	e.Must("run", "--rm", "--runtime", "traced", "busybox", "true")
	text, _ := os.ReadFile(trace)
	for _, verb := range []string{"create", "start", "delete"} {
		if !strings.Contains(string(text), verb) {
			t.Errorf("%s was not called: %s", verb, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "--debug --root ") {
			t.Errorf("called with %s", line)
		}
	}
	e.Must("run", "--rm", "--runtime", dir+"/traced", "busybox", "true")
	for name, want := range map[string]string{
		"nosuch":                 "unknown or invalid runtime name: nosuch",
		dir + "/daemon.jsonx":    "unknown or invalid runtime name: " + dir + "/daemon.jsonx: " + dir + "/daemon.jsonx: file does not exist",
		"io.containerd.runsc.v1": "it is a shim of containerd",
	} {
		e.Hoy("run", "--rm", "--runtime", name, "busybox", "true").Refused(t, 125, want)
	}
	e.Hoy("create", "--runtime", "traced", "--security-opt", "landlock=read:/", "busybox", "true").Refused(t, 1, "only the built-in runtime has it")
	for _, name := range []string{"hoy", "runc", "io.containerd.runc.v2"} {
		if got := e.Must("run", "-d", "--runtime", name, "busybox", "sleep", "1000"); e.Must("inspect", "-f", "{{.HostConfig.Runtime}}", got) != name {
			t.Errorf("%s is called otherwise in inspect", name)
		}
	}
	if got := e.Must("info", "-f", "{{.DefaultRuntime}} {{len .Runtimes}} {{(index .Runtimes \"traced\").Args}}"); got != "hoy 4 [--debug]" {
		t.Errorf("info: %s", got)
	}
	if got := e.Must("info", "-f", `{{index (index .Runtimes "runc").Status "org.opencontainers.runtime-spec.features"}}`); !strings.HasPrefix(got, `{"ociVersionMin":`) {
		t.Errorf("info has no features of runc: %s", got)
	}

	// A default that a reload brings is for what is made from then on.
	kept := e.Must("create", "busybox", "true")
	stale := e.Must("create", "--runtime", "traced", "busybox", "true")
	writeFile(t, file, fmt.Sprintf(`{"runtimes":{"other":{"path":%q}},"default-runtime":"other"}`, dir+"/traced"))
	e.Signal(syscall.SIGHUP)
	engine.Eventually(t, "it is reloaded", func() bool { return e.Must("info", "-f", "{{.DefaultRuntime}}") == "other" })
	for id, want := range map[string]string{kept: "hoy", e.Must("create", "busybox", "true"): "other"} {
		if got := e.Must("inspect", "-f", "{{.HostConfig.Runtime}}", id); got != want {
			t.Errorf("runtime %s, want %s", got, want)
		}
		e.Must("start", "-a", id)
	}
	e.Hoy("start", stale).Refused(t, 1, "unknown or invalid runtime name: traced")
	if commit := e.Must("info", "-f", "{{.RuncCommit.ID}}"); commit == "" || commit == e.Must("version", "-f", "{{.Server.Version}}") {
		t.Errorf("the default runtime's commit is %q", commit)
	}
	writeFile(t, file, `{"default-runtime":"other"}`)
	e.Signal(syscall.SIGHUP)
	engine.Eventually(t, "the error is in the log", func() bool { return strings.Contains(e.Log(), "specified default runtime 'other' does not exist") })
}

// TestMonitorKilled: the containers of other runtimes go on, as those of the
// built-in one do.
func TestMonitorKilled(t *testing.T) {
	e := engineWith(t)
	var ids []string
	for _, name := range all {
		ids = append(ids, e.Must("run", "-d", "--runtime", name, "busybox", "sh", "-c", "trap 'exit 6' TERM; while :; do usleep 10000; done"))
	}
	old := monitorPid(t, e)
	pid, err := strconv.Atoi(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	engine.Eventually(t, "the next monitor", func() bool { return monitorPid(t, e) != old })
	for _, id := range ids {
		if got := e.Must("exec", id, "echo", "again"); got != "again" {
			t.Errorf("%s: %s", id, got)
		}
		e.Must("stop", id)
		if got := e.Must("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", id); got != "exited 6" {
			t.Errorf("%s: %s", id, got)
		}
		e.Must("start", id)
	}
	clean(t, e)
}
