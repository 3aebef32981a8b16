package auth

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

func TestServer(t *testing.T) {
	for ref, want := range map[string]string{
		"busybox":                          DefaultServer,
		"library/busybox:1":                DefaultServer,
		"docker.io/a/b":                    DefaultServer,
		"index.docker.io/a/b":              DefaultServer,
		"localhost/a":                      "localhost",
		"localhost:5000/a/b:c":             "localhost:5000",
		"registry.example/a@sha256:" + hex: "registry.example",
		"[::1]:5000/a":                     "[::1]:5000",
	} {
		got, err := ServerOf(ref)
		if err != nil || got != want {
			t.Errorf("ServerOf(%q) = %q, %v, want %q", ref, got, err, want)
		}
	}
	if _, err := ServerOf("Not/Valid:"); err == nil {
		t.Error("a reference that is not valid was taken")
	}
	for address, want := range map[string]string{
		"":                           DefaultServer,
		"docker.io":                  DefaultServer,
		"https://index.docker.io/v1": DefaultServer,
		DefaultServer:                DefaultServer,
		"registry.example":           "registry.example",
		"https://registry.example/":  "registry.example",
		"http://localhost:5000/v2/":  "localhost:5000",
	} {
		if got := Server(address); got != want {
			t.Errorf("Server(%q) = %q, want %q", address, got, want)
		}
	}
}

const hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func config(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGet(t *testing.T) {
	dir := config(t, `{"auths":{
		"plain.example":{"auth":"dXNlcjpwYTpzcw=="},
		"https://old.example/v1/":{"auth":"dXNlcjpwYXNz"},
		"token.example":{"auth":"dXNlcjo=","identitytoken":"tok"},
		"empty.example":{},
		"bad.example":{"auth":"???"},
		"nocolon.example":{"auth":"dXNlcg=="}}}`)
	tests := []struct {
		server  string
		want    registry.AuthConfig
		wantErr bool
	}{
		{server: "plain.example", want: registry.AuthConfig{Username: "user", Password: "pa:ss", ServerAddress: "plain.example"}},
		{server: "old.example", want: registry.AuthConfig{Username: "user", Password: "pass", ServerAddress: "old.example"}},
		{server: "token.example", want: registry.AuthConfig{Username: "user", IdentityToken: "tok", ServerAddress: "token.example"}},
		{server: "empty.example"},
		{server: "none.example"},
		{server: "bad.example", wantErr: true},
		{server: "nocolon.example", wantErr: true},
	}
	for _, test := range tests {
		got, err := open(t, dir).Get(test.server)
		if got != test.want || (err != nil) != test.wantErr {
			t.Errorf("%s: %+v, %v", test.server, got, err)
		}
	}
}

func TestSaveKeepsWhatIsNotOurs(t *testing.T) {
	dir := config(t, `{"auths":{"other.example":{"auth":"YTpi","note":"kept"}},"HttpHeaders":{"X-A":"b"},"new":[1,{"x":null}]}`)
	if err := open(t, dir).Save(registry.AuthConfig{ServerAddress: "reg.example", Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.json")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	data, _ := os.ReadFile(path)
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"note": "kept"`, `"X-A": "b"`, `"x": null`, `"auth": "dTpw"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not in:\n%s", want, data)
		}
	}
	a, err := open(t, dir).Get("reg.example")
	if err != nil || a.Username != "u" || a.Password != "p" {
		t.Errorf("got back %+v, %v", a, err)
	}
	found, err := open(t, dir).Erase("reg.example")
	if err != nil || !found {
		t.Errorf("erase: %v, %v", found, err)
	}
	if a, _ := open(t, dir).Get("reg.example"); a != (registry.AuthConfig{}) {
		t.Errorf("still there: %+v", a)
	}
	if found, err := open(t, dir).Erase("reg.example"); found || err != nil {
		t.Errorf("second erase: %v, %v", found, err)
	}
}

func TestSaveInNewDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := open(t, dir).Save(registry.AuthConfig{Username: "u", IdentityToken: "tok"}); err != nil {
		t.Fatal(err)
	}
	a, err := open(t, dir).Get(DefaultServer)
	if err != nil || a.IdentityToken != "tok" || a.Username != "u" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestSaveThroughLink(t *testing.T) {
	dir, real := t.TempDir(), config(t, `{"x":1}`)
	if err := os.Symlink(filepath.Join(real, "config.json"), filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Save(registry.AuthConfig{ServerAddress: "r", Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(dir, "config.json")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	if a, _ := open(t, real).Get("r"); a.Password != "p" {
		t.Error("not written to the link's target")
	}
}

func TestBrokenFile(t *testing.T) {
	for _, text := range []string{`{"auths":{"secret`, `{"auths":["secret"]}`, `[]`, `{"credsStore":5}`, `{"credHelpers":"secret"}`} {
		_, err := Open(config(t, text))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", text, err)
		}
	}
	for _, text := range []string{"", " \n", "{}", `{"auths":null}`} {
		s := open(t, config(t, text))
		if err := s.Save(registry.AuthConfig{ServerAddress: "r", Username: "u", Password: "p"}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// helper puts a credential helper in the search path that keeps one file per server.
func helper(t *testing.T, name string) (kept string) {
	t.Helper()
	bin := t.TempDir()
	kept = t.TempDir()
	script := `#!/bin/sh
set -e
cd '` + kept + `'
case "$1" in
store) cat >in; sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' in | tr -d / >name; mv in "k$(cat name)";;
get) n="k$(tr -d / )"; if [ -f "$n" ]; then cat "$n"; else echo "credentials not found in native keychain"; exit 1; fi;;
erase) rm "k$(tr -d /)";;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return kept
}

func TestHelper(t *testing.T) {
	kept := helper(t, "test")
	dir := config(t, `{"credsStore":"test","credHelpers":{"own.example":""}}`)
	for _, a := range []registry.AuthConfig{
		{ServerAddress: "reg.example", Username: "u", Password: "very-secret"},
		{ServerAddress: "tok.example", IdentityToken: "very-secret-token"},
	} {
		if err := open(t, dir).Save(a); err != nil {
			t.Fatal(err)
		}
		if got, err := open(t, dir).Get(a.ServerAddress); err != nil || got != a {
			t.Errorf("got back %+v, %v", got, err)
		}
	}
	data, _ := os.ReadFile(filepath.Join(dir, "config.json"))
	if strings.Contains(string(data), "secret") || !strings.Contains(string(data), `"reg.example": {}`) {
		t.Errorf("the file has:\n%s", data)
	}
	if got, err := open(t, dir).Get("none.example"); err != nil || got != (registry.AuthConfig{}) {
		t.Errorf("unknown server: %+v, %v", got, err)
	}
	if found, err := open(t, dir).Erase("reg.example"); err != nil || !found {
		t.Errorf("erase: %v, %v", found, err)
	}
	if left, _ := os.ReadDir(kept); len(left) != 2 { // the other one and the script's own file
		t.Errorf("the helper still has %d files", len(left))
	}
	if name := open(t, dir).Helper("own.example"); name != "" {
		t.Errorf("a server with an empty helper has %q", name)
	}
}

func TestHelperNames(t *testing.T) {
	for _, name := range []string{"../x", "a/b", "-x", "a b", ".x", "x;y"} {
		quoted, _ := json.Marshal(name)
		dir := config(t, `{"credsStore":`+string(quoted)+`}`)
		if _, err := open(t, dir).Get("reg.example"); err == nil || !strings.Contains(err.Error(), "not a valid name") {
			t.Errorf("%q: %v", name, err)
		}
	}
	dir := config(t, `{"credsStore":"is-not-installed"}`)
	if _, err := open(t, dir).Get("reg.example"); err == nil || !strings.Contains(err.Error(), "is-not-installed") {
		t.Errorf("missing program: %v", err)
	}
}

func TestHeaderFor(t *testing.T) {
	dir := config(t, `{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`)
	header, err := HeaderFor(dir, "busybox")
	if err != nil {
		t.Fatal(err)
	}
	a, err := authconfig.Decode(header)
	if err != nil || a.Username != "u" || a.Password != "p" || a.ServerAddress != DefaultServer {
		t.Errorf("%+v, %v", a, err)
	}
	if header, err = HeaderFor(dir, "other.example/x"); err != nil || header != "e30=" {
		t.Errorf("no credentials: %q, %v", header, err)
	}
	if _, err = HeaderFor(dir, "UPPER"); err == nil {
		t.Error("a reference that is not valid was taken")
	}
	var warnings strings.Builder
	dir = config(t, `{"credsStore":"is-not-installed"}`)
	if header, err = Header(dir, "busybox", &warnings); err != nil || header != "e30=" || !strings.Contains(warnings.String(), "is-not-installed") {
		t.Errorf("a helper that fails: %q, %v, warning %q", header, err, warnings.String())
	}
	if err := open(t, dir).Save(registry.AuthConfig{Username: "u", Password: "p"}); err == nil {
		t.Error("credentials were kept by a helper that is not there")
	}
	dir = config(t, `{"auths":{"https://index.docker.io/v1/":{"auth":"???"}}}`)
	if _, err = Header(dir, "busybox", &warnings); err == nil {
		t.Error("broken credentials in the file went unnoticed")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(`{"auths":{"a":{"auth":"dTpw"}},"x":1}`)
	f.Add(`{"auths":{"a":null},"credHelpers":{"a":"b"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "redsStore") || strings.Contains(text, "redHelpers") || strings.Contains(text, `\u`) {
			return // executing programs is no job for a fuzz test
		}
		s, err := Open(config(t, text))
		if err != nil || s.Helper("a") != "" {
			return
		}
		if err := s.Save(registry.AuthConfig{ServerAddress: "a", Username: "u", Password: "p"}); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Get("a"); err != nil || a.Password != "p" {
			t.Errorf("%+v, %v", a, err)
		}
	})
}
