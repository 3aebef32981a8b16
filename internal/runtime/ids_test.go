package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/userns"
)

func owned(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// upper is the writable layer of what overlayOn has mounted.
func upper(l *Launch) string {
	for _, o := range l.Rootfs[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			return dir
		}
	}
	return ""
}

func TestMappedRoot(t *testing.T) {
	dir := busybox(t)
	app := filepath.Join(dir, "home/app")
	must(t, os.MkdirAll(app, 0o700))
	must(t, os.Chown(app, 1000, 1001))
	l := &Launch{Spec: mapped(docker("sh", "-c", `stat -c %u:%g / /home/app /etc/passwd; touch /root/new; mkdir -p /a/b; busybox chown 1000:1001 /a/b
		stat -c %u:%g /root/new /a/b /made/here; stat -c %u:%g /dev /dev/null /dev/shm /dev/mqueue; stat -c %u:%g /work; rm /etc/group && echo whiteout
		busybox chown 64999 /a/b && echo last; busybox chown 65000 /a/b || echo beyond; busybox mknod /x c 1 3 || echo no device`)), Rootfs: overlayOn(t, dir), MapRoot: true}
	l.Spec.Process.Cwd = "/work"
	l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/made/here", Options: []string{"uid=1000"}})
	out, code := output(t, l)
	want := "0:0\n1000:1001\n0:0\n0:0\n1000:1001\n1000:0\n0:0\n0:0\n0:0\n0:0\n0:0\nwhiteout\nlast\n"
	if code != 0 || !strings.HasPrefix(out, want) || !strings.Contains(out, "beyond\n") || !strings.Contains(out, "no device\n") {
		t.Errorf("%d: %s\nwant %s", code, out, want)
	}
	// On disk are the container's own ids.
	for path, want := range map[string]string{"root/new": "0:0", "a/b": "64999:1001", "made": "0:0", "work": "0:0"} {
		if got := owned(t, filepath.Join(upper(l), path)); got != want {
			t.Errorf("%s belongs to %s on disk, want %s", path, got, want)
		}
	}
}

// TestMappedProcess checks what a process is on the host, and what else follows
// from its user namespace: streams, a further process, its limits and score.
func TestMappedProcess(t *testing.T) {
	dir := busybox(t)
	spec := mapped(docker("sleep", "1000"))
	spec.Process.OOMScoreAdj = ptr(-5)
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 12, Hard: 1 << 20}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
	p, err := Start(&Launch{Spec: spec, Rootfs: overlayOn(t, dir), MapRoot: true, User: "app"})
	must(t, err)
	t.Cleanup(func() { _ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0); wait(t, p) })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	must(t, err)
	for _, want := range []string{"Uid:\t300000\t", "Gid:\t201001\t", "Groups:\t200010 201001 202000"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q:\n%s", want, status)
		}
	}
	if own, _ := become.OwnCapabilities(); own.Permitted&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid))
		if !strings.Contains(string(limits), "1048576") {
			t.Errorf("%s", limits)
		}
		if score, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.Pid)); string(score) != "-5\n" {
			t.Errorf("oom score %q", score)
		}
	}
	out, code := execOutput(t, &Exec{Target: p.Pid, User: "app", Process: docker("sh", "-c", "id; stat -Lc %u /proc/self/fd/1; echo x >/dev/stdout; grep CapEff /proc/self/status").Process})
	if want := "uid=1000(app) gid=1001(appgrp) groups=10(wheel),1001(appgrp),2000(extra)\n1000\nx\n"; code != 0 || !strings.HasPrefix(out, want) {
		t.Errorf("exec: %d, %q, want %q", code, out, want)
	}
	e := &Exec{Target: p.Pid, Process: docker("id").Process}
	e.Process.User = specs.User{UID: 70000}
	if _, err := StartExec(e); err == nil || !strings.Contains(err.Error(), "user 70000 is not in the user namespace's mappings") {
		t.Errorf("a user without a number: %v", err)
	}
}

