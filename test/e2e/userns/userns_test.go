// Package userns_test runs containers whose users are not the host's.
package userns_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

// remapped is an engine on which a container's users are ids of its range.
func remapped(t *testing.T) (e *engine.Engine, first int) {
	t.Helper()
	const base = 0x70000000 + 65536*3000
	e = engine.Start(t, "--userns-remap", "default", "--userns-range", fmt.Sprintf("%d:%d", base, 65536*8))
	e.Busybox()
	first, _ = strconv.Atoi(strings.Fields(e.Must("run", "--rm", "busybox", "cat", "/proc/self/uid_map"))[1])
	if first < 65536 {
		t.Fatalf("the first id on the host is %d", first)
	}
	return e, first
}

func plain(t *testing.T) *engine.Engine {
	t.Helper()
	e := engine.Start(t)
	e.Busybox()
	return e
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// inside runs a script and compares what it says.
func inside(t *testing.T, e *engine.Engine, flags, script, want string) {
	t.Helper()
	args := append(append([]string{"run", "--rm"}, strings.Fields(flags)...), "busybox", "sh", "-c", script)
	if got := e.Must(args...); got != want {
		t.Errorf("run %s: %s\ngot  %q\nwant %q", flags, script, got, want)
	}
}

func TestRemappedFromInside(t *testing.T) {
	e, _ := remapped(t)
	for _, c := range []struct{ name, flags, script, want string }{
		{"root", "", "id -u; stat -c %u:%g / /etc/passwd /etc/hosts /etc/hostname /etc/resolv.conf /dev/null /dev/shm", "0\n0:0\n0:0\n0:0\n0:0\n0:0\n0:0\n0:0"},
		{"capabilities", "", "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb"},
		{"hosts is writable", "", "echo 1.2.3.4 other >>/etc/hosts && echo x >/etc/hostname && echo yes", "yes"},
		{"user", "-u 1000:1000", "id -u; touch /tmp/x && stat -c %u:%g /tmp/x", "1000\n1000:1000"},
		{"package managers", "", "mkdir -p /opt/p && touch /opt/p/f && chown -R 42:65533 /opt/p && stat -c %u:%g /opt/p/f && chmod 4755 /opt/p/f && stat -c %a /opt/p/f", "42:65533\n4755"},
		{"low ports", "-u 1000", "(nc -l -p 80 </dev/null >/dev/null & sleep 0.1; kill $!) && echo bound", "bound"},
		{"ping", "", "ping -c1 -W2 127.0.0.1 >/dev/null && echo pong", "pong"},
		{"sysctl", "--sysctl net.ipv4.ip_forward=1 --sysctl net.ipv4.conf.all.forwarding=1", "cat /proc/sys/net/ipv4/ip_forward", "1"},
		{"network is its own", "--cap-add NET_ADMIN", "ip link add d type dummy 2>/dev/null || ip addr add 10.9.8.7/32 dev lo; ip addr show lo | grep -c 10.9.8.7", "1"},
		{"sysfs", "", "ls /sys/class/net | tr '\\n' ' '", "eth0 lo "},
		{"tmpfs", "--tmpfs /t:uid=1000,mode=700", "stat -c %u:%g:%a /t", "1000:0:700"},
		{"init", "--init", "cat /proc/1/comm", "docker-init"},
		{"mqueue", "", "stat -c %u /dev/mqueue", "0"},
		{"ulimit", "--ulimit nofile=100:200", "ulimit -n; ulimit -Hn", "100\n200"},
		{"read-only", "--read-only", "touch /x 2>/dev/null || echo refused", "refused"},
		{"the host's users", "--userns=host", "cat /proc/self/uid_map | tr -s ' '", " 0 0 4294967295"},
		{"privileged with the host's users", "--userns=host --privileged", "mount -t tmpfs t /tmp && echo mounted", "mounted"},
		{"the host's IPC", "--ipc host", "test -d /dev/shm && echo there", "there"},
		{"terminal", "-t", "stat -Lc %u /proc/self/fd/0", "0\r"},
		{"terminal of a user", "-t -u 1000", "stat -Lc %u /proc/self/fd/0; echo x >/dev/tty && echo y", "1000\r\nx\r\ny\r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside(t, e, c.flags, c.script, c.want)
		})
	}
}

// TestSetuid: a set-id program of an image gives the container's root, no other.
func TestSetuid(t *testing.T) {
	e, first := remapped(t)
	e.Must("create", "--name", "made", "busybox", "busybox", "chmod", "4755", "/setid")
	e.Must("cp", engine.Bin(t, "hoy-run"), "made:/setid")
	e.Must("start", "-a", "made")
	e.Must("commit", "made", "setid")
	e.Must("run", "-d", "--name", "box", "-u", "1000", "setid", "/setid", "reap", "--", "sleep", "1000")
	status, err := os.ReadFile("/proc/" + e.Must("inspect", "-f", "{{.State.Pid}}", "box") + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", first+1000, first, first, first); !strings.Contains(string(status), want) {
		t.Errorf("no %q:\n%s", want, status)
	}
	e.Must("rm", "-f", "box", "made")
}

