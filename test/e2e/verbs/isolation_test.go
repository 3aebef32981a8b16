package verbs

import (
	"os"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// TestLimitsAndIsolation looks from inside at what each flag promises.
func TestLimitsAndIsolation(t *testing.T) {
	e := start(t)
	for _, c := range []struct{ name, flags, script, want string }{
		{"pid 1", "", "echo $$; ls /proc | grep -c '^[0-9]'", "1\n3"},
		{"default capabilities", "", "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb"},
		{"cap-drop", "--cap-drop ALL", "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"},
		{"cap-add", "--cap-drop ALL --cap-add NET_ADMIN", "grep CapEff /proc/self/status", "CapEff:\t0000000000001000"},
		{"no capability for a user", "-u 1000", "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"},
		{"seccomp", "", "grep '^Seccomp:' /proc/self/status", "Seccomp:\t2"},
		{"seccomp unconfined", "--security-opt seccomp=unconfined", "grep '^Seccomp:' /proc/self/status", "Seccomp:\t0"},
		{"no new privileges", "--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"},
		{"read-only root", "--read-only", "touch /x 2>&1; echo $?", "touch: /x: Read-only file system\n1"},
		{"tmpfs", "--tmpfs /scratch:size=1m", "dd if=/dev/zero of=/scratch/f bs=1M count=2 2>/dev/null; stat -c %s /scratch/f", "1048576"},
		{"shm size", "--shm-size 2m", "free >/dev/null; stat -f -c '%b %s' /dev/shm", "512 4096"},
		{"masked", "", "cat /proc/kcore | wc -c; ls /proc/acpi 2>/dev/null | wc -l", "0\n0"},
		{"sysfs read-only", "", "grep ' /sys sysfs ro' /proc/mounts | wc -l", "1"},
		{"proc/sys read-only", "", "echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused", "refused"},
		{"sysctl", "--sysctl net.ipv4.ip_forward=0 --sysctl kernel.msgmax=9000", "cat /proc/sys/kernel/msgmax", "9000"},
		{"ulimit", "--ulimit nofile=123:456", "ulimit -n; ulimit -Hn", "123\n456"},
		{"devices", "", "ls /dev | grep -v core | tr '\\n' ' ' | sed 's/ $//'", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"},
		{"device", "--device /dev/loop-control:/dev/lc:r", "test -c /dev/lc && echo there", "there"},
		{"host's /dev", "-v /dev:/dev -t", "tty | cut -c 1-9; test -c /dev/console && echo console; echo x >/dev/null && echo null", "/dev/pts/\r\nconsole\r\nnull\r"},
		{"no device node of one's own", "", "mknod /tmp/sda b 8 0 && cat /tmp/sda 2>&1 | head -c 60", "cat: can't open '/tmp/sda': Operation not permitted"},
		{"no mount", "", "mount -t tmpfs t /tmp 2>&1; true", "mount: permission denied (are you root?)"},
		{"hostname and uts", "-h box --domainname example.test", "hostname", "box"},
		{"privileged", "--privileged", "mount -t tmpfs t /tmp && echo mounted; grep '^Seccomp:' /proc/self/status", "mounted\nSeccomp:\t0"},
		{"init", "--init", "cat /proc/1/comm", "docker-init"},
		{"group-add", "-u 33 --group-add 1000 --group-add nogroup", "id -G", "33 1000 65534"},
		{"entrypoint", "--entrypoint /bin/echo", "x", "-c x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"run", "--rm"}, strings.Fields(c.flags)...)
			if c.name == "entrypoint" {
				args = append(args, "busybox", "-c", c.script)
			} else {
				args = append(args, "busybox", "sh", "-c", c.script)
			}
			if got := e.Must(args...); got != c.want {
				t.Errorf("%s\ngot  %q\nwant %q", strings.Join(args, " "), got, c.want)
			}
		})
	}
}

func TestCgroupLimits(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "lim", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "20", "busybox", "sleep", "1000")
	read := func(controller, file string) string {
		path := "/sys/fs/cgroup/" + controller + "/" + e.Name + "/" + e.Must("inspect", "-f", "{{.Id}}", "lim") + "/" + file
		b, err := os.ReadFile(path)
		if err != nil {
			t.Skipf("%v: this check knows the layout of cgroup v1 only", err)
		}
		return strings.TrimSpace(string(b))
	}
	want := func(controller, file, value string) {
		t.Helper()
		if got := read(controller, file); got != value {
			t.Errorf("%s %s is %s, want %s", controller, file, got, value)
		}
	}
	want("memory", "memory.limit_in_bytes", "67108864")
	want("cpu", "cpu.cfs_quota_us", "50000")
	want("pids", "pids.max", "20")
	e.Must("update", "--memory", "96m", "--memory-swap", "96m", "--cpus", "0.25", "lim")
	want("memory", "memory.limit_in_bytes", "100663296")
	want("cpu", "cpu.cfs_quota_us", "25000")
	r := e.Hoy("run", "--name", "oom", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1")
	if r.Code != 137 {
		t.Errorf("a container over its memory limit ended with %d: %s", r.Code, r.Err)
	}
	if got := e.Must("inspect", "-f", "{{.State.OOMKilled}}", "oom"); got != "true" {
		t.Errorf("OOMKilled is %s", got)
	}
	if r := e.Hoy("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"); !strings.Contains(r.Err, "fork") {
		t.Errorf("nine processes with a limit of five: %q", r.Err)
	}
}

func TestNamespacesOfOthers(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "one", "--ipc", "shareable", "busybox", "sleep", "1000")
	ns := func(kind string, flags ...string) string {
		return e.Must(append(append([]string{"run", "--rm"}, flags...), "busybox", "readlink", "/proc/self/ns/"+kind)...)
	}
	own := func(kind string) string { return e.Must("exec", "one", "readlink", "/proc/self/ns/"+kind) }
	host := func(kind string) string {
		l, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for kind, flag := range map[string]string{"net": "--network", "pid": "--pid", "ipc": "--ipc"} {
		if got := ns(kind, flag, "container:one"); got != own(kind) {
			t.Errorf("%s container:a is in %s, a in %s", flag, got, own(kind))
		}
		if got := ns(kind, flag, "host"); got != host(kind) {
			t.Errorf("%s host is in %s, the host in %s", flag, got, host(kind))
		}
		if got := ns(kind); got == host(kind) || got == own(kind) {
			t.Errorf("a container without %s shares its %s namespace", flag, kind)
		}
	}
	e.Hoy("run", "--rm", "--network", "container:none", "busybox", "true").Refused(t, 125, "o such container: none")
}

func TestVolumesAndBinds(t *testing.T) {
	e := start(t)
	e.Must("volume", "create", "--label", "k=v", "data")
	e.Must("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/f")
	if got := e.Must("run", "--rm", "-v", "data:/d:ro", "busybox", "sh", "-c", "cat /d/f; touch /d/x 2>&1; true"); got != "kept\ntouch: /d/x: Read-only file system" {
		t.Errorf("the volume shows %q", got)
	}
	// What the image has at the target is copied into a new volume.
	if got := e.Must("run", "--rm", "-v", "fresh:/etc", "busybox", "grep", "-c", "www", "/etc/passwd"); got != "1" {
		t.Errorf("copy-up: %q", got)
	}
	if got := e.Must("run", "--rm", "-v", "fresh2:/etc:nocopy", "busybox", "sh", "-c", "test -e /etc/passwd || echo empty"); got != "empty" {
		t.Errorf("nocopy: %q", got)
	}
	e.Must("create", "--name", "holder", "-v", "data:/d", "-v", "/anon", "busybox", "true")
	if got := e.Must("run", "--rm", "--volumes-from", "holder", "busybox", "cat", "/d/f"); got != "kept" {
		t.Errorf("volumes-from: %q", got)
	}
	e.Hoy("volume", "rm", "data").Refused(t, 1, "volume is in use")
	e.Hoy("volume", "rm", "nosuch").Refused(t, 1, "no such volume")
	e.Hoy("volume", "inspect", "nosuch").Refused(t, 1, "o such volume")
	e.Hoy("volume", "create", "../up").Refused(t, 1, "includes invalid characters")
	before := strings.Count(e.Must("volume", "ls", "-q"), "\n")
	e.Must("rm", "-v", "holder")
	if after := strings.Count(e.Must("volume", "ls", "-q"), "\n"); after != before-1 {
		t.Errorf("rm -v took %d volumes, want the anonymous one alone", before-after)
	}
	dir := t.TempDir()
	e.Must("run", "--rm", "-v", dir+":/host", "busybox", "sh", "-c", "echo in > /host/f")
	if b, err := os.ReadFile(dir + "/f"); err != nil || string(b) != "in\n" {
		t.Errorf("the bind mount shows %q, %v", b, err)
	}
	if got := e.Must("run", "--rm", "--mount", "type=bind,src="+dir+",dst=/host,readonly", "busybox", "sh", "-c", "touch /host/g 2>/dev/null || echo ro"); got != "ro" {
		t.Errorf("a read-only bind: %q", got)
	}
	e.Must("volume", "rm", "data", "fresh", "fresh2")
	e.Must("volume", "prune", "-f")
	if got := e.Must("volume", "ls", "-q"); got != "" {
		t.Errorf("volumes left: %q", got)
	}
}

// TestLinksInTheImageDoNotLeadOut mounts over links that an image planted.
func TestLinksInTheImageDoNotLeadOut(t *testing.T) {
	e := start(t)
	dir := t.TempDir()
	e.Must("run", "--name", "evil", "busybox", "sh", "-c", "ln -s "+dir+" /out; ln -s / /top; ln -s ../../../../../.."+dir+" /climb")
	e.Must("commit", "evil", "evil")
	for _, target := range []string{"/out/x", "/top/y", "/climb/z"} {
		e.Must("run", "--rm", "-v", "/usr/share:"+target+":ro", "evil", "true")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("mount points were made outside: %v, %v", entries, err)
	}
}

func TestCgroupParentOfAContainer(t *testing.T) {
	e := start(t)
	base := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(base); err != nil {
		base = "/sys/fs/cgroup"
	}
	parent := "/" + e.Name + "-own/deep"
	e.Must("run", "-d", "--name", "own", "--cgroup-parent", parent, "--pids-limit", "21", "busybox", "sleep", "1000")
	dir := base + parent + "/" + e.Must("inspect", "-f", "{{.Id}}", "own")
	if b, err := os.ReadFile(dir + "/pids.max"); err != nil || strings.TrimSpace(string(b)) != "21" {
		t.Errorf("pids.max below the parent: %q, %v", b, err)
	}
	e.Must("update", "--pids-limit", "22", "own")
	if b, _ := os.ReadFile(dir + "/pids.max"); strings.TrimSpace(string(b)) != "22" {
		t.Errorf("after update: %q", b)
	}
	e.Must("run", "--rm", "--cgroup-parent", parent, "busybox", "true")
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the end of one container took another's group: %v", err)
	}
	e.Must("rm", "-f", "own")
	if _, err := os.Stat(base + "/" + e.Name + "-own"); err == nil {
		t.Error("the parents made for a container stay after it")
	}
	if r := e.Hoy("run", "--rm", "--cgroup-parent", "/..", "busybox", "true"); !strings.Contains(r.Err, "cgroup parent must be below /") {
		t.Errorf("a parent of /..: %q", r.Err)
	}
}

