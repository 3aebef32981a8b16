package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/cgroup"
	"hoy/internal/runtime/seccomp"
)

func ptr[T any](v T) *T { return &v }

// shell runs script in a container made from spec and returns what it wrote.
func shell(tb testing.TB, dir, script string, change func(*Launch)) string {
	tb.Helper()
	l := &Launch{ID: "test", Spec: docker("sh", "-c", script), Rootfs: overlayOn(tb, dir)}
	if change != nil {
		change(l)
	}
	out, code := output(tb, l)
	if code != 0 {
		tb.Errorf("exit code %d", code)
	}
	return out
}

func expect(tb testing.TB, out string, wants ...string) {
	tb.Helper()
	for _, want := range wants {
		if !strings.Contains("\n"+out, "\n"+want+"\n") {
			tb.Errorf("no line %q in:\n%s", want, out)
		}
	}
}

func TestNamespacesAreNew(t *testing.T) {
	dir := busybox(t)
	out := shell(t, dir, "for n in pid net mnt ipc uts cgroup; do readlink /proc/self/ns/$n; done", func(l *Launch) {
		l.Spec.Linux.Namespaces = append(l.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	})
	for i, name := range []string{"pid", "net", "mnt", "ipc", "uts", "cgroup"} {
		host, err := os.Readlink("/proc/self/ns/" + name)
		must(t, err)
		inside := strings.Split(out, "\n")[i]
		if !strings.HasPrefix(inside, name+":") || inside == host {
			t.Errorf("%s: %s inside, %s outside", name, inside, host)
		}
	}
}

func TestHiddenPaths(t *testing.T) {
	dir := busybox(t)
	out := shell(t, dir, `wc -c </proc/interrupts; ls /sys/firmware | wc -l; ls /proc/acpi | wc -l
		(echo 1 >/proc/sys/kernel/printk) 2>/dev/null || echo sys-ro
		(echo b >/proc/sysrq-trigger) 2>/dev/null || echo sysrq-ro
		mkdir /sys/fs/x 2>/dev/null || echo sysfs-ro
		touch /sys/firmware/x 2>/dev/null || echo mask-ro
		touch /x 2>/dev/null || echo root-ro; touch /dev/x && echo dev-rw
		stat -c %n:%A:%t:%T /dev/null /dev/tty`, func(l *Launch) { l.Spec.Root, l.Spec.Process.Cwd = &specs.Root{Readonly: true}, "/made/before" })
	expect(t, out, "0", "sys-ro", "sysrq-ro", "sysfs-ro", "mask-ro", "root-ro", "dev-rw", "/dev/null:crw-rw-rw-:1:3", "/dev/tty:crw-rw-rw-:5:0")
}

func TestProcessSettings(t *testing.T) {
	dir := busybox(t)
	out := shell(t, dir, `hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward
		ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj; pwd; grep NoNewPrivs /proc/self/status; id -u; id -G; echo $HOME
		ls /proc/self/fd | wc -l; grep SigIgn /proc/1/status`, func(l *Launch) {
		p := l.Spec.Process
		l.Spec.Hostname, l.Spec.Domainname = "boat", "sea.example"
		l.Spec.Linux.Sysctl = map[string]string{"kernel.shmmax": "123456", "net.ipv4.ip_forward": "1"}
		p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
		p.User.Umask = ptr(uint32(0o077))
		p.OOMScoreAdj = ptr(321)
		p.Cwd, p.NoNewPrivileges = "/new/work/dir", true
		l.User, l.Groups = "app", []string{"77", "wheel"}
	})
	expect(t, out, "boat", "sea.example", "123456", "1", "100", "200", "0077", "321", "/new/work/dir", "NoNewPrivs:\t1",
		"1000", "/home/app", "4")
	if !strings.Contains(out, "1001 ") || !strings.Contains(out, "77") || !strings.Contains(out, "2000") {
		t.Errorf("groups:\n%s", out)
	}
}

func TestSeccompIsLoaded(t *testing.T) {
	dir := busybox(t)
	profile, err := seccomp.Default(dockerCaps)
	must(t, err)
	filter, err := seccomp.Compile(profile)
	must(t, err)
	for _, nnp := range []bool{false, true} {
		out := shell(t, dir, "grep -E 'Seccomp:|CapEff|CapPrm' /proc/self/status; busybox mount -t tmpfs x /tmp 2>&1; ls / >/dev/null && echo lives", func(l *Launch) {
			l.Seccomp = filter
			l.Spec.Process.NoNewPrivileges = nnp
		})
		expect(t, out, "Seccomp:\t2", "CapEff:\t00000000a80425fb", "CapPrm:\t00000000a80425fb", "lives")
		if !strings.Contains(out, "denied") && !strings.Contains(out, "not permitted") {
			t.Errorf("mount worked:\n%s", out)
		}
	}
}

func TestNarrowFilterAllowsTheStart(t *testing.T) {
	dir := busybox(t)
	deny := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Action: specs.ActKillProcess, Names: []string{
		"setresuid", "setgroups", "chdir", "fchdir", "faccessat", "openat2", "close_range", "move_mount", "mount", "unshare", "setns"}}}}
	filter, err := seccomp.Compile(deny)
	must(t, err)
	out := shell(t, dir, "echo lives", func(l *Launch) { l.Seccomp = filter; l.User = "app" })
	expect(t, out, "lives")
}

