package verbs

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// TestCopyBothWays uses cp on a stopped and on a running container.
func TestCopyBothWays(t *testing.T) {
	e := start(t)
	e.Must("create", "--name", "stopped", "-v", "vol:/vol", "busybox", "true")
	e.Must("run", "-d", "--name", "running", "-v", "vol2:/vol", "busybox", "sleep", "1000")
	for _, c := range []string{"stopped", "running"} {
		t.Run(c, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "d/f"), "content")
			e.Must("cp", dir+"/d", c+":/tmp")
			e.Must("cp", dir+"/d/.", c+":/home")
			e.Must("cp", dir+"/d/f", c+":/vol/renamed")
			for _, from := range []string{"/tmp/d/f", "/home/f", "/vol/renamed"} {
				out := filepath.Join(dir, "out"+strings.ReplaceAll(from, "/", "-"))
				e.Must("cp", c+":"+from, out)
				if b, err := os.ReadFile(out); err != nil || string(b) != "content" {
					t.Errorf("%s came back as %q, %v", from, b, err)
				}
			}
			e.Hoy("cp", c+":/no/such", dir).Refused(t, 1, "Could not find the file /no/such in container")
			e.Hoy("cp", dir+"/d/f", c+":/no/such/dir/").Refused(t, 1, "no such directory")
			e.Hoy("cp", dir+"/none", c+":/tmp").Refused(t, 1, "no such file")
			if got := e.Must("cp", "-q", c+":/bin/busybox", filepath.Join(dir, "bb")); got != "" {
				t.Errorf("cp -q printed %q", got)
			}
		})
	}
	e.Hoy("cp", "none:/x", t.TempDir()).Refused(t, 1, "No such container: none")
	e.Hoy("cp", "stopped:/x", "running:/x").Refused(t, 1, "copying between containers is not supported")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCopyFollowsNoLinkOut copies through links that a container planted.
func TestCopyFollowsNoLinkOut(t *testing.T) {
	e := start(t)
	victim := t.TempDir()
	e.Must("run", "-d", "--name", "cc", "busybox", "sh", "-c", "ln -s "+victim+" /out; ln -s /proc/self/root/../../../../.."+victim+" /trick; sleep 1000")
	src := filepath.Join(t.TempDir(), "f")
	write(t, src, "exp")
	for _, target := range []string{"/out/f", "/out", "/trick/f", "/../../../.." + victim + "/f"} {
		_ = e.Hoy("cp", src, "cc:"+target) // refused or inside; never out
	}
	if entries, err := os.ReadDir(victim); err != nil || len(entries) > 0 {
		t.Errorf("cp wrote outside the container: %v, %v", entries, err)
	}
	secret := filepath.Join(victim, "secret")
	write(t, secret, "of the host")
	if r := e.Hoy("cp", "cc:/out/secret", "-"); strings.Contains(r.Out, "of the host") {
		t.Error("cp read a file of the host through a link")
	}
}

func TestExportHoldsTheWholeFileSystem(t *testing.T) {
	e := start(t)
	e.Must("run", "--name", "exp", "busybox", "sh", "-c", "echo mine > /home/f; ln /home/f /home/hard; mkdir /home/sub")
	path := filepath.Join(t.TempDir(), "x.tar")
	e.Must("export", "-o", path, "exp")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]*tar.Header{}
	r := tar.NewReader(bytes.NewReader(b))
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		names[strings.Trim(h.Name, "/")] = h
	}
	for _, want := range []string{"home/f", "home/hard", "home/sub", "bin/busybox", "etc/passwd"} {
		if names[want] == nil {
			t.Errorf("the export lacks %s", want)
		}
	}
	e.Must("import", path, "again")
	if got := e.Must("run", "--rm", "again", "/bin/cat", "/home/hard"); got != "mine" {
		t.Errorf("the imported export says %q", got)
	}
	term := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "export", "exp")
	term.Expect("refusing", 5e9)
}

