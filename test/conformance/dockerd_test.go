package conformance

import (
	"os"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// dockerd is Debian's dockerd with the tested runtime as its default.
type dockerd struct{ *tool }

func newDockerd(t *testing.T) *dockerd {
	r := newRoom(t)
	host := "unix://" + r.dir + "/docker.sock"
	d := &dockerd{&tool{r, r.enter("env", "DOCKER_CONFIG="+r.dir+"/config", "docker", "-H", host)}}
	r.must("mount", "-t", "tmpfs", "tmpfs", "/etc/docker") // its key
	config := r.dir + "/daemon.json"                       // not the machine's
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.daemon(func() bool { return d.run(t, "version").Code == 0 }, "dockerd", "-H", host,
		"--data-root", r.dir+"/data", "--exec-root", r.dir+"/exec", "--pidfile", r.dir+"/pid", "--config-file", config,
		"--add-runtime", "tested="+r.runtime, "--default-runtime", "tested", "--cgroup-parent", "/"+r.name(), "--bip", "10.77.0.1/24")
	d.ok(t, "import", "-c", `CMD ["sh"]`, "-c", "ENV PATH=/bin", r.rootfs(), "bb")
	t.Cleanup(func() {
		if ids := strings.Fields(d.run(t, "ps", "-aq").Out); len(ids) > 0 {
			d.ok(t, append([]string{"rm", "-f"}, ids...)...)
		}
	})
	return d
}

func TestDockerd(t *testing.T) {
	d := newDockerd(t)
	v := verbs(t, "dockerd")
	v.run("run --rm", func(t *testing.T) {
		d.says(t, "hello", "run", "--rm", "bb", "echo", "hello")
		d.code(t, 7, "run", "--rm", "bb", "sh", "-c", "exit 7")
		d.code(t, 127, "run", "--rm", "bb", "/absent")
		d.code(t, 126, "run", "--rm", "bb", "/etc/passwd")
		d.says(t, "Seccomp:\t2", "run", "--rm", "bb", "grep", "Seccomp:", "/proc/self/status")
		if out := d.ok(t, "run", "--rm", "bb", "ip", "-4", "addr", "show", "eth0"); !strings.Contains(out, "10.77.0.") {
			t.Error(out)
		}
	})
	v.run("run -d, inspect", func(t *testing.T) {
		d.ok(t, "run", "-d", "--name", "one", "--memory=64m", "--pids-limit=50", "bb", "sh", "-c", "trap 'exit 3' TERM; echo started; while :; do sleep 0.05; done")
		d.says(t, "running tested", "inspect", "-f", "{{.State.Status}} {{.HostConfig.Runtime}}", "one")
		d.says(t, "50", "exec", "one", "sh", "-c", "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max")
	})
	v.run("logs", func(t *testing.T) { d.eventually(t, "started", "logs", "one") })
	v.run("exec", func(t *testing.T) {
		d.says(t, "in", "exec", "one", "echo", "in")
		d.code(t, 9, "exec", "one", "sh", "-c", "exit 9")
		d.code(t, 126, "exec", "one", "/absent") // as of this version with any runtime
		d.says(t, "33 /etc v", "exec", "-u", "33", "-w", "/etc", "-e", "K=v", "one", "sh", "-c", `echo $(id -u) $(pwd) $K`)
	})
	v.run("exec -t", func(t *testing.T) {
		term := d.terminal(t, "exec", "-it", "one", "sh")
		term.Type("until stty size 2>/dev/null | grep 120; do usleep 50000; done; echo x$((1+2))x\r")
		term.Expect("40 120", 10*time.Second)
		term.Expect("x3x", 10*time.Second)
		term.Type("exit 4\r")
		if code := term.Wait(10 * time.Second); code != 4 {
			t.Errorf("exit %d, want 4", code)
		}
	})
	v.run("pause, unpause", func(t *testing.T) {
		d.ok(t, "pause", "one")
		d.says(t, "paused", "inspect", "-f", "{{.State.Status}}", "one")
		d.ok(t, "unpause", "one")
		d.ok(t, "exec", "one", "true")
	})
	v.run("stats, top", func(t *testing.T) {
		if out := d.ok(t, "stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one"); !strings.HasPrefix(out, "one ") || strings.HasSuffix(out, " 0") {
			t.Error(out)
		}
		if out := d.ok(t, "top", "one"); !strings.Contains(out, "while :") {
			t.Error(out)
		}
	})
	v.run("update", func(t *testing.T) {
		d.ok(t, "update", "--memory=32m", "--memory-swap=64m", "one")
		d.says(t, "33554432", "exec", "one", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
	})
	v.run("attach, run -t", func(t *testing.T) {
		d.ok(t, "run", "-dit", "--name", "two", "bb", "sh")
		term := d.terminal(t, "attach", "two")
		term.Type("echo a$((40+2))b; tty\r")
		term.Expect("a42b", 10*time.Second)
		term.Expect("/dev/pts/0", 10*time.Second)
		term.Type("exit 5\r")
		if code := term.Wait(10 * time.Second); code != 5 {
			t.Errorf("exit %d, want 5", code)
		}
	})
	v.run("stop, start, restart, kill", func(t *testing.T) {
		d.ok(t, "stop", "-t", "5", "one")
		d.says(t, "exited 3", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "one")
		d.ok(t, "start", "one")
		d.ok(t, "restart", "-t", "5", "one")
		d.says(t, "running", "inspect", "-f", "{{.State.Status}}", "one")
		d.ok(t, "kill", "one")
		d.says(t, "137", "wait", "one")
	})
	v.run("rm", func(t *testing.T) {
		d.ok(t, "rm", "one", "two")
		d.ok(t, "run", "-d", "--name", "three", "bb", "sleep", "1000")
		d.ok(t, "rm", "-f", "three")
		d.says(t, "", "ps", "-aq")
	})
}

func TestBuildah(t *testing.T) {
	r := newRoom(t)
	env := append([]string{"env"}, r.containersConf()...)
	b := &tool{r, r.enter(append(env, "buildah", "--cgroup-manager", "cgroupfs")...)}
	v := verbs(t, "buildah")
	tar := r.rootfs()
	b.ok(t, "from", "--name", "work", "scratch")
	t.Cleanup(func() { b.run(t, "rm", "--all"); b.run(t, "umount", "--all") })
	b.ok(t, "add", "-q", "work", tar, "/")
	run := []string{"run", "--runtime", r.runtime, "--cap-drop=CAP_SYS_RESOURCE"}
	v.run("run", func(t *testing.T) {
		b.says(t, "hello", append(run, "work", "--", "/bin/echo", "hello")...)
		b.code(t, 9, append(run, "work", "--", "/bin/sh", "-c", "exit 9")...)
		b.says(t, "33", append(run, "--user", "33", "work", "--", "/bin/id", "-u")...)
		b.ok(t, append(run, "work", "--", "/bin/touch", "/made")...)
		b.ok(t, append(run, "work", "--", "/bin/ls", "/made")...)
	})
	v.run("run --isolation oci, bud", func(t *testing.T) {
		file := r.dir + "/Containerfile"
		engine.Run(t, "FROM scratch\nADD rootfs.tar /\nRUN [\"/bin/sh\", \"-c\", \"PATH=/bin; echo built > /made\"]\n", "tee", file).Must(t)
		b.ok(t, "bud", "-q", "--runtime", r.runtime, "--isolation", "oci", "-f", file, "-t", "made", r.dir)
		b.ok(t, "from", "-q", "--name", "check", "made")
		b.says(t, "built", append(run, "check", "--", "/bin/cat", "/made")...)
	})
}