func TestCommandErrors(t *testing.T) {
	dir := busybox(t)
	must(t, os.WriteFile(filepath.Join(dir, "bin/noexec"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "bin/script"), []byte("#!/no/such/interpreter\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/junk"), []byte("junk"), 0o755))
	for _, c := range []struct {
		args []string
		text string
		code int
	}{
		{[]string{"nosuch"}, `exec: "nosuch": executable file not found in $PATH`, 127},
		{[]string{"noexec"}, `exec: "noexec": executable file not found in $PATH`, 127},
		{[]string{"/nosuch"}, `exec: "/nosuch": stat /nosuch: no such file or directory`, 127},
		{[]string{"/etc/passwd"}, `exec: "/etc/passwd": permission denied`, 126},
		{[]string{"/etc"}, `exec: "/etc": is a directory`, 126},
		{[]string{"/etc/passwd/x"}, `exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory`, 127},
		{[]string{"script"}, `exec script: no such file or directory`, 127},
		{[]string{"junk"}, `exec junk: exec format error`, 126},
		{[]string{""}, `exec: "": executable file not found in $PATH`, 127},
		{nil, `read specification: no command specified`, 125},
		{[]string{"a\x00b"}, `read specification: "a\x00b" holds a NUL byte`, 125},
	} {
		p, err := Start(&Launch{Spec: docker(c.args...), Rootfs: overlayOn(t, dir)})
		if err == nil {
			t.Errorf("%q: no error", c.args)
			wait(t, p)
			continue
		}
		start, ok := errors.AsType[*StartError](err)
		if !ok || start.Error() != c.text || start.ExitCode() != c.code {
			t.Errorf("%q: %v (%d), want %s (%d)", c.args, err, start.ExitCode(), c.text, c.code)
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

func TestUserErrors(t *testing.T) {
	dir := busybox(t)
	for who, want := range map[string]string{
		"ghost":      "unable to find user ghost: no matching entries in passwd file",
		"root:ghost": "unable to find group ghost: no matching entries in group file",
	} {
		_, err := Start(&Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir), User: who})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", who, err)
		}
	}
	out := shell(t, dir, "id", func(l *Launch) { l.User = "4242" })
	expect(t, out, "uid=4242 gid=0(root) groups=0(root)")
}

