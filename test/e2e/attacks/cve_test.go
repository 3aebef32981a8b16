package attacks

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// of is what the host says of its kernel's parameters that an attack would change.
func of(t *testing.T, files ...string) func() {
	t.Helper()
	before := map[string]string{}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			before[f] = string(b)
		}
	}
	return func() {
		t.Helper()
		for f, want := range before {
			if b, err := os.ReadFile(f); err != nil || string(b) != want {
				t.Errorf("%s of the host was %q and is %q, %v", f, want, b, err)
			}
		}
	}
}

const corePattern = "/proc/sys/kernel/core_pattern"

// TestSwappedDevicesUnmaskNothing is CVE-2025-31133: masks that were binds of
// the container's /dev/null, which the image or a neighbour makes a link.
func TestSwappedDevicesUnmaskNothing(t *testing.T) {
	e := start(t)
	check := of(t, corePattern)
	e.Must("run", "--rm", "-v", "devs:/v", "busybox", "sh", "-c", "mkdir -p /v/x; ln -s "+corePattern+" /v/null; ln -s "+corePattern+" /v/link; ln -s "+corePattern+" /v/console")
	e.Must("run", "-d", "--name", "racer", "-v", "devs:/v", "busybox", "/bin/probe", "swap", "/v", "null", "link")
	engine.Eventually(t, "the racer is ready", func() bool { return strings.Contains(e.Must("logs", "racer"), "ready") })
	image(t, e, "nulls", nil, link("dev/null", corePattern), link("dev/zero", "/proc/sysrq-trigger"))
	script := "(for f in kcore timer_list keys; do head -c 1 /proc/$f; done) 2>/dev/null | wc -c; ls /sys/firmware | wc -l; echo x > " + corePattern + " && echo wrote; true"
	for i := range 12 {
		args := []string{"run", "--rm", "-v", "devs:/dev", "busybox"}
		if i%3 == 0 {
			args = []string{"run", "--rm", "nulls"}
		}
		r := e.Hoy(append(args, "sh", "-c", script)...)
		if r.Code == 125 { // the volume's null is not the null device
			continue
		}
		if got := strings.Fields(r.Out); len(got) != 2 || got[0] != "0" || got[1] != "0" {
			t.Errorf("%v: %q %q", args, r.Out, r.Err)
		}
	}
	check()
	e.Must("rm", "-f", "racer")
	alive(t, e)
}

// TestSwappedConsoleIsNotMountedOver is CVE-2025-52565: the terminal bound at a
// /dev/console that leads elsewhere, before the paths there are read-only.
func TestSwappedConsoleIsNotMountedOver(t *testing.T) {
	e := start(t)
	check := of(t, corePattern, "/proc/sys/kernel/hostname")
	e.Must("run", "--rm", "-v", "devs:/v", "busybox", "sh", "-c", "mkdir -p /v/x /v/pts; ln -s "+corePattern+" /v/console; ln -s /proc/sysrq-trigger /v/link")
	e.Must("run", "-d", "--name", "racer", "-v", "devs:/v", "busybox", "/bin/probe", "swap", "/v", "console", "link")
	engine.Eventually(t, "the racer is ready", func() bool { return strings.Contains(e.Must("logs", "racer"), "ready") })
	image(t, e, "console", nil, link("dev/console", corePattern), link("dev/pts", "/proc/sys"), link("dev/ptmx", corePattern))
	for i := range 10 {
		args := []string{"run", "--rm", "-t", "-v", "devs:/dev", "busybox"}
		if i%3 == 0 {
			args = []string{"run", "--rm", "-t", "console"}
		}
		r := e.Hoy(append(args, "sh", "-c", "echo x >"+corePattern+" && echo wrote; echo y >/proc/sysrq-trigger && echo wrote; grep -c ' "+corePattern+" ' /proc/self/mountinfo")...)
		if strings.Contains(r.Out, "wrote") || strings.Contains(r.Out, "\n1") {
			t.Errorf("%v: exit %d, %q %q", args, r.Code, r.Out, r.Err)
		}
	}
	check()
	e.Must("rm", "-f", "racer")
	alive(t, e)
}

// TestOwnProcIsWrittenTo is CVE-2025-52881 and CVE-2019-16884: what the engine
// writes to procfs for a container must not go where the container's /proc leads.
func TestOwnProcIsWrittenTo(t *testing.T) {
	e := start(t)
	check := of(t, "/proc/sys/net/ipv4/ip_unprivileged_port_start", corePattern)
	fake := `mkdir -p /v/self/attr/apparmor /v/thread-self/attr /v/sys/net/ipv4 /v/1 /v/2
		for f in self/oom_score_adj self/attr/exec self/attr/apparmor/exec self/setgroups sys/net/ipv4/ip_unprivileged_port_start; do ln -s /x/trap /v/$f; done
		ln -s /proc/sysrq-trigger /v/kcore; : >/v/trap`
	e.Must("run", "--rm", "-v", "fake:/v", "busybox", "sh", "-c", fake)
	image(t, e, "procvolume", []string{"VOLUME /proc"}, fifo("proc/cpuinfo"), link("proc/sys", "/etc"))
	run := []string{"run", "-d", "--name", "box", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "--oom-score-adj", "500", "-v", "fake:/proc", "-v", "fake:/x", "busybox", "sleep", "1000"}
	if r := e.Hoy(run...); r.Code == 0 {
		e.Hoy("exec", "box", "true")
		if got := e.Must("exec", "box", "sh", "-c", "wc -c </x/trap"); got != "0" {
			t.Errorf("the engine wrote %s bytes where a volume at /proc leads", got)
		}
		pid := e.Must("inspect", "-f", "{{.State.Pid}}", "box")
		if b, err := os.ReadFile("/proc/" + pid + "/oom_score_adj"); err != nil || strings.TrimSpace(string(b)) != "500" {
			t.Errorf("oom_score_adj is %q, %v", b, err)
		}
	} else if r.Code != 125 {
		t.Errorf("a volume at /proc: exit %d, %q", r.Code, r.Err)
	}
	if got := e.Must("run", "--rm", "-v", "fake:/x", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "busybox", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"); got != "77" {
		t.Errorf("the sysctl inside is %q", got)
	}
	for _, script := range []string{"true", "cat /proc/kcore; echo x >/proc/sys/core_pattern"} {
		e.Hoy("run", "--rm", "procvolume", "sh", "-c", script)
	}
	check()
	alive(t, e)
}

