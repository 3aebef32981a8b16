package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/namespace"
)

// withNS adds a namespace, or gives the one of its type a path.
func withNS(s *specs.Spec, typ specs.LinuxNamespaceType, path string) {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == typ {
			s.Linux.Namespaces[i].Path = path
			return
		}
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: typ, Path: path})
}

func mapped(s *specs.Spec) *specs.Spec {
	withNS(s, specs.UserNamespace, "")
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}, {ContainerID: 1000, HostID: 300000, Size: 64000}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: 200000, Size: 65536}}
	return s
}

func readlink(tb testing.TB, path string) string {
	tb.Helper()
	to, err := os.Readlink(path)
	must(tb, err)
	return to
}

func TestTimeNamespace(t *testing.T) {
	dir := busybox(t)
	const script = "cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets; readlink /proc/self/ns/time"
	must(t, os.Symlink("busybox", filepath.Join(dir, "bin/cut")))
	offset := func(l *Launch) {
		withNS(l.Spec, specs.TimeNamespace, "")
		l.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 7000000, Nanosecs: 5}, "monotonic": {Secs: 86400}}
	}
	for name, change := range map[string]func(*Launch){"plain": offset, "in a user namespace": func(l *Launch) { offset(l); mapped(l.Spec) }} {
		out := shell(t, dir, script, change)
		words := strings.Fields(out)
		if len(words) != 8 || len(words[0]) != 7 || words[3] != "0" || words[2] != "86400" || words[5] != "7000000" || words[6] != "5" {
			t.Errorf("%s: %q", name, out)
		}
		if words[7] == readlink(t, "/proc/self/ns/time") {
			t.Errorf("%s: the host's time namespace", name)
		}
	}
	spec := docker("sleep", "1000")
	offset(&Launch{Spec: spec})
	p := running(t, spec, dir)
	want := readlink(t, fmt.Sprintf("/proc/%d/ns/time", p.Pid))
	out, _ := execOutput(t, &Exec{Target: p.Pid, Process: docker("sh", "-c", script).Process})
	if words := strings.Fields(out); len(words) != 8 || words[7] != want || len(words[0]) != 7 {
		t.Errorf("a further process: %q, want namespace %s", out, want)
	}
	out = shell(t, dir, script, func(l *Launch) { withNS(l.Spec, specs.TimeNamespace, fmt.Sprintf("/proc/%d/ns/time", p.Pid)) })
	if words := strings.Fields(out); len(words) != 8 || words[7] != want || len(words[0]) != 7 {
		t.Errorf("joined: %q, want namespace %s", out, want)
	}
}

// TestJoinUserNamespace is a pod: its first member has a user namespace and what
// belongs to it, the others join these and have a pid namespace of their own.
func TestJoinUserNamespace(t *testing.T) {
	dir := busybox(t)
	must(t, os.Chmod(dir, 0o755))
	first := running(t, mapped(docker("sleep", "1000")), dir)
	ns := fmt.Sprintf("/proc/%d/ns/", first.Pid)
	pod := func(l *Launch) {
		for typ, file := range map[specs.LinuxNamespaceType]string{
			specs.UserNamespace: "user", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
		} {
			withNS(l.Spec, typ, ns+file)
		}
		l.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
	}
	const script = `for n in user net ipc uts; do readlink /proc/self/ns/$n; done; echo pid $$; cat /proc/self/uid_map; hostname
		touch /dev/shm/x && stat -c %u:%g /dev/shm/x; echo x >/dev/null && echo devices; ls /sys/class/net; busybox mount -t proc p /tmp && echo proc
		grep CapEff /proc/self/status; ls /dev/mqueue && echo queues`
	mounting := func(l *Launch) {
		pod(l)
		c := l.Spec.Process.Capabilities
		c.Bounding = append(c.Bounding[:len(c.Bounding):len(c.Bounding)], "CAP_SYS_ADMIN")
		c.Permitted, c.Effective = c.Bounding, c.Bounding
		l.Spec.Linux.MaskedPaths, l.Spec.Linux.ReadonlyPaths = nil, nil
		l.Spec.Hostname = "pod"
	}
	out := shell(t, dir, script, mounting)
	for i, name := range []string{"user", "net", "ipc", "uts"} {
		if got := strings.Split(out, "\n")[i]; got != readlink(t, ns+name) {
			t.Errorf("%s: %s, want %s", name, got, readlink(t, ns+name))
		}
	}
	expect(t, out, "pid 1", "         0     100000       1000", "      1000     300000      64000", "pod", "0:0", "devices", "lo", "proc", "queues")
	// A joined pid namespace needs no second birth.
	out = shell(t, dir, "ps; readlink /proc/self/ns/pid", func(l *Launch) { pod(l); withNS(l.Spec, specs.PIDNamespace, ns+"pid") })
	expect(t, out, readlink(t, ns+"pid"))
	if !strings.Contains(out, "sleep 1000") {
		t.Errorf("the first member is not seen:\n%s", out)
	}
	l := &Launch{Spec: docker("nosuch"), Rootfs: overlayOn(t, dir)}
	pod(l)
	if _, err := Start(l); err == nil || err.Error() != `exec: "nosuch": executable file not found in $PATH` {
		t.Errorf("a command that is not there: %v", err)
	}
	l = &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
	pod(l)
	l.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 5, Size: 1}}
	if _, err := Start(l); err == nil || !strings.Contains(err.Error(), "other uid mappings") {
		t.Errorf("other mappings: %v", err)
	}
	second := &Launch{Spec: docker("sleep", "1000"), Rootfs: overlayOn(t, dir)}
	pod(second)
	p, err := Start(second)
	must(t, err)
	out, code := execOutput(t, &Exec{Target: p.Pid, Process: docker("sh", "-c", "ps; id -u").Process})
	if code != 0 || !strings.Contains(out, "1 root     sleep 1000") || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("%d: %s", code, out)
	}
	must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
	if code := wait(t, p); code != 137 {
		t.Errorf("exit code %d", code)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err == unix.ECHILD {
		t.Error("the first member has ended")
	}
}

