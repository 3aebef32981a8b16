// Package attacks has tests that try, with full control of an image, of a
// container's processes or of a client, to get at the host, at the monitor or
// at other containers.
package attacks

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hoy/test/e2e/engine"
)

// probe is the attacker's program, built once.
var probe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hoy-probe-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir+"/probe", "./probe") //nolint:noctx // it is built once for all tests
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(err, errors.New(string(out)))
	}
	return os.ReadFile(dir + "/probe")
})

// start starts an engine with the image busybox, which has /bin/probe.
func start(t *testing.T, args ...string) *engine.Engine {
	t.Helper()
	e := engine.Start(t, args...)
	bin, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	image(t, e, "busybox", nil, reg("bin/probe", string(bin)))
	return e
}

// entry is one entry of a hostile image.
type entry struct {
	tar.Header
	content string
}

func reg(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755}, content}
}

func link(name, to string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}, ""}
}

func fifo(name string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeFifo, Mode: 0o666}, ""}
}

func char(name string, major, minor int64) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: major, Devminor: minor}, ""}
}

// image imports busybox with entries in the place of its own of the same name.
func image(t *testing.T, e *engine.Engine, name string, changes []string, entries ...entry) {
	t.Helper()
	replaced := map[string]bool{}
	for _, h := range entries {
		replaced[strings.Trim(h.Name, "/")] = true
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	r := tar.NewReader(bytes.NewReader(engine.BusyboxTar(t)))
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !replaced[strings.Trim(h.Name, "/")] {
			put(h, content)
		}
	}
	for _, h := range entries {
		put(&h.Header, []byte(h.content))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"import", "--change", `CMD ["sh"]`, "--change", "ENV PATH=/bin"}
	for _, c := range changes {
		args = append(args, "--change", c)
	}
	e.Must(append(args, file, name)...)
}

// victim is a directory of the host with a secret, and a check that nothing
// was changed in it.
func victim(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 1 {
			t.Errorf("the host's directory now has %v, %v", list, err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != "of the host" {
			t.Errorf("the host's file now says %q, %v", b, err)
		}
	})
	return dir
}

// alive checks that the engine still works as a whole.
func alive(t *testing.T, e *engine.Engine) {
	t.Helper()
	if got := e.Must("run", "--rm", "busybox", "echo", "alive"); got != "alive" {
		t.Errorf("after the attack the engine says %q", got)
	}
}

func dir(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}
