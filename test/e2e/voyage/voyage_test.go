// Package voyage sails the whole way once: a Debian root file system becomes an
// image, a person installs a web server in it at a terminal, the result is
// committed, published, pushed, removed, pulled, and runs again.
package voyage

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

func TestVoyage(t *testing.T) {
	if testing.Short() {
		t.Skip("short: installs packages in containers, minutes long")
	}
	e := engine.Start(t)
	rootfs := debian(t, e.Dir)
	registry := engine.Registry(t, e.Dir)
	var first *outcomes
	e.EachClient(t, func(t *testing.T, c *engine.Client) {
		t.Logf("client: %s", c.Version())
		v := &voyage{
			t: t, c: c, base: "debian-" + c.Name, site: "site-" + c.Name, remote: registry + "/site-" + c.Name + ":1",
			seen: outcomes{client: c.Name},
		}
		v.importImage(rootfs)
		v.installAtATerminal()
		v.commit()
		v.serve()
		v.look()
		v.push()
		v.pullAgain()
		if first == nil {
			first = &v.seen
		}
		v.seen.mustEqual(t, first)
	})
}

// debian makes a minimal Debian root file system, once.
func debian(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "debian.tar")
	out, err := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", path).CombinedOutput()
	if err != nil {
		t.Fatalf("mmdebstrap: %v: %s", err, out)
	}
	return path
}

type voyage struct {
	t                  *testing.T
	c                  *engine.Client
	base, site, remote string
	digest             string
	seen               outcomes
}

// must runs the client, notes the verb with its exit code, and fails the test unless it is 0.
func (v *voyage) must(args ...string) string {
	v.t.Helper()
	r := v.c.Run(args...)
	v.seen.note(args[0]+" ended with", strconv.Itoa(r.Code))
	return r.Must(v.t)
}

// tell is must for a command whose output has to be the same with every client.
func (v *voyage) tell(args ...string) string {
	v.t.Helper()
	out := v.must(args...)
	v.seen.note(args[0]+" printed", out)
	return out
}

// refused notes how the client refuses, and fails the test if it does not.
func (v *voyage) refused(text string, args ...string) {
	v.t.Helper()
	r := v.c.Run(args...)
	v.seen.note(args[0]+" was refused with", strconv.Itoa(r.Code))
	r.Refused(v.t, 1, text)
}

func (v *voyage) importImage(rootfs string) {
	v.t.Helper()
	out := v.tell("import", "--change", `CMD ["bash"]`, rootfs, v.base)
	if !regexp.MustCompile(`sha256:[0-9a-f]{64}`).MatchString(out) {
		v.t.Fatalf("import printed %q, want an image id", out)
	}
}

func (v *voyage) installAtATerminal() {
	v.t.Helper()
	term := engine.OpenTerminal(v.t, v.c.Argv("run", "-it", "--name", v.base+"-work", v.base)...)
	term.Expect("# ", 20*time.Second)
	term.Type("tty; echo shell-is-$$\r")
	term.Expect("/dev/pts/0", 5*time.Second)
	term.Expect("shell-is-1", 5*time.Second)
	term.Type("apt-get update && apt-get install -y --no-install-recommends nginx && echo went-$((40+2))\r")
	term.Expect("went-42", 4*time.Minute)
	term.Type("echo '<h1>landed by " + v.c.Name + "</h1>' > /var/www/html/index.html\r")
	term.Type("exit 3\r")
	code := term.Wait(20 * time.Second)
	v.seen.note("run -it ended with", strconv.Itoa(code))
	if code != 3 {
		v.t.Fatalf("the shell ended with 3, run with %d", code)
	}
	v.tell("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.Path}} {{.Args}} {{.HostConfig.NetworkMode}}", v.base+"-work")
}

func (v *voyage) commit() {
	v.t.Helper()
	diff := v.tell("diff", v.base+"-work")
	if !strings.Contains(diff, "A /usr/sbin/nginx") || !strings.Contains(diff, "C /usr/sbin") {
		v.t.Errorf("diff lacks the new server:\n%.2000s", diff)
	}
	v.tell("commit", "-m", "nginx by hand", "-a", "A Sailor", "-c", `CMD ["nginx","-g","daemon off;"]`, "-c", "EXPOSE 80", v.base+"-work", v.site)
	v.tell("rm", v.base+"-work")
	if h := v.c.Must("history", v.site); !strings.Contains(h, "nginx by hand") {
		v.t.Errorf("history lacks the comment:\n%s", h)
	}
	v.tell("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", v.site)
	v.tell("inspect", "-f", "{{.Id}} {{.Author}} {{.Comment}} {{json .Config.Cmd}} {{json .Config.ExposedPorts}} {{len .RootFS.Layers}} {{.Os}} {{.Architecture}}", v.site)
}