func TestLogs(t *testing.T) {
	e := start(t)
	e.Must("run", "--name", "lg", "busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo out$i; done; echo err >&2")
	r := e.Hoy("logs", "lg")
	if r.Out != "out1\nout2\nout3\nout4\nout5\n" || r.Err != "err\n" {
		t.Errorf("logs: %q, %q", r.Out, r.Err)
	}
	if got := e.Hoy("logs", "--tail", "2", "lg"); strings.Count(got.Out+got.Err, "\n") != 2 {
		t.Errorf("logs --tail 2: %q %q", got.Out, got.Err)
	}
	if got := e.Must("logs", "-t", "--tail", "2", "lg"); !strings.HasPrefix(got, "20") || !strings.HasSuffix(got, "Z out5") {
		t.Errorf("logs -t: %q", got)
	}
	if got := e.Hoy("logs", "--since", "2000000000", "lg"); got.Out+got.Err != "" {
		t.Errorf("logs --since the future: %q", got.Out)
	}
	e.Hoy("logs", "--since", "soon", "lg").Refused(t, 1, "soon")
	e.Must("run", "-d", "--name", "follow", "busybox", "sh", "-c", "for i in 1 2 3; do echo f$i; usleep 100000; done")
	if got := e.Must("logs", "-f", "follow"); got != "f1\nf2\nf3" {
		t.Errorf("logs -f to the end: %q", got)
	}
	e.Must("run", "-d", "--name", "rot", "--log-opt", "max-size=20k", "--log-opt", "max-file=2", "busybox", "seq", "3000")
	e.Must("wait", "rot")
	got := strings.Split(e.Must("logs", "rot"), "\n")
	if len(got) >= 3000 || got[len(got)-1] != "3000" {
		t.Errorf("a rotated log has %d lines, the last is %q", len(got), got[len(got)-1])
	}
	e.Hoy("run", "--log-driver", "nosuch", "busybox", "true").Refused(t, 125, "nosuch")
	e.Hoy("run", "--log-opt", "max-size=many", "busybox", "true").Refused(t, 125, "invalid size: 'many'")
}

func TestStatsTopUpdateEventsDf(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "st", "busybox", "sh", "-c", "while :; do :; done")
	if out := e.Must("stats", "--no-stream"); !strings.HasPrefix(out, "CONTAINER ID   NAME      CPU %") || !strings.Contains(out, " st ") {
		t.Errorf("stats:\n%s", out)
	}
	if out := e.Must("top", "st"); !strings.Contains(out, "while :; do :; done") || !strings.HasPrefix(out, "UID") {
		t.Errorf("top:\n%s", out)
	}
	e.Must("update", "--restart", "always", "st")
	if got := e.Must("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "st"); got != "always" {
		t.Errorf("update --restart: %q", got)
	}
	e.Must("rm", "-f", "st")
	out := e.Must("events", "--since", "10m", "--until", "0s", "--filter", "container=st", "--format", "{{.Action}}")
	for _, want := range []string{"create", "start", "update", "kill", "die", "destroy"} {
		if !strings.Contains(out, want) {
			t.Errorf("events lack %s:\n%s", want, out)
		}
	}
	if df := e.Must("system", "df"); !strings.Contains(df, "Images") || !strings.Contains(df, "Local Volumes") {
		t.Errorf("system df:\n%s", df)
	}
	if info := e.Must("info", "--format", "{{.Containers}} {{.Images}} {{.LiveRestoreEnabled}}"); info != "0 1 true" {
		t.Errorf("info: %q", info)
	}
	if v := e.Must("version", "--format", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}"); v != "1.55 1.24" {
		t.Errorf("version: %q", v)
	}
}

func TestPrune(t *testing.T) {
	e := start(t)
	e.Must("create", "--name", "gone", "-v", "/anon", "busybox", "true")
	e.Must("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
	if out := e.Must("container", "prune", "-f"); !strings.Contains(out, "Total reclaimed space") {
		t.Errorf("container prune: %q", out)
	}
	if got := e.Must("ps", "-a", "--format", "{{.Names}}"); got != "stays" {
		t.Errorf("left: %q", got)
	}
	e.Must("volume", "prune", "-f")
	if got := e.Must("volume", "ls", "-q"); got != "" {
		t.Errorf("volumes left: %q", got)
	}
	e.Must("tag", "busybox", "t:1")
	e.Must("image", "prune", "-a", "-f")
	if got := e.Must("images", "-q"); got == "" {
		t.Error("image prune -a took an image that a container uses")
	}
	e.Must("system", "prune", "-f")
}