func TestHostilePasswd(t *testing.T) {
	dir := busybox(t)
	passwd := filepath.Join(dir, "etc/passwd")
	for name, make := range map[string]func() error{
		"pipe":      func() error { return unix.Mkfifo(passwd, 0o644) },
		"directory": func() error { return os.Mkdir(passwd, 0o755) },
		"device":    func() error { return unix.Mknod(passwd, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) },
		"link out":  func() error { return os.Symlink("/../../../../../../etc/hostname", passwd) },
		"loop":      func() error { return os.Symlink("passwd", passwd) },
		"endless line": func() error {
			return os.WriteFile(passwd, append([]byte(strings.Repeat("x", 1<<20)+"\n"), "app:x:1000:1000::/:\n"...), 0o644)
		},
	} {
		must(t, os.RemoveAll(passwd))
		must(t, make())
		p, err := Start(&Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir), User: "app"})
		if err == nil {
			wait(t, p)
		}
		if good := name == "endless line"; (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMountAttacks(t *testing.T) {
	outside := t.TempDir()
	bind := func(dest string) func(*Launch) {
		return func(l *Launch) {
			l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Type: "bind", Source: outside, Destination: dest, Options: []string{"rbind", "ro"}})
		}
	}
	for _, c := range []struct {
		what, link, target, dest string
		want                     string // part of the error; empty: it works, and stays inside
	}{
		{"link to a directory of the host", "evil", outside, "/evil/sub", ""},
		{"dot-dot link", "evil", "../../../../tmp", "/evil", ""},
		{"dot-dot link to a directory of the host", "evil", "../../../../.." + outside, "/evil/sub", ""},
		{"onto proc", "evil", "/proc/sys", "/evil", "operation not permitted"},
		{"below proc", "", "", "/proc/fs", "operation not permitted"},
		{"magic link", "evil", "/proc/self/root", "/evil/tmp", "too many levels"},
		{"the root", "", "", "/", "must be a path below /"},
		{"link to nowhere", "evil", "/not/there", "/evil", ""},
	} {
		dir := busybox(t)
		if c.link != "" {
			must(t, os.Symlink(c.target, filepath.Join(dir, c.link)))
		}
		l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
		bind(c.dest)(l)
		p, err := Start(l)
		if err == nil {
			wait(t, p)
		}
		if strings.HasPrefix(c.what, "dot-dot link to") {
			must(t, os.WriteFile(outside+"/mark", nil, 0o644))
			l := &Launch{Rootfs: overlayOn(t, dir), Spec: docker("sh", "-c", "ls "+outside+"/sub")}
			bind(c.dest)(l)
			out, _ := output(t, l)
			must(t, os.Remove(outside+"/mark"))
			expect(t, out, "mark")
		}
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("something was made outside: %v", entries)
	}
	dir := busybox(t)
	must(t, os.Remove(filepath.Join(dir, "proc")))
	must(t, os.Symlink("/tmp", filepath.Join(dir, "proc")))
	if _, err := Start(&Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}); err == nil {
		t.Error("a link in the place of /proc was followed")
	}
}

// TestNoDescriptorLeaks: a directory of the host that is open in the caller
// must be no way out, neither as a descriptor nor as a working directory.
func TestNoDescriptorLeaks(t *testing.T) {
	dir := busybox(t)
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) // without O_CLOEXEC on purpose
	must(t, err)
	defer unix.Close(fd)
	out := shell(t, dir, "ls -l /proc/self/fd; ls /proc/1/fd", nil)
	if strings.Contains(out, fmt.Sprintf("%d -> /\n", fd)) {
		t.Errorf("leaked:\n%s", out)
	}
	for _, cwd := range []string{fmt.Sprintf("/proc/self/fd/%d", fd), fmt.Sprintf("/proc/self/fd/%d/../..", fd)} {
		l := &Launch{Spec: docker("ls"), Rootfs: overlayOn(t, dir)}
		l.Spec.Process.Cwd = cwd
		p, err := Start(l)
		if err == nil {
			wait(t, p)
			if cwd == fmt.Sprintf("/proc/self/fd/%d", fd) {
				t.Errorf("working directory %s was entered", cwd)
			}
		}
	}
}