func (v *voyage) serve() {
	v.t.Helper()
	v.tell("run", "-d", "-p", "80", "--name", v.site, v.site)
	v.arrives()
}

// arrives fetches the page by loopback, by the bridge's address and by the container's own.
func (v *voyage) arrives() {
	v.t.Helper()
	line := strings.SplitN(v.c.Must("port", v.site, "80"), "\n", 2)[0]
	port := line[strings.LastIndex(line, ":")+1:]
	gateway := v.c.Must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", v.site)
	own := v.c.Must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", v.site)
	want := "landed by " + v.c.Name
	for _, url := range []string{"http://127.0.0.1:" + port, "http://" + gateway + ":" + port, "http://" + own} {
		page := ""
		engine.Eventually(v.t, "the page at "+url, func() bool {
			page = engine.Get(url)
			return strings.Contains(page, want)
		})
		v.seen.note("the page", page)
	}
}

func (v *voyage) look() {
	v.t.Helper()
	if top := v.must("top", v.site); !strings.Contains(top, "nginx: master") {
		v.t.Errorf("top: %s", top)
	}
	stats := v.must("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", v.site)
	if !strings.HasPrefix(stats, v.site+" ") || strings.Contains(stats, " 0B /") {
		v.t.Errorf("stats: %q", stats)
	}
	v.execAtATerminal()
	dir := v.t.TempDir()
	v.must("cp", v.site+":/var/www/html/index.html", dir)
	page, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil || !strings.Contains(string(page), v.c.Name) {
		v.t.Errorf("cp gave %q, %v", page, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more.html"), []byte("copied in"), 0o644); err != nil {
		v.t.Fatal(err)
	}
	v.must("cp", filepath.Join(dir, "more.html"), v.site+":/var/www/html/")
	if out := v.tell("exec", v.site, "cat", "/var/www/html/more.html"); out != "copied in" {
		v.t.Errorf("exec cat of the copied file: %q", out)
	}
	r := tar.NewReader(bytes.NewReader([]byte(v.must("cp", v.site+":/var/www/html", "-") + "\n")))
	names := ""
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		names += h.Name + " "
	}
	if !strings.Contains(names, "html/more.html") {
		v.t.Errorf("cp to a tar stream has %q", names)
	}
	v.seen.note("cp to a tar stream has", names)
	v.tell("diff", v.site)
	// Its standard error is no use here: nginx turns that into its own error.log.
	v.must("exec", v.site, "sh", "-c", "echo to-the-log > /proc/1/fd/1")
	engine.Eventually(v.t, "the line in the log", func() bool {
		return v.c.Run("logs", v.site).Out == "to-the-log\n"
	})
}

func (v *voyage) execAtATerminal() {
	v.t.Helper()
	term := engine.OpenTerminal(v.t, v.c.Argv("exec", "-it", v.site, "bash")...)
	term.Expect("# ", 10*time.Second)
	term.Type("stty size; nginx -v\r")
	term.Expect("40 120", 5*time.Second)
	term.Expect("nginx version", 5*time.Second)
	term.Type("exit 7\r")
	code := term.Wait(10 * time.Second)
	v.seen.note("exec -it ended with", strconv.Itoa(code))
	if code != 7 {
		v.t.Errorf("exec -it ended with %d, want 7", code)
	}
}

func (v *voyage) push() {
	v.t.Helper()
	v.tell("tag", v.site, v.remote)
	out := v.must("push", v.remote)
	m := regexp.MustCompile(`digest: (sha256:[0-9a-f]{64})`).FindStringSubmatch(out)
	if m == nil {
		v.t.Fatalf("push printed no digest:\n%s", out)
	}
	v.digest = m[1]
}

func (v *voyage) pullAgain() {
	v.t.Helper()
	id := v.c.Must("inspect", "-f", "{{.Id}}", v.remote)
	v.tell("rmi", v.remote) // one name of two: the image stays
	v.refused("conflict", "rmi", v.site)
	v.tell("rm", "-f", v.site)
	v.tell("rmi", v.site)
	v.refused("o such image", "inspect", "--type", "image", v.remote)
	out := v.must("pull", v.remote)
	if !strings.Contains(out, v.digest) {
		v.t.Errorf("pull printed not the pushed digest %s:\n%s", v.digest, out)
	}
	if got := v.c.Must("inspect", "-f", "{{.Id}}", v.remote); got != id {
		v.t.Errorf("the pulled image's id is %s, it was %s", got, id)
	}
	v.tell("run", "-d", "-p", "80", "--name", v.site, v.remote)
	v.arrives()
	v.tell("stop", "-t", "5", v.site)
	v.tell("rm", v.site)
	v.tell("rmi", v.remote)
	v.tell("rmi", v.base)
}
