package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func mounting(list ...specs.Mount) func(*Launch) {
	return func(l *Launch) { l.Spec.Mounts = append(l.Spec.Mounts, list...) }
}

// tree is a bind source with a second file system below it.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	must(t, unix.Mount("tmpfs", filepath.Join(dir, "sub"), "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(dir, "sub"), unix.MNT_DETACH)) })
	return dir
}

func TestMountOptions(t *testing.T) {
	dir, src := busybox(t), tree(t)
	for _, c := range []struct {
		typ, options string
		top, sub     string // what /proc/mounts must say of /data and /data/sub; after "!" what it must not
	}{
		{"bind", "rbind,ro", "ro", "rw"},
		{"bind", "rbind,rro", "ro", "ro"},
		{"bind", "rbind,rro,rw", "ro", "ro"},
		{"", "rbind,rnosuid,rnodev,rnoexec,rnosymfollow", "rw nosuid nodev noexec nosymfollow", "nosuid nodev noexec nosymfollow"},
		{"none", "rbind,nosuid,nodev,noexec", "nosuid nodev noexec", "!nosuid !nodev !noexec"},
		{"bind", "rbind,rnoatime,rnodiratime", "noatime nodiratime", "noatime nodiratime"},
		{"bind", "rbind,rstrictatime", "!relatime !noatime", "!relatime !noatime"},
		{"bind", "rbind,rrelatime,noatime", "relatime", "relatime"},
		{"bind", "bind,ro,rw,suid,dev,exec,loud,silent,mand,sync", "rw !nosuid", ""},
		{"tmpfs", "size=1m,mode=1751,uid=7,gid=8,nosuid,sync,dirsync,lazytime,relatime", "size=1024k mode=1751 uid=7 gid=8 nosuid sync dirsync", ""},
		{"tmpfs", "ro,noatime,nr_inodes=10", "ro noatime nr_inodes=10", ""},
		{"mqueue", "nodev,noexec", "rw nodev noexec", ""},
		{"devpts", "newinstance,ptmxmode=0600,mode=0640,gid=5,max=3", "gid=5 mode=640 ptmxmode=600 max=3", ""},
		{"ramfs", "mode=700", "mode=700", ""},
	} {
		m := specs.Mount{Type: c.typ, Source: src, Destination: "data", Options: strings.Split(c.options, ",")}
		out := shell(t, dir, "cat /proc/mounts", mounting(m))
		for at, want := range map[string]string{" /data ": c.top, " /data/sub ": c.sub} {
			var have []string
			for line := range strings.Lines(out) {
				if strings.Contains(line, at) {
					have = strings.Split(strings.Fields(line)[3], ",")
				}
			}
			for _, word := range strings.Fields(want) {
				name, not := strings.CutPrefix(word, "!")
				found := false
				for _, h := range have {
					found = found || h == name
				}
				if found == not || have == nil {
					t.Errorf("%s %s: %s is %v, want %s", c.typ, c.options, at, have, word)
				}
			}
		}
	}
}

func TestRemount(t *testing.T) {
	out := shell(t, busybox(t), "grep ' /data ' /proc/mounts", mounting(
		specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/data", Options: []string{"size=1m"}},
		specs.Mount{Destination: "/data", Options: []string{"bind", "remount", "ro", "noexec"}},
		specs.Mount{Type: "tmpfs", Destination: "/data", Options: []string{"remount", "size=2m"}},
	))
	if !strings.Contains(out, "tmpfs ro,noexec") || !strings.Contains(out, "size=2048k") {
		t.Error(out)
	}
}

