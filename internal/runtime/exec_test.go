package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// allNamespaces are those that docker makes.
var allNamespaces = []specs.LinuxNamespaceType{
	specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace,
}

// running starts a container that waits until the test is over.
func running(tb testing.TB, spec *specs.Spec, dir string) *Process {
	tb.Helper()
	p, err := Start(&Launch{Spec: spec, Rootfs: overlayOn(tb, dir)})
	must(tb, err)
	tb.Cleanup(func() {
		_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
		wait(tb, p)
	})
	return p
}

func execOutput(tb testing.TB, e *Exec) (string, int) {
	tb.Helper()
	r, w, err := os.Pipe()
	must(tb, err)
	defer r.Close()
	e.Stdio = [3]*os.File{nil, w, w}
	p, err := StartExec(e)
	w.Close()
	if err != nil {
		tb.Fatalf("exec: %v", err)
	}
	out, err := io.ReadAll(r)
	must(tb, err)
	return string(out), wait(tb, p)
}

func TestExecJoinsTheContainer(t *testing.T) {
	p := running(t, docker("sleep", "1000"), busybox(t))
	out, code := execOutput(t, &Exec{Target: p.Pid, Namespaces: allNamespaces, User: "app", Process: docker(
		"sh", "-c", "id; hostname; pwd; echo $HOME; ps; ls /proc/self/fd; grep -E 'Cap|Dumpable' /proc/self/status; exit 3").Process})
	if code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	for _, want := range []string{
		"uid=1000(app) gid=1001(appgrp) groups=10(wheel),1001(appgrp),2000(extra)\nbox\n/\n/home/app\n",
		"1 root     sleep 1000", "CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if e, err := os.Readlink("/proc/self/ns/pid"); err != nil || e == "" {
		t.Error(err)
	}
}

func TestExecInheritsTheContainersLimits(t *testing.T) {
	spec := docker("sleep", "1000")
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 300, Hard: 400}}
	spec.Process.OOMScoreAdj = ptr(77)
	p := running(t, spec, busybox(t))
	out, _ := execOutput(t, &Exec{Target: p.Pid, Namespaces: allNamespaces,
		Process: docker("sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj").Process})
	if out != "300\n400\n77\n" {
		t.Error(out)
	}
	expect(t, shell(t, busybox(t), "ulimit -n; cat /proc/self/oom_score_adj", nil), "1024", "0")
}

func TestExecTerminal(t *testing.T) {
	spec := docker("sleep", "1000")
	p := running(t, spec, busybox(t))
	process := docker("sh", "-c", "tty; stat -c %u:%g $(tty); ls /dev/pts").Process
	process.Terminal = true
	e, err := StartExec(&Exec{Target: p.Pid, Namespaces: allNamespaces, User: "1000", Process: process, ConsoleSize: specs.Box{Height: 30, Width: 90}})
	must(t, err)
	out, _ := io.ReadAll(e.Console)
	e.Console.Close()
	wait(t, e)
	if got, want := string(out), "/dev/pts/0\r\n1000:5\r\n0     ptmx\r\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func BenchmarkExecTrue(b *testing.B) {
	p := running(b, docker("sleep", "1000"), busybox(b))
	for b.Loop() {
		e, err := StartExec(&Exec{Target: p.Pid, Namespaces: allNamespaces, Process: docker("true").Process})
		must(b, err)
		if code := wait(b, e); code != 0 {
			b.Fatal(code)
		}
	}
}

func TestExecErrors(t *testing.T) {
	p := running(t, docker("sleep", "1000"), busybox(t))
	for _, c := range []struct {
		change func(*Exec)
		text   string
		code   int
	}{
		{func(e *Exec) { e.Process.Args = []string{"nosuch"} }, `exec: "nosuch": executable file not found in $PATH`, 127},
		{func(e *Exec) { e.Process.Cwd = "/nowhere" }, `chdir to cwd ("/nowhere") set in config.json failed: no such file or directory`, 125},
		{func(e *Exec) { e.Process.Cwd = "/proc/self/exe/.." }, `chdir to cwd ("/proc/self") set in config.json failed: `, 125},
		{func(e *Exec) { e.User = "ghost" }, "prepare process: unable to find user ghost: no matching entries in passwd file", 125},
		{func(e *Exec) { e.Target = 1 << 22 }, "find container's process: pid 4194304: ", 125},
	} {
		e := &Exec{Target: p.Pid, Namespaces: allNamespaces, Process: docker("true").Process}
		c.change(e)
		x, err := StartExec(e)
		if err == nil {
			wait(t, x)
			if strings.HasSuffix(c.text, ": ") {
				continue // the path has a meaning inside, too
			}
			t.Errorf("%s: no error", c.text)
			continue
		}
		start, ok := errors.AsType[*StartError](err)
		if !ok || !strings.HasPrefix(err.Error(), c.text) || start.ExitCode() != c.code {
			t.Errorf("%v (%d), want %s (%d)", err, start.ExitCode(), c.text, c.code)
		}
	}
}

// TestExecHostileTerminal puts something else in the place of devpts.
func TestExecHostileTerminal(t *testing.T) {
	spec := docker("sleep", "1000")
	spec.Mounts = append(spec.Mounts, specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/dev/pts"})
	p := running(t, spec, busybox(t))
	out, _ := execOutput(t, &Exec{Target: p.Pid, Namespaces: allNamespaces, Process: docker("sh", "-c", "echo x > /dev/pts/ptmx; echo done").Process})
	if out != "done\n" {
		t.Error(out)
	}
	process := docker("true").Process
	process.Terminal = true
	x, err := StartExec(&Exec{Target: p.Pid, Namespaces: allNamespaces, Process: process})
	if err == nil {
		x.Console.Close()
		wait(t, x)
		t.Fatal("a plain file was taken for a terminal")
	}
	if !strings.Contains(err.Error(), "open terminal /dev/pts/ptmx") {
		t.Error(err)
	}
}

func TestExecIntoUserNamespace(t *testing.T) {
	spec := docker("sleep", "1000")
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	p := running(t, spec, busybox(t))
	all := append([]specs.LinuxNamespaceType{specs.UserNamespace, specs.CgroupNamespace}, allNamespaces...)
	out, code := execOutput(t, &Exec{Target: p.Pid, Namespaces: all, Process: docker("sh", "-c", "id -u; cat /proc/self/uid_map; for n in user pid mnt cgroup; do readlink /proc/self/ns/$n; done").Process})
	if code != 0 || !strings.HasPrefix(out, "0\n         0     100000      65536\n") {
		t.Errorf("%d: %s", code, out)
	}
	for i, n := range []string{"user", "pid", "mnt", "cgroup"} {
		want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.Pid, n))
		must(t, err)
		if got := strings.Split(out, "\n")[i+2]; got != want {
			t.Errorf("%s: %s, want %s", n, got, want)
		}
	}
}
