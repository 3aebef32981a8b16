// Package systemd runs a whole machine in a container: Debian with systemd as
// its first process.
package systemd

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// machine makes a root file system with systemd, and imports it.
func machine(t *testing.T, e *engine.Engine) {
	t.Helper()
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("needs mmdebstrap: it makes Debian's root file system")
	}
	tar := filepath.Join(t.TempDir(), "debian.tar")
	out, err := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,dbus",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"bookworm", tar).CombinedOutput()
	if err != nil {
		t.Fatalf("mmdebstrap: %v: %s", err, out)
	}
	e.Must("import", tar, "machine")
}

func TestSystemd(t *testing.T) {
	e := engine.Start(t)
	machine(t, e)
	for name, flags := range map[string][]string{
		// What hoy makes of its own flag, and of what Docker's command line can say.
		"flag":       {"--systemd", "true"},
		"annotation": {"--annotation", "hoy.systemd=always"},
		// Without help, as Docker's users do it.
		"by hand": {"--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3", "--cgroupns", "private",
			"--security-opt", "writable-cgroups=true", "-e", "container=docker"},
	} {
		t.Run(name, func(t *testing.T) { boot(t, e, flags) })
	}
}

func boot(t *testing.T, e *engine.Engine, flags []string) {
	name := engine.Unique("machine")
	e.Must(append(append([]string{"run", "-d", "--name", name}, flags...), "machine", "/sbin/init")...)
	engine.Eventually(t, "the bus answers", func() bool {
		return e.Hoy("exec", name, "busctl", "status", "--system", "--no-pager").Code == 0
	})
	if out := e.Hoy("exec", name, "systemctl", "is-system-running", "--wait"); strings.TrimSpace(out.Out) != "running" {
		t.Errorf("the system is %s\n%s", out.Out, e.Must("exec", name, "systemctl", "--failed", "--no-pager"))
	}
	out := e.Must("exec", name, "systemctl", "status", "--no-pager")
	for _, want := range []string{"State: running", "Failed: 0 units", "init.scope", "systemd-journald.service"} {
		if !strings.Contains(out, want) {
			t.Errorf("systemctl status lacks %q:\n%s", want, out)
		}
	}
	service(t, e, name)
	begun := time.Now()
	e.Must("stop", "-t", "30", name)
	if took := time.Since(begun); took > 25*time.Second {
		t.Errorf("stopping took %v: it was killed", took)
	}
	if code := e.Must("inspect", "-f", "{{.State.ExitCode}}", name); code != "0" && code != "130" {
		t.Errorf("exit code %s", code)
	}
	e.Must("start", name)
	engine.Eventually(t, "it runs again", func() bool {
		return e.Hoy("exec", name, "systemctl", "is-active", "dbus").Code == 0
	})
	e.Must("rm", "-f", name)
}

// service runs one with limits of its own, in a group of systemd's making.
func service(t *testing.T, e *engine.Engine, name string) {
	t.Helper()
	out := e.Must("exec", name, "systemd-run", "--quiet", "--wait", "--pipe", "--unit=try", "-p", "TasksMax=50", "sh", "-c", "cat /proc/self/cgroup; id -u")
	if !strings.Contains(out, "/system.slice/try.service") || !strings.HasSuffix(strings.TrimSpace(out), "\n0") {
		t.Errorf("a service:\n%s", out)
	}
	log := e.Must("exec", name, "journalctl", "--no-pager", "-u", "try")
	if !strings.Contains(log, "try.service") {
		t.Errorf("the journal:\n%s", log)
	}
}

// TestOff: nothing changes where the command is no systemd, or nobody asked.
func TestOff(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	for _, flags := range [][]string{{"--systemd", "true"}, {"--systemd", "false"}, {}} {
		args := append(append([]string{"run", "--rm"}, flags...), "busybox", "sh", "-c", "grep -c ' /run ' /proc/mounts; echo ${container:-none}")
		if out := e.Hoy(args...); strings.TrimSpace(out.Out) != "0\nnone" {
			t.Errorf("%v: %q %s", flags, out.Out, out.Err)
		}
	}
	e.Hoy("run", "--systemd", "perhaps", "busybox", "true").Refused(t, 125, "is not true, false or always")
}
