// Package clients uses the engine through the programs that speak Docker's API:
// the docker command lines, docker-compose, the Python library.
package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

func TestDockerCommandLines(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	e.EachClient(t, func(t *testing.T, c *engine.Client) {
		n := "n" + c.Name
		if out := c.Must("run", "--rm", "busybox", "echo", "hello"); out != "hello" {
			t.Errorf("run: %q", out)
		}
		c.Run("run", "--rm", "busybox", "sh", "-c", "exit 17").Refused(t, 17, "")
		c.Run("run", "--rm", "busybox", "nosuch").Refused(t, 127, "executable file not found")
		c.Must("run", "-d", "--name", n, "-p", "80", "-v", n+":/data", "busybox", "sleep", "1000")
		for _, args := range [][]string{
			{"ps"}, {"inspect", n}, {"top", n}, {"stats", "--no-stream", n}, {"logs", n}, {"port", n}, {"diff", n},
			{"exec", n, "true"}, {"pause", n}, {"unpause", n}, {"update", "--memory", "64m", "--memory-swap", "64m", n},
			{"restart", "-t", "0", n}, {"images"}, {"history", "busybox"}, {"volume", "ls"}, {"network", "ls"},
			{"info"}, {"version"}, {"system", "df"}, {"system", "df", "-v"}, {"stop", "-t", "0", n}, {"start", n}, {"rm", "-f", n}, {"volume", "rm", n},
		} {
			c.Must(args...)
		}
	})
}

func TestComposeOfDebian(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	dir := filepath.Join(e.Dir, "project")
	file := "version: '2.4'\nservices:\n  web:\n    image: busybox\n    network_mode: bridge\n    command: [sh, -c, 'echo composed > /index.html; exec httpd -f -p 80 -h /']\n    ports: ['80']\n" +
		"    volumes: ['data:/data']\n    mem_limit: 64m\nvolumes:\n  data: {}\n"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	compose := func(args ...string) *engine.Result {
		return engine.Run(t, "", append([]string{"docker-compose", "-H", e.Host, "--project-directory", dir, "-f", filepath.Join(dir, "docker-compose.yml")}, args...)...)
	}
	compose("up", "-d").Must(t)
	if out := compose("ps").Must(t); !strings.Contains(out, "Up") {
		t.Errorf("compose ps:\n%s", out)
	}
	if out := compose("exec", "-T", "web", "cat", "/index.html").Must(t); out != "composed" {
		t.Errorf("compose exec: %q", out)
	}
	compose("logs").Must(t)
	compose("down", "-v", "-t", "0").Must(t)
	if left := e.Must("ps", "-aq") + e.Must("volume", "ls", "-q"); left != "" {
		t.Errorf("compose down left %q", left)
	}
}

const python = `
import docker, sys, tarfile, io
c = docker.DockerClient(base_url=sys.argv[1])
assert c.ping()
assert c.version()["ApiVersion"] == "1.55"
assert c.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
w = c.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"], detach=True, name="py", mem_limit="64m", labels={"a": "b"})
w.reload()
assert w.status == "running", w.status
code, out = w.exec_run(["sh", "-c", "echo in; exit 4"])
assert (code, out) == (4, b"in\n"), (code, out)
s = w.stats(stream=False)
assert s["memory_stats"]["limit"] == 64 << 20, s["memory_stats"]
buf = io.BytesIO()
t = tarfile.open(fileobj=buf, mode="w")
i = tarfile.TarInfo("f"); i.size = 3
t.addfile(i, io.BytesIO(b"abc")); t.close()
assert w.put_archive("/tmp", buf.getvalue())
bits, st = w.get_archive("/tmp/f")
assert st["size"] == 3, st
data = b"".join(bits)
assert tarfile.open(fileobj=io.BytesIO(data)).extractfile("f").read() == b"abc"
assert b"out\n" in w.logs() and b"err\n" in w.logs()
assert [x.name for x in c.containers.list(filters={"label": "a=b"})] == ["py"]
img = w.commit(repository="py", tag="1")
assert img.tags == ["py:1"], img.tags
w.stop(timeout=0)
assert w.wait()["StatusCode"] == 137
w.remove(v=True)
v = c.volumes.create("pyvol"); v.remove()
try:
    c.containers.get("nosuch"); raise SystemExit("no error for an unknown container")
except docker.errors.NotFound: pass
try:
    c.images.get("nosuch"); raise SystemExit("no error for an unknown image")
except docker.errors.ImageNotFound: pass
c.images.remove("py:1")
print("all well")
`

func TestPythonLibraryOfDebian(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	r := engine.Run(t, python, "/usr/bin/python3", "-", e.Host)
	if r.Code != 0 || strings.TrimSpace(r.Out) != "all well" {
		t.Errorf("exit %d: %s %s", r.Code, r.Out, r.Err)
	}
}