func TestCgroupNamespace(t *testing.T) {
	e := start(t)
	own := func(flags ...string) string {
		return e.Must(append(append([]string{"run", "--rm"}, flags...), "busybox", "grep", "-c", e.Name, "/proc/self/cgroup")...)
	}
	if got := own("--cgroupns", "host"); got == "0" {
		t.Errorf("with the host's namespace a container does not see its group's name")
	}
	if r := e.Hoy("run", "--rm", "--cgroupns", "private", "busybox", "grep", "-c", e.Name, "/proc/self/cgroup"); strings.TrimSpace(r.Out) != "0" {
		t.Errorf("with a private namespace a container sees the host's names: %q", r.Out)
	}
	want := map[bool]string{true: "host", false: "private"}
	if got := e.Must("inspect", "-f", "{{.HostConfig.CgroupnsMode}}", e.Must("create", "busybox")); got != want[e.Must("info", "-f", "{{.CgroupVersion}}") == "1"] {
		t.Errorf("the default is %s", got)
	}
}

// TestRefusedUpdate asks for less memory than is used, which the kernel of version 1 refuses.
func TestRefusedUpdate(t *testing.T) {
	e := start(t)
	if e.Must("info", "-f", "{{.CgroupVersion}}") != "1" {
		t.Skip("version 2 does not refuse a limit below what is used")
	}
	e.Must("run", "-d", "--name", "big", "--memory", "128m", "--pids-limit", "50", "busybox", "sh", "-c", "head -c 60000000 /dev/zero | tail & sleep 1000")
	engine.Eventually(t, "memory is used", func() bool {
		b, _ := os.ReadFile("/sys/fs/cgroup/memory/" + e.Name + "/" + e.Must("inspect", "-f", "{{.Id}}", "big") + "/memory.usage_in_bytes")
		return len(strings.TrimSpace(string(b))) > 7 && string(b) > "2"
	})
	r := e.Hoy("update", "--memory", "8m", "--memory-swap", "8m", "--pids-limit", "60", "big")
	if !strings.Contains(r.Err, "unable to set memory limit to 8388608 (current usage:") {
		t.Errorf("a limit below what is used: %q %q", r.Out, r.Err)
	}
	if got := e.Must("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "big"); got != "134217728 50" {
		t.Errorf("after the refusal: %s", got)
	}
}