func TestTerminal(t *testing.T) {
	dir := busybox(t)
	l := &Launch{Spec: docker("sh", "-c", "tty; stat -c %t:%T:%u /dev/console; busybox stty size; test -t 0 -a -t 1 -a -t 2 && echo all; ls /dev/pts"), Rootfs: overlayOn(t, dir), ConsoleSize: specs.Box{Height: 40, Width: 120}, User: "app"}
	l.Spec.Process.Terminal = true
	p, err := Start(l)
	must(t, err)
	out, _ := io.ReadAll(p.Console)
	p.Console.Close()
	if code := wait(t, p); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := string(out), "/dev/pts/0\r\n88:0:1000\r\n40 120\r\nall\r\n0     ptmx\r\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func TestUserNamespace(t *testing.T) {
	dir := busybox(t)
	must(t, os.Chmod(dir, 0o755))
	out := shell(t, dir, `id -u; cat /proc/self/uid_map; grep CapEff /proc/self/status; touch /dev/shm/x && stat -c %u /dev/shm/x
		echo x >/dev/null && echo devices; ls /proc/self/ns >/dev/null && echo proc; ls /sys/class >/dev/null && echo sys; readlink /proc/self/ns/user`, func(l *Launch) {
		l.Spec.Linux.Namespaces = append(l.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		l.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
		l.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	})
	expect(t, out, "0", "         0     100000      65536", "CapEff:\t00000000a80425fb", "devices", "proc", "sys")
	host, _ := os.Readlink("/proc/self/ns/user")
	if strings.Contains(out, host) {
		t.Errorf("still in the host's user namespace:\n%s", out)
	}
}

func TestJoinAnotherContainer(t *testing.T) {
	dir := busybox(t)
	first := running(t, docker("sleep", "1000"), dir)
	ns := fmt.Sprintf("/proc/%d/ns/", first.Pid)
	out := shell(t, dir, "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done; hostname; ps", func(l *Launch) {
		for i := range l.Spec.Linux.Namespaces {
			n := &l.Spec.Linux.Namespaces[i]
			switch n.Type {
			case specs.PIDNamespace:
				n.Path = ns + "pid"
			case specs.NetworkNamespace:
				n.Path = ns + "net"
			case specs.IPCNamespace:
				n.Path = ns + "ipc"
			case specs.UTSNamespace:
				n.Path = ns + "uts"
			}
		}
		l.Spec.Hostname = "other"
	})
	for i, name := range []string{"pid", "net", "ipc", "uts"} {
		want, err := os.Readlink(ns + name)
		must(t, err)
		if got := strings.Split(out, "\n")[i]; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	expect(t, out, "other") // the last one that names it does, for both
	if !strings.Contains(out, "sleep 1000") {
		t.Errorf("the other's processes are not seen:\n%s", out)
	}
	for _, name := range []string{"pid_for_children", "net", "ipc", "uts"} {
		tasks, _ := filepath.Glob("/proc/self/task/*/ns/" + name)
		own, _ := os.Readlink("/proc/self/ns/" + strings.TrimSuffix(name, "_for_children"))
		for _, task := range tasks {
			if got, err := os.Readlink(task); err == nil && got != own {
				t.Errorf("%s stayed in %s", task, got)
			}
		}
	}
}

func TestNetNSByDescriptor(t *testing.T) {
	dir := busybox(t)
	first := running(t, docker("sleep", "1000"), dir)
	net, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", first.Pid))
	must(t, err)
	defer net.Close()
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", first.Pid))
	must(t, err)
	expect(t, shell(t, dir, "readlink /proc/self/ns/net", func(l *Launch) { l.NetNS = net }), want)
}

func TestCgroupFromTheStart(t *testing.T) {
	dir := busybox(t)
	m, err := cgroup.New(cgroup.Cgroupfs, fmt.Sprintf("/hoytest-runtime-%d", os.Getpid()))
	must(t, err)
	g, err := m.Create("", "c", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(20))}})
	must(t, err)
	procs := g.Procs()
	defer func() {
		must(t, g.Remove())
		for _, file := range procs {
			must(t, os.Remove(filepath.Dir(filepath.Dir(file))))
		}
	}()
	for _, private := range []bool{false, true} {
		own := "/sys/fs/cgroup/pids" // version 1 begins at the container's group in any case
		if m.Version() == "2" {
			own = "/sys/fs/cgroup"
			if !private {
				own += g.Path()
			}
		}
		out := shell(t, dir, "cat /proc/self/cgroup; cat "+own+"/pids.max; touch "+own+"/x 2>/dev/null || echo cgroup-ro", func(l *Launch) {
			l.CgroupProcs = g.Procs()
			if private {
				l.Spec.Linux.Namespaces = append(l.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
			}
		})
		expect(t, out, "20", "cgroup-ro")
		if has := strings.Contains(out, g.Path()); has == private {
			t.Errorf("private %v:\n%s", private, out)
		}
	}
}

