package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// The limits of open files and processes are given, as podman's own defaults
// need a capability that a machine may lack.
const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "tested"
infra_image = "localhost/pause"
tmp_dir = "%[1]s/tmp"
static_dir = "%[1]s/root/libpod"
volume_path = "%[1]s/root/volumes"
[engine.runtimes]
tested = ["%[1]s/runtime"]
[network]
network_config_dir = "%[1]s/networks"
`

const storageConf = `[storage]
driver = "overlay"
runroot = "%[1]s/run"
graphroot = "%[1]s/root"
`

// containersConf writes the configuration that podman and buildah share.
func (b *box) containersConf() (env []string) {
	b.tb.Helper()
	for name, text := range map[string]string{
		"CONTAINERS_CONF": podmanConf, "CONTAINERS_STORAGE_CONF": storageConf, "CONTAINERS_REGISTRIES_CONF": "unqualified-search-registries = []\n",
	} {
		path := filepath.Join(b.dir, name)
		if strings.Contains(text, "%") {
			text = fmt.Sprintf(text, b.dir)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.tb.Fatal(err)
		}
		env = append(env, name+"="+path)
	}
	return env
}

// podman is Debian's podman with the tested runtime and an image "bb".
type podman struct{ *tool }

func newPodman(t *testing.T) *podman {
	r := newRoom(t)
	env := append([]string{"env"}, r.containersConf()...)
	p := &podman{&tool{r, r.enter(append(env, "podman")...)}}
	t.Cleanup(func() {
		p.run(t, "pod", "rm", "--all", "--force", "--time", "0")
		p.run(t, "rm", "--all", "--force", "--time", "0")
	})
	tar := r.rootfs()
	p.ok(t, "import", "-q", "-c", `CMD ["sh"]`, "-c", "ENV PATH=/bin", tar, "bb")
	return p
}

// group are the flags that keep a container's cgroup below the room's.
func (p *podman) group() string { return "--cgroup-parent=/" + p.name() }

// do runs a container to its end.
func (p *podman) do(t *testing.T, args ...string) *engine.Result {
	t.Helper()
	return p.run(t, append([]string{"run", "--rm", p.group(), "--network=none"}, args...)...)
}

// start runs a container in the background.
func (p *podman) start(t *testing.T, name string, args ...string) {
	t.Helper()
	p.ok(t, append([]string{"run", "-d", "--name", name, p.group(), "--stop-timeout=1"}, args...)...)
}

func (p *podman) state(t *testing.T, name, want string) {
	t.Helper()
	p.eventually(t, want, "inspect", "-f", "{{.State.Status}}", name)
}

func TestPodman(t *testing.T) {
	p := newPodman(t)
	v := verbs(t, "podman")
	v.run("run --rm", func(t *testing.T) {
		if out := p.do(t, "bb", "echo", "hello").Must(t); out != "hello" {
			t.Errorf("%q", out)
		}
		if r := p.do(t, "bb", "sh", "-c", "exit 7"); r.Code != 7 {
			t.Errorf("exit %d, want 7: %s", r.Code, r.Err)
		}
		p.do(t, "bb", "/absent").Refused(t, 127, "no such file")
		p.do(t, "bb", "/etc/passwd").Refused(t, 126, "ermission denied")
	})
	v.run("run -d, inspect, ps", func(t *testing.T) {
		p.start(t, "one", "bb", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo started; while :; do sleep 0.05; done")
		p.state(t, "one", "running")
		p.says(t, "tested", "inspect", "-f", "{{.OCIRuntime}}", "one")
		p.says(t, "one", "ps", "--format", "{{.Names}}")
		pid := p.ok(t, "inspect", "-f", "{{.State.Pid}}", "one")
		p.says(t, fmt.Sprintf("[%s]", pid), "ps", "--format", "[{{.Pid}}]")
	})
	v.run("logs", func(t *testing.T) { p.eventually(t, "started", "logs", "one") })
	podmanExec(v, p)
	v.run("pause, unpause", func(t *testing.T) {
		p.ok(t, "pause", "one")
		p.state(t, "one", "paused")
		if r := p.run(t, "exec", "one", "true"); r.Code == 0 {
			t.Error("exec into a paused container")
		}
		p.ok(t, "unpause", "one")
		p.state(t, "one", "running")
		p.ok(t, "exec", "one", "true")
	})
	v.run("stats", func(t *testing.T) {
		out := p.ok(t, "stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one")
		if !strings.HasPrefix(out, "one ") || strings.HasSuffix(out, " 0") {
			t.Errorf("%q", out)
		}
	})
	v.run("top", func(t *testing.T) {
		if out := p.ok(t, "top", "one", "pid", "args"); !strings.Contains(out, "while :") {
			t.Error(out)
		}
	})
	v.run("stop, start, restart", func(t *testing.T) {
		p.ok(t, "stop", "-t", "5", "one")
		p.says(t, "exited 3", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "one")
		p.ok(t, "start", "one")
		p.state(t, "one", "running")
		before := p.ok(t, "inspect", "-f", "{{.State.Pid}}", "one")
		p.ok(t, "restart", "one")
		p.state(t, "one", "running")
		if before == p.ok(t, "inspect", "-f", "{{.State.Pid}}", "one") {
			t.Error("the same process after a restart")
		}
	})
	v.run("kill, wait", func(t *testing.T) {
		p.ok(t, "kill", "-s", "KILL", "one")
		p.says(t, "137", "wait", "one")
		p.state(t, "one", "exited")
	})
	v.run("rm", func(t *testing.T) {
		p.ok(t, "rm", "one")
		p.start(t, "two", "bb", "sleep", "1000")
		p.ok(t, "rm", "-f", "-t", "0", "two")
		p.says(t, "", "ps", "-a", "-q")
	})
	v.run("attach", func(t *testing.T) {
		p.start(t, "three", "-it", "bb", "sh")
		term := p.terminal(t, "attach", "three")
		term.Type("echo a$((40+2))b; tty\r")
		term.Expect("a42b", 10*time.Second)
		term.Expect("/dev/pts/0", 10*time.Second)
		term.Type("exit 5\r")
		_ = term.Wait(10 * time.Second) // podman does not wait for the code itself
		p.says(t, "5", "wait", "three")
		p.ok(t, "rm", "three")
	})
	podmanOptions(v, p)
	podmanUsers(v, p)
}

func podmanExec(v *verbList, p *podman) {
	v.run("exec", func(t *testing.T) {
		p.says(t, "in", "exec", "one", "echo", "in")
		p.code(t, 9, "exec", "one", "sh", "-c", "exit 9")
		p.code(t, 127, "exec", "one", "/absent")
		p.says(t, "33 /etc v", "exec", "-u", "33", "-w", "/etc", "-e", "K=v", "one", "sh", "-c", `echo $(id -u) $(pwd) $K`)
		out := engine.Run(t, "typed\n", append(append([]string{}, p.argv...), "exec", "-i", "one", "cat")...).Must(t)
		if out != "typed" {
			t.Errorf("exec -i: %q", out)
		}
		p.ok(t, "exec", "-d", "one", "touch", "/tmp/detached")
		engine.Eventually(t, "the detached command has run", func() bool { return p.run(t, "exec", "one", "test", "-e", "/tmp/detached").Code == 0 })
	})
	v.run("exec -t", func(t *testing.T) {
		term := p.terminal(t, "exec", "-it", "one", "sh")
		term.Type("stty size; echo x$((1+2))x\r")
		term.Expect("40 120", 10*time.Second)
		term.Expect("x3x", 10*time.Second)
		term.Type("exit 4\r")
		if code := term.Wait(10 * time.Second); code != 4 {
			t.Errorf("exit %d, want 4", code)
		}
	})
}

// podmanOptions are flags of run, each with what is seen inside.
func podmanOptions(v *verbList, p *podman) {
	source := p.path("source")
	_ = os.WriteFile(source+"/file", []byte("bound\n"), 0o644)
	const effective = "grep CapEff /proc/self/status"
	for _, c := range []struct{ name, args, command, want string }{
		{"--init", "--init", "cat /proc/1/cmdline | head -c 13", "/run/podman-i"},
		{"--read-only", "--read-only", "touch /x 2>&1; touch /tmp/x && echo tmp", "touch: /x: Read-only file system\ntmp"},
		{"--cap-drop", "--cap-drop=all", effective, "CapEff:\t0000000000000000"},
		{"--cap-add", "--cap-drop=all --cap-add=net_raw", effective, "CapEff:\t0000000000002000"},
		{"--privileged", "--privileged", "mount -t tmpfs x /tmp && echo mounted", "mounted"},
		{"--user", "--user=33:1000 --group-add=7", "id -u; id -g; id -G", "33\n1000\n1000 7"},
		{"--tmpfs", "--tmpfs=/data:size=65536k,mode=700", "stat -c %a /data; grep -c ' /data tmpfs' /proc/mounts", "700\n1"},
		{"-v", "-v " + source + ":/data:ro", "cat /data/file; touch /data/x 2>&1", "bound\ntouch: /data/x: Read-only file system"},
		{"--memory", "--memory=64m", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max", "67108864"},
		{"--pids-limit", "--pids-limit=50", "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max", "50"},
		{"--cpus", "--cpus=0.5", "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max", "50000"},
		{"--ulimit", "--ulimit=nofile=100:200 --ulimit=nproc=1000:1000", "ulimit -n; ulimit -Hn", "100\n200"},
		{"--hostname", "--hostname=named", "hostname", "named"},
		{"--sysctl", "--sysctl=net.ipv4.ip_unprivileged_port_start=99", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "99"},
		{"--device", "--device=/dev/full:/dev/mine", "stat -c '%t %T' /dev/mine", "1 7"},
		{"--shm-size", "--shm-size=1m", "grep -c 'shm.*size=1024k' /proc/mounts", "1"},
		{"--security-opt no-new-privileges", "--security-opt=no-new-privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"},
		{"--workdir, --env", "-w /var -e A=b", "echo $PWD $A", "/var b"},
		{"--pid host", "--pid=host", "test -d /proc/" + fmt.Sprint(os.Getpid()) + " && echo seen", "seen"},
		{"--ipc host, --uts host", "--ipc=host --uts=host", "readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts", ownNamespaces("ipc", "uts")},
		{"masked and read-only paths", "", "cat /proc/keys | wc -c; grep -c ' /proc/sys proc ro' /proc/mounts; grep Seccomp: /proc/self/status", "0\n1\nSeccomp:\t2"},
	} {
		v.run("run "+c.name, func(t *testing.T) {
			got := p.do(t, append(strings.Fields(c.args), "bb", "sh", "-c", c.command)...)
			if out := strings.Trim(got.Out, "\n\x00"); out != c.want {
				t.Errorf("%q, want %q\n%s", out, c.want, got.Err)
			}
		})
	}
	v.run("run -t", func(t *testing.T) {
		term := p.terminal(t, "run", "--rm", "-it", p.group(), "bb", "sh")
		term.Type("stty size; tty\r")
		term.Expect("40 120", 10*time.Second)
		term.Expect("/dev/pts/0", 10*time.Second)
		term.Resize(30, 90)
		term.Type("until stty size | grep '3[0] 90'; do usleep 50000; done\r")
		term.Expect("30 90", 10*time.Second)
		term.Type("exit\r")
		_ = term.Wait(10 * time.Second)
	})
	v.run("run --network bridge", func(t *testing.T) {
		out := p.ok(t, "run", "--rm", p.group(), "bb", "ip", "-4", "addr", "show", "eth0")
		if !strings.Contains(out, "10.88.") {
			t.Error(out)
		}
	})
	v.run("healthcheck run", func(t *testing.T) {
		p.start(t, "healthy", "--health-cmd=test -e /tmp/well", "--health-interval=disable", "bb", "sleep", "1000")
		p.code(t, 1, "healthcheck", "run", "healthy")
		p.ok(t, "exec", "healthy", "touch", "/tmp/well")
		p.ok(t, "healthcheck", "run", "healthy")
	})
	v.run("update", func(t *testing.T) {
		p.ok(t, "update", "--memory=32m", "healthy")
		p.says(t, "33554432", "exec", "healthy", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
		p.ok(t, "rm", "-f", "-t", "0", "healthy")
	})
}

func ownNamespaces(kinds ...string) string {
	var links []string
	for _, k := range kinds {
		link, _ := os.Readlink("/proc/self/ns/" + k)
		links = append(links, link)
	}
	return strings.Join(links, "\n")
}

func podmanUsers(v *verbList, p *podman) {
	v.run("run --uidmap, --gidmap", func(t *testing.T) {
		maps := []string{"--uidmap=0:100000:65536", "--gidmap=0:200000:65536"}
		out := p.do(t, append(maps, "bb", "sh", "-c", "id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/mine && stat -c %u:%g /tmp/mine /bin/busybox")...).Must(t)
		if got := strings.Join(strings.Fields(out), " "); got != "0 0 100000 65536 0 200000 65536 0:0 0:0" {
			t.Error(got)
		}
		p.start(t, "mapped", append(maps, "bb", "sleep", "1000")...)
		p.says(t, "0 100000 65536", "exec", "mapped", "sh", "-c", "echo $(cat /proc/self/uid_map)")
		p.ok(t, "rm", "-f", "-t", "0", "mapped")
	})
	v.run("run --userns auto", func(t *testing.T) {
		ids := p.dir + "/ids" // those of podman's user "containers", in this room alone
		if err := os.WriteFile(ids, []byte("containers:300000:262144\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		p.must("mount", "--bind", ids, "/etc/subuid")
		p.must("mount", "--bind", ids, "/etc/subgid")
		out := p.do(t, "--userns=auto:size=1000", "bb", "sh", "-c", "echo $(id -u) $(cat /proc/self/uid_map); touch /made").Must(t)
		if f := strings.Fields(out); len(f) != 4 || f[0] != "0" || f[1] != "0" || f[2] < "300000" || f[3] != "1000" {
			t.Error(out)
		}
	})
}