func TestCopyUp(t *testing.T) {
	dir := busybox(t)
	data := filepath.Join(dir, "data")
	must(t, os.MkdirAll(filepath.Join(data, "sub", "deep"), 0o750))
	must(t, os.WriteFile(filepath.Join(data, "sub", "file"), []byte("text"), 0o640))
	must(t, os.Chown(filepath.Join(data, "sub", "file"), 7, 8))
	must(t, os.Symlink("/etc/passwd", filepath.Join(data, "link")))
	must(t, unix.Mkfifo(filepath.Join(data, "pipe"), 0o600))
	must(t, unix.Mknod(filepath.Join(data, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Chmod(data, 0o1751))
	must(t, unix.Chmod(filepath.Join(data, "null"), 0o666))
	for _, option := range []string{"rw", "ro"} {
		out := shell(t, dir, `stat -c %n:%a:%u:%g:%F data data/sub/file data/sub/deep data/link data/pipe data/null data/sub/mine; cat data/sub/file; echo
			readlink data/link; (echo x >data/new) 2>/dev/null && echo writable; (echo x >data/sub/mine/new) && echo mine; stat -f -c %T data`, mounting(
			specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/data", Options: []string{"tmpcopyup", option}},
			specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/data/sub/mine"},
		))
		expect(t, out, "data:1751:0:0:directory", "data/sub/file:640:7:8:regular file", "data/sub/deep:750:0:0:directory",
			"data/link:777:0:0:symbolic link", "data/pipe:600:0:0:fifo", "data/null:666:0:0:character special file", "text", "/etc/passwd", "mine", "tmpfs")
		if strings.Contains(out, "writable") != (option == "rw") {
			t.Errorf("%s: %s", option, out)
		}
	}
}

// TestCopyUpKeepsAMode that the options name, also of a directory that is made for it.
func TestCopyUpKeepsAMode(t *testing.T) {
	dir := busybox(t)
	must(t, os.Mkdir(filepath.Join(dir, "data"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "data", "file"), nil, 0o640))
	out := shell(t, dir, "stat -c %n:%a data data/file new", mounting(
		specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/data", Options: []string{"tmpcopyup", "mode=1700"}},
		specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/new", Options: []string{"tmpcopyup", "mode=700"}}))
	expect(t, out, "data:1700", "data/file:640", "new:700")
}

// TestTmpfsMode: a tmpfs has the mode of what it covers where none is asked for.
func TestTmpfsMode(t *testing.T) {
	dir, src := busybox(t), t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "covered"), 0o711))
	must(t, os.Symlink("covered", filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(src, "below"), 0o700))
	tmpfs := func(dest string, options ...string) specs.Mount {
		return specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: dest, Options: options}
	}
	out := shell(t, dir, "stat -c %n:%a covered named new bind/below", mounting(tmpfs("/link"), tmpfs("/named", "mode=705"), tmpfs("/new"),
		specs.Mount{Type: "bind", Source: src, Destination: "/bind"}, tmpfs("/bind/below")))
	expect(t, out, "covered:711", "named:705", "new:1777", "bind/below:700")
}

func TestRelativePaths(t *testing.T) {
	dir, bundle := busybox(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(bundle, "file"), []byte("from the bundle\n"), 0o644))
	must(t, os.Rename(dir, filepath.Join(bundle, "root")))
	out, code := output(t, &Launch{Bundle: bundle, Spec: func() *specs.Spec {
		s := docker("cat", "/etc/motd")
		s.Root = &specs.Root{Path: "root"}
		s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: "file", Destination: "etc/motd"})
		return s
	}()})
	if code != 0 || out != "from the bundle\n" {
		t.Errorf("%d: %s", code, out)
	}
}

