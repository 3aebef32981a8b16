package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"

	"hoy/internal/request"
)

// userSecret is a htpasswd line for the name user and the password secret.
const userSecret = "user:$2y$04$KZ4ys5CKK2wAtM7AwnzG6OeClQ/THMv4cor7HqSJ/0cBziTDLZeW2\n"

// startRegistry runs Debian's registry on a free loopback port; a private
// one asks for the name user and the password secret.
func startRegistry(t *testing.T, private bool) string {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), addr)
	if private {
		if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(userSecret), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s}}\n", filepath.Join(dir, "htpasswd"))
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "serve", path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("registry said:\n%s", out.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			_ = resp.Body.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("registry does not come up: %v\n%s", err, out.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestPushThenPullGivesTheSameDigest(t *testing.T) {
	addr := startRegistry(t, false)
	w, ctx := open(t, ""), t.Context()
	name := addr + "/some/app:1.0"
	id := w.imported(name, []string{"CMD [\"/x\"]"}, file("a/b", "hello"), file("big", strings.Repeat("0123456789", 200_000)))
	var status []string
	if err := w.Push(ctx, name, request.ImageTransfer{}, collect(&status)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"The push refers to repository [" + addr + "/some/app]", "Preparing", "Pushed"} {
		if !slices.Contains(status, want) {
			t.Errorf("push messages lack %q: %q", want, status)
		}
	}
	if !slices.ContainsFunc(status, func(s string) bool { return strings.HasPrefix(s, "1.0: digest: "+id+" size: ") }) {
		t.Errorf("push messages lack the digest: %q", status)
	}
	status = nil
	if err := w.Push(ctx, name, request.ImageTransfer{}, collect(&status)); err != nil || !slices.Contains(status, "Layer already exists") {
		t.Errorf("second push: %q, %v", status, err)
	}
	// The same content under another repository is mounted, not sent.
	if err := w.Tag(ctx, name, addr+"/other", "2"); err != nil {
		t.Fatal(err)
	}
	status = nil
	if err := w.Push(ctx, addr+"/other:2", request.ImageTransfer{}, collect(&status)); err != nil || !slices.Contains(status, "Mounted from "+strings.Split(addr, ":")[0]+":"+strings.Split(addr, ":")[1]+"/some/app") {
		t.Errorf("push to another repository: %q, %v", status, err)
	}
	for _, ref := range []string{name, addr + "/other:2"} {
		if _, err := w.Remove(ctx, ref, request.ImageRemove{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	status = nil
	if err := w.Pull(ctx, name, request.ImageTransfer{}, collect(&status)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Pulling from some/app", "Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete", "Digest: " + id, "Status: Downloaded newer image for " + name} {
		if !slices.Contains(status, want) {
			t.Errorf("pull messages lack %q: %q", want, status)
		}
	}
	if img := w.prepared("c", name); img.ID != id {
		t.Errorf("pulled %s, pushed %s", img.ID, id)
	}
	if got, err := os.ReadFile(filepath.Join(w.mounted("c"), "a/b")); err != nil || string(got) != "hello" {
		t.Errorf("content %q, %v", got, err)
	}
	status = nil
	if err := w.Pull(ctx, name, request.ImageTransfer{}, collect(&status)); err != nil || !slices.Contains(status, "Status: Image is up to date for "+name) {
		t.Errorf("second pull: %q, %v", status, err)
	}
	if err := w.Pull(ctx, addr+"/some/app@"+id, request.ImageTransfer{}, nil); err != nil {
		t.Errorf("pull by digest: %v", err)
	}
	di, err := w.DistributionInspect(ctx, name, nil)
	if err != nil || di.Descriptor.Digest.String() != id || len(di.Platforms) != 1 {
		t.Errorf("distribution inspect: %+v, %v", di, err)
	}
	err = w.Pull(ctx, addr+"/some/app:nope", request.ImageTransfer{}, nil)
	if !errdefs.IsNotFound(err) || err.Error() != "manifest for "+addr+"/some/app:nope not found: manifest unknown" {
		t.Errorf("pull of an unknown tag: %v", err)
	}
}

func TestPushOfAnIndexAndAllTags(t *testing.T) {
	addr := startRegistry(t, false)
	w, ctx := open(t, ""), t.Context()
	img, err := w.Resolve(ctx, "hoy/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"a", "b"} {
		if err := w.Tag(ctx, "hoy/hello", addr+"/hello", tag); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Push(ctx, addr+"/hello", request.ImageTransfer{AllTags: true}, nil); err != nil {
		t.Fatal(err)
	}
	v, vctx := open(t, ""), t.Context()
	if err := v.Pull(vctx, addr+"/hello", request.ImageTransfer{AllTags: true}, nil); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"a", "b"} {
		if got, err := v.Resolve(vctx, addr+"/hello:"+tag, nil); err != nil || got.ID != img.ID {
			t.Errorf("%s: %+v, %v", tag, got, err)
		}
	}
	// Only one platform came; what is here of it can be pushed on, and saved.
	var status []string
	if err := v.Tag(vctx, addr+"/hello:a", addr+"/part", ""); err != nil {
		t.Fatal(err)
	}
	if err := v.Push(vctx, addr+"/part", request.ImageTransfer{}, collect(&status)); err != nil {
		t.Errorf("push of a part: %v", err)
	}
	var buf bytes.Buffer
	if err := v.Save(vctx, []string{addr + "/hello:a"}, nil, &buf); err != nil {
		t.Errorf("save of a part: %v", err)
	}
	third := open(t, "")
	if err := third.Load(t.Context(), &buf, nil, nil); err != nil {
		t.Errorf("load of a part: %v", err)
	}
	if got, err := third.Resolve(t.Context(), addr+"/hello:a", nil); err != nil || got.ID != img.ID {
		t.Errorf("loaded %+v, %v", got, err)
	}
}

func TestBasicAuthorization(t *testing.T) {
	addr := startRegistry(t, true)
	w, ctx := open(t, ""), t.Context()
	name := addr + "/private:1"
	w.imported(name, nil, file("f", "f"))
	good := &registry.AuthConfig{Username: "user", Password: "secret", ServerAddress: addr}
	wrong := &registry.AuthConfig{Username: "user", Password: "wrong", ServerAddress: addr}
	for what, auth := range map[string]*registry.AuthConfig{"none": nil, "wrong": wrong} {
		err := w.Push(ctx, name, request.ImageTransfer{Auth: auth}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "push access denied for "+addr+"/private, repository does not exist or may require 'docker login'") {
			t.Errorf("push with %s credentials: %v", what, err)
		}
	}
	if err := w.Push(ctx, name, request.ImageTransfer{Auth: good}, nil); err != nil {
		t.Fatal(err)
	}
	err := w.Pull(ctx, name, request.ImageTransfer{}, nil)
	if !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), "pull access denied for "+addr+"/private, repository does not exist or may require 'docker login'") {
		t.Errorf("pull without credentials: %v", err)
	}
	if err := w.Pull(ctx, name, request.ImageTransfer{Auth: good}, nil); err != nil {
		t.Errorf("pull: %v", err)
	}
	if r, err := w.Login(ctx, *good); err != nil || r.Status != "Login Succeeded" {
		t.Errorf("login: %+v, %v", r, err)
	}
	if _, err := w.Login(ctx, *wrong); !errdefs.IsUnauthorized(err) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("login with a wrong password: %v", err)
	}
}

func TestProgressMessagesMarshalAsDocker(t *testing.T) {
	var got []string
	w := open(t, "")
	err := w.Pull(t.Context(), "hoy/hello", request.ImageTransfer{}, func(m jsonMessage) {
		b, err := json.Marshal(m)
		if err != nil {
			t.Error(err)
		}
		got = append(got, string(b))
	})
	if err != nil || got[0] != `{"status":"Pulling from hoy/hello","id":"latest"}` {
		t.Errorf("%q, %v", got, err)
	}
}