func TestMapRefusals(t *testing.T) {
	dir := busybox(t)
	for want, change := range map[string]func(*Launch){
		"uid 0 is not in its user namespace's mappings": func(l *Launch) {
			l.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 1, HostID: 100000, Size: 10}}
		},
		"host id 100005 is mapped twice": func(l *Launch) {
			l.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 10}, {ContainerID: 20, HostID: 100005, Size: 1}}
		},
		"uid mapping 0:5:0 is empty":                                     func(l *Launch) { l.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 5}} },
		"user 65000 is not in the user namespace's mappings":             func(l *Launch) { l.User = "65000" },
		"group 65536 is not in the user namespace's mappings":            func(l *Launch) { l.User = "1:65536" },
		"additional group 70000 is not in the user namespace's mappings": func(l *Launch) { l.Groups = []string{"70000"} },
		"mount /t: uid=70000 is not in the user namespace's mappings": func(l *Launch) {
			l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Type: "tmpfs", Destination: "/t", Options: []string{"uid=70000"}})
		},
		"only a bind can have its ids mapped": func(l *Launch) {
			l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Type: "tmpfs", Destination: "/t", Options: []string{"idmap"}})
		},
		"map ids of mount /t: /proc on proc: its file system cannot map ids on this kernel": func(l *Launch) {
			l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Type: "bind", Source: "/proc", Destination: "/t", Options: []string{"bind", "idmap"}})
		},
		"the file system of /proc (proc) cannot map ids": func(l *Launch) { l.Rootfs = []RootMount{{Type: "bind", Source: "/proc"}} },
	} {
		l := &Launch{Spec: mapped(docker("true")), Rootfs: overlayOn(t, dir), MapRoot: true}
		change(l)
		if p, err := Start(l); err == nil {
			t.Errorf("%s: it started with %d", want, wait(t, p))
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestMappedMounts(t *testing.T) {
	dir, data, more := busybox(t), t.TempDir(), t.TempDir()
	for _, d := range []string{data, more} {
		must(t, os.WriteFile(d+"/root", nil, 0o644))
		must(t, os.WriteFile(d+"/user", nil, 0o644))
		must(t, os.Chown(d+"/user", 1000, 1000))
	}
	sub := filepath.Join(data, "sub")
	must(t, os.Mkdir(sub, 0o755))
	// Of the same kind of file system: tmpfs can map ids since Linux 6.3 only.
	must(t, unix.Mount(t.TempDir(), sub, "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(sub, unix.MNT_DETACH)) }()
	must(t, os.WriteFile(sub+"/file", nil, 0o644))
	bind := func(src, dst string, options ...string) specs.Mount {
		return specs.Mount{Type: "bind", Source: src, Destination: dst, Options: append(options, "rbind")}
	}
	special := bind(more, "/special")
	special.UIDMappings = []specs.LinuxIDMapping{{HostID: 300005, Size: 1}, {ContainerID: 1000, HostID: 100007, Size: 1}}
	special.GIDMappings = []specs.LinuxIDMapping{{HostID: 200001, Size: 65535}}
	l := &Launch{Spec: mapped(docker("sh", "-c", `stat -c %n:%u:%g /plain/root /mapped/root /mapped/user /mapped/sub/file /all/sub/file /special/root /special/user
		echo x >/mapped/new && busybox chown 1000:1001 /mapped/new && echo written; echo x >/plain/root || echo denied; echo x >/file && echo file`)), Rootfs: overlayOn(t, dir), MapRoot: true}
	l.Spec.Mounts = append(l.Spec.Mounts, bind(data, "/plain"), bind(data, "/mapped", "idmap"), bind(data, "/all", "ridmap"), special, bind(more+"/root", "/file", "idmap"))
	out, code := output(t, l)
	want := "/plain/root:65534:65534\n/mapped/root:0:0\n/mapped/user:1000:1000\n/mapped/sub/file:65534:65534\n/all/sub/file:0:0\n/special/root:1005:1\n/special/user:7:1001\nwritten\n"
	if code != 0 || !strings.HasPrefix(out, want) || !strings.HasSuffix(out, "denied\nfile\n") {
		t.Errorf("%d: %s\nwant %s", code, out, want)
	}
	if got := owned(t, data+"/new"); got != "1000:1001" {
		t.Errorf("on disk: %s", got)
	}
	// Without a user namespace the container's ids are the host's.
	out = shell(t, dir, "stat -c %u:%g /d/user; stat -c %u:%g /s/user", func(l *Launch) {
		s := special
		s.Destination = "/s"
		l.Spec.Mounts = append(l.Spec.Mounts, bind(data, "/d", "idmap"), s)
	})
	expect(t, out, "1000:1000", "100007:201001")
}

// BenchmarkStartMapped is BenchmarkStartTrue in a user namespace that is there
// already, as the daemon makes it.
func BenchmarkStartMapped(b *testing.B) {
	dir := busybox(b)
	root := overlayOn(b, dir)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	must(b, err)
	defer null.Close()
	for b.Loop() {
		spec := mapped(docker("true"))
		made, err := userns.Make(userns.Map{UIDs: spec.Linux.UIDMappings, GIDs: spec.Linux.GIDMappings}, true)
		must(b, err)
		for i := range spec.Linux.Namespaces {
			if ns := &spec.Linux.Namespaces[i]; ns.Type == specs.UserNamespace {
				ns.Path = fmt.Sprintf("/proc/self/fd/%d", made.User.Fd())
			}
		}
		p, err := Start(&Launch{Spec: spec, Rootfs: root, MapRoot: true, NetNS: made.Net, Stdio: [3]*os.File{null, null, null}})
		made.Close()
		must(b, err)
		if code := wait(b, p); code != 0 {
			b.Fatal(code)
		}
	}
}