func TestRemappedFromOutside(t *testing.T) {
	e, first := remapped(t)
	e.Must("run", "-d", "--name", "box", "-u", "1000", "-v", "vol:/vol", "busybox", "sleep", "1000")
	pid := e.Must("inspect", "-f", "{{.State.Pid}}", "box")
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Uid:\t%d\t", first+1000); !strings.Contains(string(status), want) {
		t.Errorf("no %q:\n%s", want, status)
	}
	if got := e.Must("exec", "box", "id", "-u"); got != "1000" {
		t.Errorf("exec: %s", got)
	}
	if got := e.Must("exec", "-u", "0", "box", "sh", "-c", "id -u; touch /vol/root; chown 7:8 /vol/root; stat -c %u:%g /vol/root"); got != "0\n7:8" {
		t.Errorf("exec as root: %q", got)
	}
	if got := owner(t, e.Dir+"/data/volumes/vol/_data/root"); got != "7:8" {
		t.Errorf("the volume's file belongs to %s on disk", got)
	}
	// The volume is of use to a container with the host's users, and back.
	inside(t, e, "--userns=host -v vol:/vol", "stat -c %u:%g /vol/root; touch /vol/host; chown 5 /vol/host", "7:8")
	inside(t, e, "-v vol:/vol", "stat -c %u:%g /vol/host", "5:0")
	if top := e.Must("top", "box", "-o", "pid,uid,comm"); !strings.Contains(top, strconv.Itoa(first+1000)) {
		t.Errorf("top: %s", top)
	}
	if info := e.Must("info", "-f", "{{.SecurityOptions}}"); !strings.Contains(info, "name=userns") {
		t.Errorf("info: %s", info)
	}
	e.Must("stats", "--no-stream", "box")
	e.Must("rm", "-f", "box")
}

// TestFilesKeepTheirOwners copies in and out, running and not, commits and exports.
func TestFilesKeepTheirOwners(t *testing.T) {
	e, _ := remapped(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "in")
	if err := os.WriteFile(file, []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 33, 34); err != nil {
		t.Fatal(err)
	}
	e.Must("run", "-d", "--name", "box", "-v", "vol:/v", "busybox", "sh", "-c", "mkdir -p /a/b; touch /a/b/f; chown -R 21:22 /a; rm /etc/group; sleep 1000")
	engine.Eventually(t, "the files are there", func() bool { return e.Hoy("exec", "box", "test", "!", "-e", "/etc/group").Code == 0 })
	for _, state := range []string{"running", "stopped"} {
		e.Must("cp", file, "box:/a/"+state)
		e.Must("cp", "-a", file, "box:/v/"+state) // archive mode: the container's user
		out := filepath.Join(dir, state)
		e.Must("cp", "-a", "box:/a", out)
		for name, want := range map[string]string{"b/f": "21:22", state: "33:34"} {
			if got := owner(t, filepath.Join(out, name)); got != want {
				t.Errorf("%s: %s came out as %s, want %s", state, name, got, want)
			}
		}
		list := filepath.Join(dir, state+".tar")
		e.Must("export", "-o", list, "box")
		tar := engine.Run(t, "", "tar", "--numeric-owner", "-tvf", list, "a/b/f", "a/"+state).Must(t)
		if !strings.Contains(tar, " 21/22 ") || !strings.Contains(tar, " 33/34 ") {
			t.Errorf("%s: export:\n%s", state, tar)
		}
		diff := e.Must("diff", "box")
		if !strings.Contains(diff, "A /a/b/f") || !strings.Contains(diff, "D /etc/group") {
			t.Errorf("%s: diff:\n%s", state, diff)
		}
		e.Must("commit", "box", "image-"+state)
		for _, users := range []string{"", "--userns=host"} {
			args := append(append([]string{"run", "--rm"}, strings.Fields(users)...), "image-"+state, "stat", "-c", "%u:%g", "/a/b/f", "/a/"+state, "/bin/busybox")
			if got := e.Must(args...); got != "21:22\n33:34\n0:0" {
				t.Errorf("%s: committed, run with %q: %q", state, users, got)
			}
		}
		if state == "running" {
			e.Must("stop", "-t", "0", "box")
		}
	}
	e.Must("start", "box")
	if got := e.Must("exec", "box", "stat", "-c", "%u:%g %s", "/v/running", "/v/stopped"); got != "0:0 4\n0:0 4" {
		t.Errorf("after all: %q", got)
	}
	e.Must("cp", file, "box:/tmp/x")
	if err := os.Chown(file, 3000000, 0); err != nil {
		t.Fatal(err)
	}
	e.Hoy("cp", file, "box:/tmp/y").Refused(t, 1, "owner 3000000:0 is not in the user namespace")
	e.Must("rm", "-f", "box")
}

