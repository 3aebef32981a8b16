package runtime

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup"
	"hoy/internal/runtime/seccomp"
)

// dockerCaps is what Docker grants by default.
var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// busybox makes a root file system with a shell and its applets.
func busybox(tb testing.TB) string {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: it makes namespaces and mounts")
	}
	const bin = "/bin/busybox"
	data, err := os.ReadFile(bin)
	if err != nil {
		tb.Skipf("needs a static busybox: %v", err)
	}
	dir := tb.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp", "root"} {
		must(tb, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(tb, os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755))
	for _, applet := range strings.Fields("sh true false cat ls id env tty stat mount hostname sleep echo grep head ps kill touch mkdir wc dd readlink pwd sort test nc ulimit sysctl umask trap") {
		must(tb, os.Symlink("busybox", filepath.Join(dir, "bin", applet)))
	}
	must(tb, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n"), 0o644))
	must(tb, os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\nwheel:x:10:root,app\nappgrp:x:1001:\nextra:x:2000:app\n"), 0o644))
	return dir
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// docker is the specification that Docker makes by default.
func docker(args ...string) *specs.Spec {
	return &specs.Spec{
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: dockerCaps, Permitted: dockerCaps, Effective: dockerCaps},
		},
		Hostname: "box",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.MountNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
			MaskedPaths: []string{
				"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
				"/sys/devices/virtual/powercap",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// overlayOn mounts dir with an upper layer of the test's own.
func overlayOn(tb testing.TB, dir string) []RootMount {
	tb.Helper()
	own := tb.TempDir()
	for _, d := range []string{"upper", "work"} {
		must(tb, os.Mkdir(filepath.Join(own, d), 0o755))
	}
	return []RootMount{{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + dir, "upperdir=" + own + "/upper", "workdir=" + own + "/work",
	}}}
}

func wait(tb testing.TB, p *Process) int {
	tb.Helper()
	defer p.PidFD.Close()
	return reapCode(tb, p.Pid)
}

func reapCode(tb testing.TB, pid int) int {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			tb.Fatalf("wait: %v", err)
		}
		break
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// output runs l to its end and returns what it wrote.
func output(tb testing.TB, l *Launch) (string, int) {
	tb.Helper()
	r, w, err := os.Pipe()
	must(tb, err)
	defer r.Close()
	l.Stdio = [3]*os.File{nil, w, w}
	p, err := Start(l)
	w.Close()
	if err != nil {
		tb.Fatalf("start: %v", err)
	}
	var b bytes.Buffer
	_, err = io.Copy(&b, r)
	must(tb, err)
	return b.String(), wait(tb, p)
}

func TestExitCode(t *testing.T) {
	dir := busybox(t)
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7,
		// PID 1 gets no signal of its own namespace that it has no handler for.
		"kill -9 $$": 0} {
		if _, code := output(t, &Launch{Spec: docker("sh", "-c", script), Rootfs: overlayOn(t, dir)}); code != want {
			t.Errorf("%s: exit code %d, want %d", script, code, want)
		}
	}
}

// BenchmarkStartEverything is a start as the daemon asks for it: with filter,
// cgroup and reaped end.
func BenchmarkStartEverything(b *testing.B) {
	dir := busybox(b)
	root := overlayOn(b, dir)
	profile, err := seccomp.Default(dockerCaps)
	must(b, err)
	filter, err := seccomp.Compile(profile)
	must(b, err)
	m, err := cgroup.New(cgroup.Cgroupfs, fmt.Sprintf("/hoybench-%d", os.Getpid()))
	must(b, err)
	g, err := m.Create("", "c", &specs.LinuxResources{})
	must(b, err)
	procs := g.Procs()
	defer func() {
		must(b, g.Remove())
		for _, file := range procs {
			_ = os.Remove(filepath.Dir(filepath.Dir(file)))
		}
	}()
	var start time.Duration
	for b.Loop() {
		from := time.Now()
		p, err := Start(&Launch{Spec: docker("true"), Rootfs: root, Seccomp: filter, CgroupProcs: procs})
		must(b, err)
		start += time.Since(from)
		if code := wait(b, p); code != 0 {
			b.Fatal(code)
		}
	}
	b.ReportMetric(float64(start.Microseconds())/float64(b.N)/1000, "ms/start")
}

func BenchmarkStartTrue(b *testing.B) {
	dir := busybox(b)
	root := overlayOn(b, dir)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	must(b, err)
	defer null.Close()
	for b.Loop() {
		p, err := Start(&Launch{Spec: docker("true"), Rootfs: root, Stdio: [3]*os.File{null, null, null}})
		must(b, err)
		if code := wait(b, p); code != 0 {
			b.Fatal(code)
		}
	}
}
