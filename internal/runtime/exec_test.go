package runtime

import (
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