func TestSharedNamespaces(t *testing.T) {
	e, _ := remapped(t)
	e.Must("run", "-d", "--name", "aa", "--ipc", "shareable", "busybox", "sh", "-c", "touch /dev/shm/of-a; sleep 1000")
	engine.Eventually(t, "a runs", func() bool { return e.Hoy("exec", "aa", "test", "-e", "/dev/shm/of-a").Code == 0 })
	ns := func(args ...string) string { return e.Must(append(args, "readlink", "/proc/self/ns/user")...) }
	want := ns("exec", "aa")
	for _, flags := range []string{"--network container:aa", "--ipc container:aa", "--pid container:aa", "--network container:aa --ipc container:aa --pid container:aa"} {
		args := append([]string{"run", "--rm"}, strings.Fields(flags)...)
		if got := ns(append(args, "busybox")...); got != want {
			t.Errorf("%s: user namespace %s, want %s", flags, got, want)
		}
	}
	inside(t, e, "--ipc container:aa", "stat -c %u /dev/shm/of-a; ls /sys/class/net | tr '\\n' ' '; ping -c1 -W2 127.0.0.1 >/dev/null && echo pong", "0\neth0 lo pong")
	e.Must("run", "-d", "--name", "hh", "--userns", "host", "busybox", "sleep", "1000")
	e.Hoy("run", "--rm", "--network", "container:hh", "busybox", "true").Refused(t, 125, "use --userns=host")
	e.Must("run", "--rm", "--userns=host", "--network", "container:aa", "busybox", "true")
	e.Must("run", "-d", "--name", "pp", "--userns", "private", "busybox", "sleep", "1000")
	e.Hoy("run", "--rm", "--network", "container:aa", "--pid", "container:pp", "busybox", "true").Refused(t, 125, "different user namespaces")
	e.Must("rm", "-f", "aa", "hh", "pp")
}

func TestRefusals(t *testing.T) {
	e, _ := remapped(t)
	for flags, want := range map[string]string{
		"--privileged":               "privileged mode is incompatible with user namespaces.",
		"--network host":             "cannot share the host's network namespace when user namespaces are enabled",
		"--pid host":                 "cannot share the host PID namespace when user namespaces are enabled",
		"-u 70000":                   "user 70000 is not in the user namespace's mappings",
		"--group-add 70000":          "additional group 70000 is not in the user namespace's mappings",
		"--tmpfs /t:uid=70000":       "uid=70000 is not in the user namespace's mappings",
		"-v /proc:/p:idmap":          "map ids of mount /p: /proc on proc: its file system cannot map ids on this kernel",
		"--userns=nonsense":          "invalid USER mode",
		"--userns=private -u 65536":  "user 65536 is not in",
		"--userns=auto --privileged": "privileged mode is incompatible",
	} {
		args := append(append([]string{"run", "--rm"}, strings.Fields(flags)...), "busybox", "true")
		e.Hoy(args...).Refused(t, 125, want)
	}
}

func TestEscapes(t *testing.T) {
	e, first := remapped(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is to be entered by others
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o1777); err != nil { //nolint:gosec // it is to be written by others
		t.Fatal(err)
	}
	flags := "-v " + dir + ":/d --cap-add SYS_ADMIN --cap-add MKNOD --security-opt seccomp=unconfined"
	for _, c := range []struct{ name, script, want string }{
		{"read", "cat /d/secret 2>&1", "cat: can't open '/d/secret': Permission denied"},
		{"write", "echo x 2>/dev/null >/d/secret || echo refused", "refused"},
		{"replace", "rm -f /d/secret 2>&1", "rm: can't remove '/d/secret': Permission denied"},
		{"own", "chown 0 /d/secret 2>&1", "chown: /d/secret: Operation not permitted"},
		{"device", "mknod /tmp/sda b 8 0 2>&1", "mknod: /tmp/sda: Operation not permitted"},
		{"device on the host", "mknod /d/open/sda b 8 0 2>&1", "mknod: /d/open/sda: Operation not permitted"},
		{"kernel's settings", "echo x 2>/dev/null >/proc/sys/kernel/core_pattern || echo refused", "refused"},
		{"trace of the host", "ls /proc/1/root/proc/1/exe >/dev/null; nsenter -t 1 -u hostname x 2>&1 | head -c 0; hostname evil; hostname", "evil"},
		{"remount writable", "mount -o remount,rw /sys 2>/dev/null || echo refused", "refused"},
		{"clock", "date -s 2001-01-01 2>&1 >/dev/null", "date: can't set date: Operation not permitted"},
		{"module", "insmod /bin/busybox 2>/dev/null || echo refused", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside(t, e, flags, c.script+"; true", c.want)
		})
	}
	// A set-id file left on the host gives an id that no user has.
	inside(t, e, flags, "cp /bin/busybox /d/open/su && chmod 4755 /d/open/su && echo left", "left")
	if got, want := owner(t, open+"/su"), fmt.Sprintf("%d:%d", first, first); got != want {
		t.Errorf("the file that root left on the host belongs to %s, want %s", got, want)
	}
	host, _ := os.Hostname()
	if host == "evil" {
		t.Error("the host has the container's name")
	}
}

