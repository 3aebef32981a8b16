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

// The plugin of Kubernetes is off: it wants directories of the machine.
const containerdConf = `version = 2
root = "%[1]s/containerd"
state = "%[1]s/state-d"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "%[1]s/containerd.sock"
[ttrpc]
  address = "%[1]s/containerd.sock.ttrpc"
`

// containerd is Debian's containerd with its shim, by its command line.
type containerd struct{ *tool }

const busyboxName = "local/busybox:latest"

func newContainerd(t *testing.T) *containerd {
	r := newRoom(t)
	config := r.dir + "/config.toml"
	if err := os.WriteFile(config, []byte(fmt.Sprintf(containerdConf, r.dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &containerd{&tool{r, r.enter("ctr", "--address", r.dir+"/containerd.sock", "--namespace", r.name())}}
	r.daemon(func() bool { return c.run(t, "version").Code == 0 }, "containerd", "--config", config)
	c.ok(t, "image", "import", r.ociArchive(busyboxName))
	t.Cleanup(func() {
		for _, id := range strings.Fields(c.run(t, "container", "ls", "-q").Out) {
			c.run(t, "task", "kill", "-s", "KILL", id)
			c.run(t, "task", "delete", "--force", id)
			c.run(t, "container", "delete", id)
		}
		if left, _ := filepath.Glob(r.dir + "/runc/*/*"); len(left) > 0 {
			t.Errorf("left behind: containers %q", left)
		}
	})
	return c
}

// create are the words of run that all containers share.
func (c *containerd) create(flags ...string) []string {
	return append([]string{"run", "--runc-binary", c.runtime, "--runc-root", c.dir + "/runc", "--cgroup", "/" + c.name() + "/" + engine.Unique("c")}, flags...)
}

func (c *containerd) do(t *testing.T, flags []string, command ...string) *engine.Result {
	t.Helper()
	args := append(c.create(append([]string{"--rm"}, flags...)...), busyboxName, engine.Unique("run"))
	return c.run(t, append(args, command...)...)
}

func (c *containerd) start(t *testing.T, id string, command ...string) {
	t.Helper()
	c.ok(t, append(append(c.create("-d"), busyboxName, id), command...)...)
}

// status waits until a task has it; empty is no task.
func (c *containerd) status(t *testing.T, id, want string) {
	t.Helper()
	engine.Eventually(t, id+" is "+want, func() bool {
		for line := range strings.Lines(c.run(t, "task", "ls").Out) {
			if f := strings.Fields(line); f[0] == id {
				return f[2] == want
			}
		}
		return want == ""
	})
}

func TestContainerd(t *testing.T) {
	c := newContainerd(t)
	v := verbs(t, "containerd")
	v.run("run --rm", func(t *testing.T) {
		if out := c.do(t, nil, "echo", "hello").Must(t); out != "hello" {
			t.Errorf("%q", out)
		}
		if r := c.do(t, nil, "sh", "-c", "exit 7"); r.Code != 7 {
			t.Errorf("exit %d, want 7: %s", r.Code, r.Err)
		}
		if r := c.do(t, nil, "/absent"); r.Code == 0 || !strings.Contains(r.Err, "/absent") {
			t.Errorf("exit %d: %s", r.Code, r.Err)
		}
		c.says(t, "", "container", "ls", "-q")
	})
	containerdOptions(v, c)
	v.run("run -d", func(t *testing.T) {
		c.start(t, "one", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
		c.status(t, "one", "RUNNING")
	})
	v.run("task exec", func(t *testing.T) {
		c.says(t, "in", "task", "exec", "--exec-id", "e1", "one", "echo", "in")
		c.code(t, 9, "task", "exec", "--exec-id", "e2", "one", "sh", "-c", "exit 9")
		c.says(t, "33", "task", "exec", "--exec-id", "e3", "--user", "33", "one", "id", "-u")
		c.says(t, "/etc", "task", "exec", "--exec-id", "e4", "--cwd", "/etc", "one", "pwd")
		if r := c.run(t, "task", "exec", "--exec-id", "e5", "one", "/absent"); r.Code == 0 {
			t.Error("exec of an absent command succeeded")
		}
	})
	v.run("task exec --tty", func(t *testing.T) {
		term := c.terminal(t, "task", "exec", "--tty", "--exec-id", "e6", "one", "sh")
		term.Type("stty size; echo x$((1+2))x\r")
		term.Expect("40 120", 10*time.Second)
		term.Expect("x3x", 10*time.Second)
		term.Type("exit 4\r")
		if code := term.Wait(10 * time.Second); code != 4 {
			t.Errorf("exit %d, want 4", code)
		}
	})
	v.run("task pause, resume", func(t *testing.T) {
		c.ok(t, "task", "pause", "one")
		c.status(t, "one", "PAUSED")
		c.ok(t, "task", "resume", "one")
		c.status(t, "one", "RUNNING")
		c.says(t, "in", "task", "exec", "--exec-id", "e7", "one", "echo", "in")
	})
	v.run("task metrics", func(t *testing.T) {
		out := c.ok(t, "task", "metrics", "one")
		if !strings.Contains(out, "memory.usage") || !strings.Contains(out, "pids.current") {
			t.Error(out)
		}
	})
	v.run("task ps", func(t *testing.T) {
		if out := c.ok(t, "task", "ps", "one"); len(strings.Split(out, "\n")) < 2 {
			t.Error(out)
		}
	})
	v.run("task kill, delete", func(t *testing.T) {
		c.ok(t, "task", "kill", "one")
		c.status(t, "one", "STOPPED")
		if r := c.run(t, "task", "delete", "one"); !strings.Contains(r.Err, "exit code 3") {
			t.Errorf("exit %d: %s", r.Code, r.Err)
		}
		c.status(t, "one", "")
	})
	v.run("task start of a container that has run", func(t *testing.T) {
		c.ok(t, "task", "start", "--detach", "one")
		c.status(t, "one", "RUNNING")
		c.says(t, "in", "task", "exec", "--exec-id", "e8", "one", "echo", "in")
		c.ok(t, "task", "kill", "-s", "KILL", "one")
		c.status(t, "one", "STOPPED")
		if r := c.run(t, "task", "delete", "one"); !strings.Contains(r.Err, "exit code 137") {
			t.Errorf("exit %d: %s", r.Code, r.Err)
		}
	})
	v.run("task kill --all, delete --force", func(t *testing.T) {
		c.ok(t, "container", "delete", "one")
		c.start(t, "two", "sh", "-c", "sleep 1000 & sleep 1000")
		c.ok(t, "task", "kill", "-s", "KILL", "--all", "two")
		c.status(t, "two", "STOPPED")
		c.run(t, "task", "delete", "two")
		c.start(t, "three", "sleep", "1000")
		c.run(t, "task", "delete", "--force", "three")
		c.status(t, "three", "")
		c.ok(t, "container", "delete", "two", "three")
		c.says(t, "", "container", "ls", "-q")
	})
	v.run("task attach", func(t *testing.T) {
		started := c.terminal(t, append(c.create("-d", "--tty"), busyboxName, "four", "sh")...) // it wants a terminal here too
		_ = started.Wait(10 * time.Second)
		term := c.terminal(t, "task", "attach", "four")
		term.Type("echo a$((40+2))b\r")
		term.Expect("a42b", 10*time.Second)
		term.Type("exit 5\r")
		if code := term.Wait(10 * time.Second); code != 5 {
			t.Errorf("exit %d, want 5", code)
		}
		c.status(t, "four", "") // attach deletes it
	})
}

func containerdOptions(v *verbList, c *containerd) {
	for _, o := range []struct{ name, args, command, want string }{
		{"--read-only", "--read-only", "touch /x 2>&1", "touch: /x: Read-only file system"},
		{"--cap-drop", "--cap-drop CAP_CHOWN", "chown 1 /tmp 2>&1", "chown: /tmp: Operation not permitted"},
		{"--seccomp", "--seccomp", "grep Seccomp: /proc/self/status", "Seccomp:\t2"},
		{"--cwd, --env", "--cwd /var --env A=b", "echo $PWD $A", "/var b"},
		{"--mount", "--mount type=bind,src=/etc,dst=/host,options=rbind:ro", "test -e /host/passwd && touch /host/x 2>&1", "touch: /host/x: Read-only file system"},
		{"--net-host", "--net-host", "readlink /proc/self/ns/net", c.must("readlink", "/proc/self/ns/net")},
		{"--privileged", "--privileged", "mount -t tmpfs x /tmp && echo mounted", "mounted"},
		{"--uidmap, --gidmap", "--uidmap 0:100000:65536 --gidmap 0:100000:65536", "echo $(id -u) $(cat /proc/self/uid_map)", "0 0 100000 65536"},
	} {
		v.run("run "+o.name, func(t *testing.T) {
			r := c.do(t, strings.Fields(o.args), "sh", "-c", o.command)
			if out := strings.TrimSpace(r.Out); out != o.want {
				t.Errorf("%q, want %q\n%s", out, o.want, r.Err)
			}
		})
	}
	v.run("run --memory-limit", func(t *testing.T) {
		c.ok(t, append(c.create("-d", "--memory-limit", "67108864"), busyboxName, "limited", "sleep", "1000")...)
		limits, _ := filepath.Glob("/sys/fs/cgroup/memory/" + c.name() + "/*/memory.limit_in_bytes")
		unified, _ := filepath.Glob("/sys/fs/cgroup/" + c.name() + "/*/memory.max")
		found := append(limits, unified...)
		if len(found) != 1 {
			t.Fatalf("groups %q", found)
		}
		if limit, _ := os.ReadFile(found[0]); strings.TrimSpace(string(limit)) != "67108864" {
			t.Errorf("%s: %s", found[0], limit)
		}
		c.ok(t, "task", "kill", "-s", "KILL", "limited")
		c.status(t, "limited", "STOPPED")
		c.run(t, "task", "delete", "limited")
		c.ok(t, "container", "delete", "limited")
	})
	v.run("run --tty", func(t *testing.T) {
		term := engine.OpenTerminal(t, append(append(append([]string{}, c.argv...), c.create("--rm", "--tty")...), busyboxName, "tty", "sh")...)
		term.Type("until stty size 2>/dev/null | grep 120; do usleep 50000; done; tty\r") // the client sends the size after the start
		term.Expect("40 120", 10*time.Second)
		term.Expect("/dev/pts/0", 10*time.Second)
		term.Type("exit 6\r")
		if code := term.Wait(10 * time.Second); code != 6 {
			t.Errorf("exit %d, want 6", code)
		}
	})
}