// TestUnifiedCgroup begins in a version 2 group, which hybrid machines have too.
func TestUnifiedCgroup(t *testing.T) {
	dir := busybox(t)
	base := "/sys/fs/cgroup/unified"
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			t.Skip("needs a version 2 cgroup tree")
		}
		base = "/sys/fs/cgroup"
	}
	name := fmt.Sprintf("hoytest-unified-%d", os.Getpid())
	must(t, os.Mkdir(filepath.Join(base, name), 0o755))
	defer func() { must(t, os.Remove(filepath.Join(base, name))) }()
	out := shell(t, dir, "cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs", func(l *Launch) {
		l.CgroupProcs = []string{filepath.Join(base, name, "cgroup.procs")}
	})
	expect(t, out, "0::/"+name, "/sys/fs/cgroup/cgroup.procs")
}

func TestStreamsCanBeOpenedAnew(t *testing.T) {
	dir := busybox(t)
	expect(t, shell(t, dir, "echo again >/dev/stdout", func(l *Launch) { l.User = "app" }), "again")
}

func TestReaperIsBound(t *testing.T) {
	dir := busybox(t)
	init := filepath.Join(t.TempDir(), "init")
	must(t, os.WriteFile(init, []byte("#!/bin/sh\necho \"$0 $@\"; touch /sbin/docker-init 2>/dev/null || echo ro\n"), 0o755))
	out, _ := output(t, &Launch{Spec: docker("sleep", "1"), Rootfs: overlayOn(t, dir), Reaper: init})
	expect(t, out, "/sbin/docker-init -- sleep 1", "ro")
}

func TestMissingPrivilegeIsAWarning(t *testing.T) {
	dir := busybox(t)
	own, err := become.OwnCapabilities()
	must(t, err)
	if own.Permitted&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		t.Skip("needs a machine without CAP_SYS_RESOURCE")
	}
	spec := docker("true")
	var lim unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: lim.Max + 1, Hard: lim.Max + 2}}
	spec.Process.Capabilities.Bounding = append([]string{"CAP_SYS_RESOURCE"}, dockerCaps...)
	p, err := Start(&Launch{Spec: spec, Rootfs: overlayOn(t, dir)})
	must(t, err)
	wait(t, p)
	if len(p.Warnings) != 2 {
		t.Errorf("warnings: %q", p.Warnings)
	}
}

func TestMissingBindSource(t *testing.T) {
	l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, busybox(t))}
	l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Type: "bind", Source: "/no/such/source", Destination: "/data"})
	_, err := Start(l)
	if err == nil || err.Error() != "bind /no/such/source at /data: no such file or directory" {
		t.Error(err)
	}
}

// TestBindPropagation mounts below a bind source while the container runs.
func TestBindPropagation(t *testing.T) {
	dir := busybox(t)
	for propagation, want := range map[string]bool{
		"private": false, "rprivate": false, "unbindable": false, "runbindable": false,
		"slave": true, "rslave": true, "shared": true, "rshared": true, "rbind": true,
	} {
		src := t.TempDir()
		must(t, os.Mkdir(filepath.Join(src, "sub"), 0o755))
		must(t, unix.Mount(src, src, "", unix.MS_BIND, ""))
		must(t, unix.Mount("", src, "", unix.MS_SHARED, ""))
		spec := docker("sleep", "1000")
		spec.Mounts = append(spec.Mounts, specs.Mount{Type: "bind", Source: src, Destination: "/data", Options: []string{"rbind", propagation}})
		p, err := Start(&Launch{Spec: spec, Rootfs: overlayOn(t, dir)})
		if err == nil {
			must(t, unix.Mount("tmpfs", src+"/sub", "tmpfs", 0, ""))
			mounts, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", p.Pid))
			must(t, readErr)
			if got := strings.Contains(string(mounts), " /data/sub "); got != want {
				t.Errorf("%s: a new mount is seen: %v, want %v", propagation, got, want)
			}
			must(t, unix.Unmount(src+"/sub", 0))
			_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
			wait(t, p)
		} else {
			t.Error(err)
		}
		must(t, unix.Unmount(src, unix.MNT_DETACH))
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := busybox(t)
	var wg sync.WaitGroup
	for range 32 {
		root := overlayOn(t, dir)
		wg.Go(func() {
			p, err := Start(&Launch{Spec: docker("sh", "-c", "exit 5"), Rootfs: root})
			if err != nil {
				t.Error(err)
				return
			}
			if code := wait(t, p); code != 5 {
				t.Errorf("exit code %d", code)
			}
		})
	}
	wg.Wait()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), "TestManyAtOnce") {
		t.Error("a mount is left in the host's namespace")
	}
}