func TestBindWithMappedIDs(t *testing.T) {
	e, first := remapped(t)
	dir := t.TempDir()
	inside(t, e, "-v "+dir+":/d:idmap", "touch /d/root; touch /d/user; chown 1000 /d/user; stat -c %u /d", "0")
	inside(t, e, "--mount type=bind,src="+dir+",dst=/d,idmap", "stat -c %u /d/root /d/user", "0\n1000")
	inside(t, e, "--mount type=bind,src="+dir+",dst=/d", "stat -c %u /d/root /d/user", "65534\n65534")
	inside(t, e, "--userns=host -v "+dir+":/d:ro,idmap", "stat -c %u /d/user", "1000")
	if a, b := owner(t, dir+"/root"), owner(t, dir+"/user"); a != "0:0" || b != "1000:0" {
		t.Errorf("on the host: %s and %s", a, b)
	}
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o777); err != nil { //nolint:gosec // it is to be written by others
		t.Fatal(err)
	}
	inside(t, e, "-v "+shared+":/d", "touch /d/x", "")
	if got, want := owner(t, shared+"/x"), fmt.Sprintf("%d:%d", first, first); got != want {
		t.Errorf("on the host: %s, want %s", got, want)
	}
}

// TestPrivate: each container has ids that no other has, through restarts of all kinds.
func TestPrivate(t *testing.T) {
	e := plain(t)
	first := func(name string) string {
		return strings.Join(strings.Fields(e.Must("exec", name, "cat", "/proc/self/uid_map")), " ")
	}
	maps := map[string]string{}
	for _, mode := range []string{"private", "auto"} {
		e.Must("run", "-d", "--name", mode, "--userns", mode, "-v", "shared:/s", "busybox", "sleep", "1000")
		if other, taken := maps[first(mode)]; taken {
			t.Errorf("%s and %s have the same ids", mode, other)
		}
		maps[first(mode)] = mode
		e.Must("exec", mode, "sh", "-c", "touch /s/"+mode+" && chown 12 /s/"+mode)
	}
	if got := e.Must("exec", "auto", "stat", "-c", "%u", "/s/private", "/s/auto"); got != "12\n12" {
		t.Errorf("files in a volume of two: %q", got)
	}
	inside(t, e, "-v shared:/s", "cat /proc/self/uid_map | tr -s ' '; stat -c %u /s/private", " 0 0 4294967295\n12")
	before := first("private")
	e.Must("restart", "-t", "0", "private")
	if now := first("private"); now != before {
		t.Errorf("ids after a restart: %s, before %s", now, before)
	}
	e.Kill()
	e.Up()
	if now := first("auto"); maps[now] != "auto" {
		t.Errorf("ids after the daemon was killed: %s of %v", now, maps)
	}
	e.Must("run", "-d", "--name", "third", "--userns", "private", "busybox", "sleep", "1000")
	if other, taken := maps[first("third")]; taken {
		t.Errorf("after a restart of the daemon, a new container has the ids of %s", other)
	}
	if info := e.Must("info", "-f", "{{.SecurityOptions}}"); strings.Contains(info, "userns") {
		t.Errorf("info: %s", info)
	}
	e.Must("rm", "-f", "private", "auto", "third")
	e.Check()
}

func TestNoIDsLeft(t *testing.T) {
	e := engine.Start(t, "--userns-range", "1900000000:131072")
	e.Busybox()
	e.Must("create", "--name", "aa", "--userns", "private", "busybox", "true")
	e.Must("create", "--name", "bb", "--userns", "private", "busybox", "true")
	e.Hoy("create", "--userns", "private", "busybox", "true").Refused(t, 1, "no ids are left for a user namespace")
	e.Must("rm", "aa")
	e.Must("run", "--rm", "--userns", "private", "busybox", "true")
}
