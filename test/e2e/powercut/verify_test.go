package powercut

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

type verifier struct {
	t  *testing.T
	e  *engine.Engine
	at int
}

// blobs compares every blob with its name.
func (v *verifier) blobs() {
	v.t.Helper()
	dir := v.e.Dir + "/data/image/content/blobs/sha256"
	list, err := os.ReadDir(dir)
	if err != nil {
		v.t.Error(err)
	}
	for _, d := range list {
		data, err := os.ReadFile(filepath.Join(dir, d.Name()))
		if sum := sha256.Sum256(data); err != nil || hex.EncodeToString(sum[:]) != d.Name() {
			v.t.Errorf("blob %s is damaged: %d bytes, %v", d.Name(), len(data), err)
		}
	}
}

// compare asks the engine for all that was acknowledged. It returns images by
// name, the ids of containers, and the number of volumes that are there.
func (v *verifier) compare(all facts) (images map[string]fact, containers []string, volumes int) {
	v.t.Helper()
	images = map[string]fact{}
	for _, key := range all.keys() {
		values, known := all.candidates(key, v.at)
		kind, name, _ := strings.Cut(key, " ")
		got := v.find(kind, name)
		f, allowed := values[got]
		if !allowed {
			v.t.Errorf("%s: is %q after the cut at %d, acknowledged was %v (known %v)", key, got, v.at, values, known)
		}
		if got == "" {
			continue
		}
		switch kind {
		case "image":
			images[name] = f
		case "container":
			containers = append(containers, got)
		case "volume":
			volumes++
		}
	}
	return images, containers, volumes
}

func (v *verifier) find(kind, name string) string {
	v.t.Helper()
	args := map[string][]string{
		"image":     {"image", "inspect", "-f", "{{.Id}}", name},
		"container": {"container", "inspect", "-f", "{{.ID}}", name},
		"volume":    {"volume", "inspect", "-f", "{{.Name}}", name},
	}[kind]
	r := v.e.Hoy(args...)
	if r.Code != 0 && !strings.Contains(strings.ToLower(r.Err), "no such") {
		v.t.Errorf("%s %s: %s", kind, name, r.Err)
	}
	return strings.TrimSpace(r.Out)
}

// contents reads the files of each image.
func (v *verifier) contents(images map[string]fact) {
	v.t.Helper()
	for ref, f := range images {
		id := v.e.Must("create", "--network", "none", ref, "true")
		tree := readTar(v.t, v.e.Must("export", id))
		v.e.Must("rm", id)
		if f.content != "" && string(tree["own"]) != f.content {
			v.t.Errorf("image %s: /own has %q, want %q", ref, tree["own"], f.content)
		}
		if strings.HasSuffix(f.content, "-commit") {
			if len(tree["bin/busybox"]) < 100_000 || !bytes.HasSuffix(tree["many/8"], []byte("\n200\n")) {
				v.t.Errorf("image %s: busybox has %d bytes, a file of the commit %d", ref, len(tree["bin/busybox"]), len(tree["many/8"]))
			}
			continue
		}
		if last := strings.Repeat(f.content+"\n", 50*39); string(tree["files/39"]) != last {
			v.t.Errorf("image %s: /files/39 has %d bytes, want %d", ref, len(tree["files/39"]), len(last))
		}
	}
}

func readTar(t *testing.T, data string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(strings.NewReader(data))
	for {
		h, err := r.Next()
		if err != nil {
			return files
		}
		if h.Typeflag == tar.TypeReg {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			files[strings.TrimPrefix(h.Name, "./")] = text
		}
	}
}

// starts runs some of the containers that came through.
func (v *verifier) starts(containers []string) {
	v.t.Helper()
	for i, id := range containers {
		if i >= 4 {
			return
		}
		v.e.Must("start", "-a", id)
		if code := v.e.Must("wait", id); code != "0" {
			v.t.Errorf("container %s ended with %s", id, code)
		}
	}
}
