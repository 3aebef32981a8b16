package conformance

import (
	"slices"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

func TestPodmanPod(t *testing.T) {
	p := newPodman(t)
	v := verbs(t, "podman pod")
	// The infra container's process waits for its signal, as the usual pause program does.
	p.ok(t, "import", "-q", "-c", `ENTRYPOINT ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]`, "-c", "ENV PATH=/bin", p.dir+"/rootfs.tar", "localhost/pause")
	in := func(t *testing.T, name, command string) string {
		t.Helper()
		return strings.TrimSpace(p.ok(t, "exec", name, "sh", "-c", command))
	}
	v.run("pod create, run --pod", func(t *testing.T) {
		p.ok(t, "pod", "create", "--name", "pod", "--hostname", "podhost", p.group())
		for _, name := range []string{"a", "b"} {
			p.ok(t, "run", "-d", "--name", name, "--pod", "pod", "--stop-timeout=1", "bb", "sleep", "1000")
		}
		p.says(t, "Running 3", "pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}")
		p.says(t, "tested", "inspect", "-f", "{{.OCIRuntime}}", "a")
	})
	v.run("shared namespaces", func(t *testing.T) {
		for _, kind := range []string{"net", "ipc", "uts"} {
			link := "readlink /proc/self/ns/" + kind
			if a, b := in(t, "a", link), in(t, "b", link); a != b || a == ownNamespaces(kind) {
				t.Errorf("%s: %s and %s, the host has %s", kind, a, b, ownNamespaces(kind))
			}
		}
		for _, kind := range []string{"mnt", "pid"} {
			link := "readlink /proc/self/ns/" + kind
			if a, b := in(t, "a", link), in(t, "b", link); a == b {
				t.Errorf("%s is shared", kind)
			}
		}
		if got := in(t, "a", "hostname"); got != "podhost" {
			t.Errorf("hostname %q", got)
		}
	})
	v.run("exec across loopback and /dev/shm", func(t *testing.T) {
		in(t, "a", "mkdir /www; echo page > /www/index.html; httpd -p 127.0.0.1:8080 -h /www")
		engine.Eventually(t, "a's server answers b", func() bool {
			return strings.TrimSpace(p.run(t, "exec", "b", "wget", "-q", "-O-", "http://127.0.0.1:8080/").Out) == "page"
		})
		in(t, "a", "echo shared > /dev/shm/word")
		if got := in(t, "b", "cat /dev/shm/word"); got != "shared" {
			t.Errorf("/dev/shm: %q", got)
		}
	})
	v.run("pod pause, unpause", func(t *testing.T) {
		p.ok(t, "pod", "pause", "pod")
		p.state(t, "a", "paused")
		p.state(t, "b", "paused")
		p.ok(t, "pod", "unpause", "pod")
		p.state(t, "b", "running")
	})
	v.run("pod stats", func(t *testing.T) {
		if out := p.ok(t, "pod", "stats", "--no-stream", "--format", "{{.Name}}", "pod"); !slices.Contains(strings.Fields(out), "a") || !slices.Contains(strings.Fields(out), "b") {
			t.Error(out)
		}
	})
	v.run("pod top", func(t *testing.T) {
		if out := p.ok(t, "pod", "top", "pod", "args"); strings.Count(out, "sleep 1000") < 2 {
			t.Error(out)
		}
	})
	v.run("pod stop, start, restart", func(t *testing.T) {
		p.ok(t, "pod", "stop", "-t", "1", "pod")
		p.state(t, "a", "exited")
		p.ok(t, "pod", "start", "pod")
		p.state(t, "a", "running")
		before := p.ok(t, "inspect", "-f", "{{.State.Pid}}", "b")
		p.ok(t, "pod", "restart", "pod")
		p.state(t, "b", "running")
		if before == p.ok(t, "inspect", "-f", "{{.State.Pid}}", "b") {
			t.Error("the same process after a restart")
		}
	})
	v.run("one container's restart keeps the namespaces", func(t *testing.T) {
		before := in(t, "a", "readlink /proc/self/ns/net")
		p.ok(t, "restart", "-t", "0", "a")
		p.state(t, "a", "running")
		if after := in(t, "a", "readlink /proc/self/ns/net"); after != before || after != in(t, "b", "readlink /proc/self/ns/net") {
			t.Errorf("%s, before %s", after, before)
		}
	})
	v.run("pod --share pid", func(t *testing.T) {
		p.ok(t, "pod", "create", "--name", "procs", "--share", "pid,net", p.group())
		p.ok(t, "run", "-d", "--name", "c", "--pod", "procs", "bb", "sleep", "1001")
		if out := p.ok(t, "run", "--rm", "--pod", "procs", "bb", "ps"); !strings.Contains(out, "sleep 1001") {
			t.Error(out)
		}
		p.ok(t, "pod", "rm", "-f", "-t", "0", "procs")
	})
	v.run("pod kill", func(t *testing.T) {
		p.ok(t, "pod", "kill", "pod")
		p.state(t, "a", "exited")
		p.says(t, "137", "inspect", "-f", "{{.State.ExitCode}}", "b")
	})
	v.run("pod rm", func(t *testing.T) {
		p.ok(t, "pod", "rm", "-f", "-t", "0", "pod")
		p.says(t, "", "ps", "-a", "-q")
	})
}
