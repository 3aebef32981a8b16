package images

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/internal/cli/difftest"
)

func TestArchivesAsDocker(t *testing.T) {
	dir := t.TempDir()
	tar := filepath.Join(dir, "x.tar")
	if err := os.WriteFile(tar, bytes.Repeat([]byte("tar"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	routes := difftest.Routes{
		"POST /images/create": {Body: `{"status":"` + idA + `"}` + "\n"},
		"POST /images/load":   {Body: `{"stream":"Loaded image: a:latest\n"}` + "\n"},
		"GET /images/get":     {Body: strings.Repeat("tar", 5000)},
	}
	for _, args := range []string{
		"import - a:latest", "import X", "import X a -c CMD=x -m message", "import https://x.example/y.tar a", "import X UPPER", "import nofile",
		"import --platform linux/arm64 X a", "import", "image import X",
		"load", "load -i X", "load -q -i X", "load -i nofile", "load -i X --platform linux/amd64", "load x", "image load -i X",
		"save a b", "save --platform linux/arm64 a", "save", "save -o D/no/file a", "save -o D a", "image save a",
	} {
		t.Run(args, func(t *testing.T) {
			list := strings.Fields(args)
			for i := range list {
				if list[i] == "X" {
					list[i] = tar
				}
				if rest, ok := strings.CutPrefix(list[i], "D"); ok {
					list[i] = dir + rest
				}
			}
			difftest.Compare(t, routes, build, "tar", list...)
		})
	}
}

func TestSaveToFile(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{"GET /images/get": {Body: strings.Repeat("tar", 5000)}})
	path := filepath.Join(t.TempDir(), "out.tar")
	if got := s.Hoy(t, build, "", "save", "-o", path, "a"); got.Code != 0 || got.Out != "" || got.Err != "" {
		t.Errorf("got %+v", got)
	}
	if data, err := os.ReadFile(path); err != nil || len(data) != 15000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	s = difftest.Serve(t, difftest.Routes{"GET /images/get": {Status: 404, Body: `{"message":"No such image: gone"}`}})
	if got := s.Hoy(t, build, "", "save", "-o", path, "gone"); got.Code != 1 || got.Err != "Error response from daemon: No such image: gone\n" {
		t.Errorf("got %+v", got)
	}
	if data, _ := os.ReadFile(path); len(data) != 15000 {
		t.Error("a refusal changed the file")
	}
}

// TestSaveCut: a connection that ends early leaves no file that looks whole.
func TestSaveCut(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.50")
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			return
		}
		_, _ = io.WriteString(w, "only a part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	s := &difftest.Server{Host: "tcp://" + listener.Addr().String()}
	if got := s.Hoy(t, build, "", "save", "-o", filepath.Join(dir, "out.tar"), "a"); got.Code != 1 || got.Err == "" {
		t.Errorf("got %+v", got)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestBuildSaysNo(t *testing.T) {
	s := difftest.Serve(t, nil)
	for _, args := range [][]string{{"build", "."}, {"build", "-t", "x", "--no-cache", "."}, {"image", "build", "."}} {
		if got := s.Hoy(t, build, "", args...); got.Code != 1 || !strings.Contains(got.Err, "hoy commit") || len(got.Asked) > 0 {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	for text, want := range map[string]string{
		"linux/amd64": "linux/amd64/", "linux/x86_64": "linux/amd64/", "Linux/ARM64": "linux/arm64/", "linux/aarch64": "linux/arm64/",
		"linux/arm64/v8": "linux/arm64/v8", "linux/arm/7": "linux/arm/v7", "arm": "linux/arm/v7", "armel": "linux/arm/v6", "s390x": "linux/s390x/",
		"windows/amd64": "windows/amd64/", "macos/arm64": "darwin/arm64/",
	} {
		p, err := ParsePlatform(text)
		if got := p.OS + "/" + p.Architecture + "/" + p.Variant; err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "/", "linux/", "a/b/c/d", "li nux", "linux/am*64"} {
		if p, err := ParsePlatform(text); err == nil {
			t.Errorf("%q is taken as %+v", text, p)
		}
	}
}