// TestNumbersAreNotNames: a user or group that is a number is that number, even
// where the image calls another one so.
func TestNumbersAreNotNames(t *testing.T) {
	e := start(t)
	image(t, e, "numbers", nil,
		reg("etc/passwd", "root:x:0:0::/root:/bin/sh\n1000:x:0:0:root by another name:/root:/bin/sh\nuser:x:1001:1001::/:/bin/sh\n"),
		reg("etc/group", "root:x:0:\n1000:x:0:\ndisk:x:6:1000,user\n"))
	for user, want := range map[string]string{
		"1000": "uid=1000 gid=0", "1000:1000": "uid=1000 gid=1000", "user:1000": "uid=1001 gid=1000", "user": "uid=1001 gid=1001 groups=6",
	} {
		r := e.Hoy("run", "--rm", "-u", user, "numbers", "id")
		got := strings.NewReplacer("(root)", "", "(1000)", "", "(user)", "", "(disk)", "").Replace(r.Out)
		if r.Code != 0 || !strings.HasPrefix(got, want) {
			t.Errorf("-u %s: exit %d, %q %q, want %s", user, r.Code, r.Out, r.Err, want)
		}
	}
	for _, user := range []string{"-1", "4294967295", "99999999999", "0x0", "1000:-1"} {
		if r := e.Hoy("run", "--rm", "-u", user, "numbers", "id"); r.Code == 0 {
			t.Errorf("-u %s: %q", user, r.Out)
		}
	}
}

// TestDeviceNodesOfLayers: an image may hold nodes of any device; none of the
// host's opens, whichever way one comes to them.
func TestDeviceNodesOfLayers(t *testing.T) {
	e := start(t)
	image(t, e, "nodes", nil, char("mem", 1, 1), char("kmsg", 1, 11), char("tun", 10, 200), char("fuse", 10, 229), char("vda", 254, 0), char("tmp/tty", 4, 0))
	out := e.Must("run", "--rm", "nodes", "sh", "-c", "for f in /mem /kmsg /tun /fuse /vda /tmp/tty; do (: <>$f) 2>/dev/null && echo opened $f; done; echo done")
	if out != "done" {
		t.Errorf("a node of an image opens: %q", out)
	}
	if r := e.Hoy("run", "--rm", "--cap-drop", "MKNOD", "nodes", "mknod", "/tmp/n", "c", "1", "3"); r.Code == 0 {
		t.Error("mknod without its capability")
	}
	dst := t.TempDir()
	e.Must("create", "--name", "box", "nodes")
	e.Hoy("cp", "box:/mem", dst+"/mem")
	if st, err := os.Lstat(dst + "/mem"); err == nil && st.Mode()&os.ModeDevice != 0 && st.Mode().Perm()&0o077 != 0 {
		t.Logf("cp made a device node on the host, as docker cp does: %v", st.Mode())
	}
}

// TestWorkdirIsNoDescriptor is CVE-2024-21626 with every number that could be
// a descriptor of the engine's, by the image, by run and by exec.
func TestWorkdirIsNoDescriptor(t *testing.T) {
	e := start(t)
	host := victim(t)
	links := make([]entry, 0, 40)
	for n := range 40 {
		links = append(links, link(fmt.Sprintf("fd%d", n), fmt.Sprintf("/proc/self/fd/%d", n)))
	}
	image(t, e, "fds", nil, links...)
	e.Must("run", "-d", "--name", "box", "fds", "sleep", "1000")
	for n := range 40 {
		for _, dir := range []string{fmt.Sprintf("/fd%d", n), fmt.Sprintf("/proc/self/fd/%d/../../../../../../../..", n), fmt.Sprintf("/proc/thread-self/fd/%d", n)} {
			r := e.Hoy("exec", "-w", dir, "box", "cat", "."+host+"/secret", "../../../.."+host+"/secret")
			if n%5 == 0 {
				s := e.Hoy("run", "--rm", "-w", dir, "fds", "cat", "."+host+"/secret", "../../../.."+host+"/secret")
				r.Out += s.Out
			}
			if strings.Contains(r.Out, "of the host") {
				t.Fatalf("-w %s led to the host", dir)
			}
		}
	}
}
