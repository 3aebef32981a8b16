package conformance

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

// room is a box whose commands share a network namespace and a mount namespace
// of their own, with an empty /run: what an engine leaves in the firewall, among
// the links and below /run goes with the room.
type room struct {
	*box
	holder *exec.Cmd
}

func newRoom(tb testing.TB) *room {
	tb.Helper()
	r := &room{box: newBox(tb, runtimePath(tb))}
	r.holder = exec.Command("unshare", "--net", "--mount", "--", "/bin/busybox", "sleep", "1000000")
	if err := r.holder.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.holder.Process.Kill(); _ = r.holder.Wait(); r.removeCgroups() })
	exe := fmt.Sprintf("/proc/%d/exe", r.holder.Process.Pid)
	engine.Eventually(tb, "the room's namespaces are made", func() bool {
		path, err := os.Readlink(exe)
		return err == nil && filepath.Base(path) == "busybox"
	})
	r.must("mount", "-t", "tmpfs", "tmpfs", "/run")
	r.must("ip", "link", "set", "lo", "up")
	return r
}

// runtimePath is hoy-run, or what the flag says in its place.
func runtimePath(tb testing.TB) string {
	tb.Helper()
	if *runtime == "hoy-run" {
		return engine.Bin(tb, "hoy-run")
	}
	path, err := exec.LookPath(*runtime)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// enter makes a command run in the room.
func (r *room) enter(args ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(r.holder.Process.Pid), "--net", "--mount", "--"}, args...)
}

func (r *room) must(args ...string) string {
	r.tb.Helper()
	return engine.Run(r.tb, "", r.enter(args...)...).Must(r.tb)
}

// daemon starts a program of the room and ends it with the test.
func (r *room) daemon(ready func() bool, args ...string) {
	r.tb.Helper()
	log, err := os.Create(filepath.Join(r.dir, filepath.Base(args[0])+".log"))
	if err != nil {
		r.tb.Fatal(err)
	}
	argv := r.enter(args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	r.tb.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			r.tb.Errorf("%s did not end within 20 s of SIGTERM", args[0])
			_ = cmd.Process.Kill()
			<-done
		}
		if text, _ := os.ReadFile(log.Name()); r.tb.Failed() {
			r.tb.Logf("%s:\n%s", log.Name(), text[max(0, len(text)-1500):])
		}
		log.Close()
	})
	engine.Eventually(r.tb, args[0]+" answers", ready)
}

// removeCgroups removes the parents that engines were told to use and do not
// remove. One that still holds a container's group stays, and is found.
func (r *room) removeCgroups() {
	for _, dir := range cgroupsNamed(r.name()) {
		for _, below := range []string{"/*/*", "/*", ""} {
			for _, leaf := range parents(dir + below + "/cgroup.procs") {
				if !strings.Contains(filepath.Base(leaf), "libpod") {
					_ = unix.Rmdir(leaf)
				}
			}
		}
	}
}

func parents(pattern string) []string {
	list, _ := filepath.Glob(pattern)
	for i := range list {
		list[i] = filepath.Dir(list[i])
	}
	return list
}

// tool is an engine's command line in a room.
type tool struct {
	*room
	argv []string
}

func (c *tool) run(t *testing.T, args ...string) *engine.Result {
	t.Helper()
	return engine.Run(t, "", append(append([]string{}, c.argv...), args...)...)
}

func (c *tool) ok(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, args...).Must(t)
}

// says fails the test unless the command's output, without spaces around, is text.
func (c *tool) says(t *testing.T, text string, args ...string) {
	t.Helper()
	if got := strings.TrimSpace(c.ok(t, args...)); got != text {
		t.Errorf("%s: %q, want %q", strings.Join(args, " "), got, text)
	}
}

// code fails the test unless the command ends with code.
func (c *tool) code(t *testing.T, code int, args ...string) {
	t.Helper()
	if r := c.run(t, args...); r.Code != code {
		t.Errorf("%s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.Code, code, r.Out, r.Err)
	}
}

// eventually polls until the command's output is text.
func (c *tool) eventually(t *testing.T, text string, args ...string) {
	t.Helper()
	engine.Eventually(t, strings.Join(args, " ")+" says "+text, func() bool {
		return strings.TrimSpace(c.run(t, args...).Out) == text
	})
}

func (c *tool) terminal(t *testing.T, args ...string) *engine.Terminal {
	t.Helper()
	return engine.OpenTerminal(t, append(append([]string{}, c.argv...), args...)...)
}

// rootfs writes the busybox image as a tar into the box.
func (b *box) rootfs() string {
	b.tb.Helper()
	path := filepath.Join(b.dir, "rootfs.tar")
	if err := os.WriteFile(path, engine.BusyboxTar(b.tb), 0o644); err != nil {
		b.tb.Fatal(err)
	}
	return path
}

// ociArchive writes an OCI image layout with the busybox image as a tar.
func (b *box) ociArchive(name string) string {
	b.tb.Helper()
	layer := engine.BusyboxTar(b.tb)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	put := func(path string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
			b.tb.Fatal(err)
		}
		_, _ = w.Write(content)
	}
	blob := func(kind string, content []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		put("blobs/sha256/"+sum, content)
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sum, "size": len(content)}
	}
	text := func(v any) []byte {
		out, err := json.Marshal(v)
		if err != nil {
			b.tb.Fatal(err)
		}
		return out
	}
	layers := blob("layer.v1.tar", layer)
	config := blob("config.v1+json", text(map[string]any{"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{layers["digest"]}}}))
	manifest := blob("manifest.v1+json", text(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []any{layers}}))
	manifest["annotations"] = map[string]string{"io.containerd.image.name": name}
	manifest["platform"] = map[string]string{"architecture": "amd64", "os": "linux"}
	put("index.json", text(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}))
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	_ = w.Close()
	path := filepath.Join(b.dir, "image.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		b.tb.Fatal(err)
	}
	return path
}