// holder is a process in new namespaces.
func holder(t *testing.T, flags uintptr) string {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return fmt.Sprintf("/proc/%d/ns/", cmd.Process.Pid)
}

func TestJoinMountAndCgroupNamespace(t *testing.T) {
	dir := busybox(t)
	ns := holder(t, unix.CLONE_NEWNS|unix.CLONE_NEWCGROUP)
	before, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	out := shell(t, dir, "readlink /proc/self/ns/mnt; readlink /proc/self/ns/cgroup; ls -d /bin", func(l *Launch) {
		withNS(l.Spec, specs.MountNamespace, ns+"mnt")
		withNS(l.Spec, specs.CgroupNamespace, ns+"cgroup")
	})
	expect(t, out, readlink(t, ns+"mnt"), readlink(t, ns+"cgroup"), "/bin")
	after, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if string(before) != string(after) {
		t.Errorf("the host's mounts have changed:\n%s", after)
	}
}

func TestNamespaceErrors(t *testing.T) {
	dir := busybox(t)
	plain := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(plain, nil, 0o644))
	for _, c := range []struct {
		typ        specs.LinuxNamespaceType
		path, want string
	}{
		{specs.NetworkNamespace, "/proc/4194304/ns/net", "network namespace /proc/4194304/ns/net does not exist"},
		{specs.NetworkNamespace, "/proc/self/ns/uts", "/proc/self/ns/uts is not a network namespace"},
		{specs.UserNamespace, plain, plain + " is not a user namespace"},
		{specs.UTSNamespace, filepath.Dir(plain), filepath.Dir(plain) + " is not a uts namespace"},
		{"galaxy", "", `namespace type "galaxy" is not supported`},
	} {
		l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
		withNS(l.Spec, c.typ, c.path)
		if p, err := Start(l); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.typ, c.path, err, c.want)
			if err == nil {
				wait(t, p)
			}
		}
	}
	p, err := Start(&Launch{Spec: docker("sleep", "1000"), Rootfs: overlayOn(t, dir)})
	must(t, err)
	pidns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", p.Pid))
	must(t, err)
	defer pidns.Close()
	must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
	wait(t, p)
	l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
	withNS(l.Spec, specs.PIDNamespace, fmt.Sprintf("/proc/self/fd/%d", pidns.Fd()))
	if _, err := Start(l); err == nil || !strings.Contains(err.Error(), "its first process has ended") {
		t.Errorf("a pid namespace without a process: %v", err)
	}
}

func TestNamespaceRefusals(t *testing.T) {
	for want, change := range map[string]func(*specs.Spec){
		`"pid" is given twice`: func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
		},
		"need a user namespace": func(s *specs.Spec) { s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} },
		"time offsets need":     func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}} },
		`unknown clock "real"`: func(s *specs.Spec) {
			withNS(s, specs.TimeNamespace, "")
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"real": {Secs: 1}}
		},
		"are a second or more": func(s *specs.Spec) {
			withNS(s, specs.TimeNamespace, "")
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Nanosecs: 1e9}}
		},
		"no UTS namespace of its own": func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:4] },
		"has no right to join a time": func(s *specs.Spec) { mapped(s); withNS(s, specs.TimeNamespace, "/x") },
	} {
		spec := docker("true")
		change(spec)
		if _, err := Plan(&Launch{Spec: spec}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestHostNamespaceByPath: a path to the caller's own namespace is the host's.
func TestHostNamespaceByPath(t *testing.T) {
	dir := busybox(t)
	out := shell(t, dir, "for n in net ipc user time cgroup; do readlink /proc/self/ns/$n; done", func(l *Launch) {
		for typ, flag := range namespace.Flags {
			if flag&(unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWUTS) == 0 {
				withNS(l.Spec, typ, "/proc/self/ns/"+namespace.Files[flag])
			}
		}
	})
	for i, name := range []string{"net", "ipc", "user", "time", "cgroup"} {
		if got, want := strings.Split(out, "\n")[i], readlink(t, "/proc/self/ns/"+name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
	withNS(l.Spec, specs.NetworkNamespace, "/proc/self/ns/net")
	l.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
	if _, err := Start(l); err == nil || !strings.Contains(err.Error(), "not allowed in the host's network namespace") {
		t.Errorf("a sysctl of the host's: %v", err)
	}
}