// TestBlockDevice mounts a file system of a disk.
func TestBlockDevice(t *testing.T) {
	dir := busybox(t)
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o644))
	must(t, os.Truncate(image, 4<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.ext4: %v: %s", err, out)
	}
	out, err := exec.Command("losetup", "-f", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("needs loop devices: %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	defer func() { must(t, exec.Command("losetup", "-d", loop).Run()) }()
	for _, option := range []string{"rw", "ro"} {
		out := shell(t, dir, "touch /disk/x 2>/dev/null && echo writable; grep ' /disk ' /proc/mounts; ls -d /disk/lost+found",
			mounting(specs.Mount{Type: "ext4", Source: loop, Destination: "/disk", Options: []string{option, "noatime", "errors=remount-ro"}}))
		expect(t, out, "/disk/lost+found")
		if strings.Contains(out, "writable") != (option == "rw") || !strings.Contains(out, " ext4 "+option+",noatime") {
			t.Errorf("%s: %s", option, out)
		}
	}
}

func TestProcAndSysRules(t *testing.T) {
	dir, src := busybox(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "meminfo"), []byte("MemTotal: 7 kB\n"), 0o644))
	bind := func(from, to string) specs.Mount {
		return specs.Mount{Type: "bind", Source: from, Destination: to, Options: []string{"rbind"}}
	}
	out := shell(t, dir, "cat /proc/meminfo; ls /sys", func(l *Launch) {
		mounting(bind(src+"/meminfo", "/proc/meminfo"), bind(src, "/sys"))(l)
		l.Spec.Linux.MaskedPaths, l.Spec.Linux.ReadonlyPaths = nil, nil
	})
	expect(t, out, "MemTotal: 7 kB", "meminfo")
	// The host's /proc, as with the host's pid namespace in a user namespace.
	out = shell(t, dir, "readlink /proc/self/ns/pid; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", func(l *Launch) {
		l.Spec.Mounts[0] = bind("/proc", "/proc")
		l.Spec.Linux.Namespaces = l.Spec.Linux.Namespaces[1:]
		l.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "77777"}
	})
	expect(t, out, readlink(t, "/proc/self/ns/pid"), "1", "77777")
	for want, m := range map[string]specs.Mount{
		"mount /proc, which is no proc file system: operation not permitted": bind(src, "/proc"),
		"mount /proc/sys, which is inside /proc: operation not permitted":    bind(src, "/proc/sys"),
	} {
		l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
		mounting(m)(l)
		if p, err := Start(l); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
			if err == nil {
				wait(t, p)
			}
		}
	}
}

// TestRootPropagation looks at the groups of root file systems, and mounts below
// the directory of one while its container runs.
func TestRootPropagation(t *testing.T) {
	for kind, want := range map[string]struct {
		receives bool
		flags    string // of mountinfo's line of the root
	}{
		"": {false, ""}, "private": {false, ""}, "rprivate": {false, ""}, "slave": {true, "master:"}, "rslave": {true, "master:"},
		"shared": {true, "shared:"}, "rshared": {true, "shared:"}, "unbindable": {false, "unbindable"}, "runbindable": {false, "unbindable"},
	} {
		dir := busybox(t)
		must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
		must(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
		spec := docker("sleep", "1000")
		spec.Root = &specs.Root{Path: dir}
		spec.Linux.RootfsPropagation = kind
		p, err := Start(&Launch{Spec: spec})
		if err == nil {
			must(t, unix.Mount("tmpfs", filepath.Join(dir, "tmp"), "tmpfs", 0, ""))
			info, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", p.Pid))
			must(t, readErr)
			if got := strings.Contains(string(info), " / /tmp "); got != want.receives {
				t.Errorf("%q: a new mount is seen: %v", kind, got)
			}
			for line := range strings.Lines(string(info)) {
				if f := strings.Fields(line); f[4] == "/" && !strings.Contains(line, want.flags) || f[4] == "/" && want.flags == "" && f[6] != "-" {
					t.Errorf("%q: %s", kind, line)
				}
			}
			host, readErr := os.ReadFile("/proc/self/mounts")
			must(t, readErr)
			if strings.Contains(string(host), dir+"/proc") {
				t.Errorf("%q: the container's mounts are seen on the host", kind)
			}
			must(t, unix.Unmount(filepath.Join(dir, "tmp"), 0))
			_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
			wait(t, p)
		} else {
			t.Errorf("%q: %v", kind, err)
		}
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
	}
}
