package runtime

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
)

var nodes = []specs.LinuxDevice{
	{Path: "/dev/mine/null", Type: "c", Major: 1, Minor: 3, FileMode: ptr(os.FileMode(0o640)), UID: ptr(uint32(7)), GID: ptr(uint32(8))},
	{Path: "/opt/deep/zero", Type: "u", Major: 1, Minor: 5},
	{Path: "/dev/pipe", Type: "p", FileMode: ptr(os.FileMode(0o622)), Major: 9, Minor: 9},
	{Path: "/dev/loop77", Type: "b", Major: 7, Minor: 77, FileMode: ptr(os.FileMode(0o600))},
}

const showNodes = `for f in /dev/mine/null /opt/deep/zero /dev/pipe /dev/loop77 /dev/tty; do stat -c %n:%a:%u:%g:%t:%T:%F $f; done
	head -c 3 /opt/deep/zero | wc -c; echo x >/dev/mine/null && echo null; for l in fd ptmx core; do readlink /dev/$l; done`

var shownNodes = []string{
	"/dev/mine/null:640:7:8:1:3:character special file", "/opt/deep/zero:666:0:0:1:5:character special file",
	"/dev/pipe:622:0:0:0:0:fifo", "/dev/loop77:600:0:0:7:4d:block special file", "/dev/tty:666:0:0:5:0:character special file",
	"3", "null", "/proc/self/fd", "pts/ptmx", "/proc/kcore",
}

func TestDevices(t *testing.T) {
	dir := busybox(t)
	must(t, os.Chmod(dir, 0o755))
	noDev := func(l *Launch) { l.Spec.Mounts = append(l.Spec.Mounts[:1:1], l.Spec.Mounts[3]) }
	for name, change := range map[string]func(*Launch){
		"fresh /dev":       func(*Launch) {},
		"the image's /dev": noDev,
		"user namespace":   func(l *Launch) { mapped(l.Spec) },
		"user namespace with the image's /dev": func(l *Launch) {
			noDev(l)
			mapped(l.Spec)
			l.Rootfs = ownedBy(t, l.Rootfs, 100000, 200000)
		},
	} {
		out := shell(t, dir, showNodes, func(l *Launch) { l.Spec.Linux.Devices = nodes; change(l) })
		for _, want := range shownNodes {
			if !strings.Contains("\n"+out, "\n"+want+"\n") {
				t.Errorf("%s: no line %q in:\n%s", name, want, out)
			}
		}
	}
}

// ownedBy gives the upper directory of an overlay to somebody.
func ownedBy(t *testing.T, list []RootMount, uid, gid int) []RootMount {
	t.Helper()
	for _, o := range list[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			must(t, os.Chown(dir, uid, gid))
			must(t, os.Mkdir(filepath.Join(dir, "dev"), 0o755))
			must(t, os.Chown(filepath.Join(dir, "dev"), uid, gid))
		}
	}
	return list
}

// TestDevicesWithoutMknod binds the host's nodes.
func TestDevicesWithoutMknod(t *testing.T) {
	dir := busybox(t)
	real := become.OwnCapabilities
	defer func() { become.OwnCapabilities = real }()
	become.OwnCapabilities = func() (become.Capabilities, error) {
		c, err := real()
		c.Permitted &^= 1 << unix.CAP_MKNOD
		return c, err
	}
	for _, mounts := range []int{2, 1} {
		out := shell(t, dir, "stat -c %n:%t:%T /dev/null /dev/urandom /dev/kmsg; grep -c ' /dev/' /proc/self/mountinfo", func(l *Launch) {
			l.Spec.Mounts = l.Spec.Mounts[:mounts]
			l.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}}
		})
		expect(t, out, "/dev/null:1:3", "/dev/urandom:1:9", "/dev/kmsg:1:b", "7")
	}
	l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
	l.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/nosuch", Type: "c", Major: 1, Minor: 3}}
	if _, err := Start(l); err == nil || !strings.HasPrefix(err.Error(), "bind device /dev/nosuch: no such file") {
		t.Error(err)
	}
}

// TestHostileDev: an image's /dev leads nowhere else, and what is in the place
// of a device is not taken for one.
func TestHostileDev(t *testing.T) {
	for what, c := range map[string]struct {
		make func(dev string) error
		want string
	}{
		"file":         {func(dev string) error { return os.WriteFile(dev+"/null", nil, 0o644) }, "make device /dev/null: file exists"},
		"other device": {func(dev string) error { return unix.Mknod(dev+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }, "make device /dev/null: file exists"},
		"same device":  {func(dev string) error { return unix.Mknod(dev+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, ""},
		"link":         {func(dev string) error { return os.Symlink("/proc/self/fd/4", dev+"/null") }, "make device /dev/null: too many levels"},
		"magic link":   {func(dev string) error { return os.Symlink("/proc/self/root", dev+"/mine") }, "make device /dev/mine/null: too many levels"},
	} {
		dir := busybox(t)
		must(t, c.make(filepath.Join(dir, "dev")))
		l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
		l.Spec.Mounts = l.Spec.Mounts[:1]
		l.Spec.Linux.Devices = nodes
		p, err := Start(l)
		if err == nil {
			wait(t, p)
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
}

// TestHostDev has the host's /dev inside, as "-v /dev:/dev" does: it stays as it
// is, and a terminal is one of the host's.
func TestHostDev(t *testing.T) {
	dir := busybox(t)
	before, err := os.ReadDir("/dev")
	must(t, err)
	l := &Launch{Spec: docker("sh", "-c", "tty; test -c /dev/console && echo console; ls -d /dev/pts/ptmx; echo x >/dev/null && echo null; test -e /dev/mine || echo none"), Rootfs: overlayOn(t, dir)}
	l.Spec.Mounts = []specs.Mount{l.Spec.Mounts[0], {Type: "bind", Source: "/dev", Destination: "/dev", Options: []string{"rbind", "rprivate"}}}
	l.Spec.Linux.Devices, l.Spec.Process.Terminal = nodes, true
	p, err := Start(l)
	must(t, err)
	out, _ := io.ReadAll(p.Console)
	p.Console.Close()
	text := strings.ReplaceAll(string(out), "\r", "")
	if code := wait(t, p); code != 0 || !strings.HasPrefix(text, "/dev/pts/") {
		t.Errorf("%d: %s", code, text)
	}
	expect(t, text, "console", "/dev/pts/ptmx", "null", "none")
	after, err := os.ReadDir("/dev")
	must(t, err)
	for _, e := range after {
		if len(after) != len(before) && e.Name() == "mine" {
			t.Errorf("the host has /dev/mine")
		}
	}
}
