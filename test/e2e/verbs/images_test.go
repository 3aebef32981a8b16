package verbs

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

func TestBuiltInImageNeedsNoNetwork(t *testing.T) {
	e := engine.Start(t)
	if out := e.Must("run", "--rm", "hoy/hello"); !strings.Contains(strings.ToLower(out), "hoy") {
		t.Errorf("hoy/hello says %q", out)
	}
}

func TestImportEachCompression(t *testing.T) {
	e := engine.Start(t)
	plain := filepath.Join(t.TempDir(), "b.tar")
	if err := os.WriteFile(plain, engine.BusyboxTar(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"", "gzip", "bzip2", "xz", "zstd"} {
		path := plain
		if tool != "" {
			packed, err := exec.Command(tool, "-c", plain).Output()
			if err != nil {
				t.Fatalf("%s: %v", tool, err)
			}
			path = plain + "." + tool
			if err := os.WriteFile(path, packed, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e.Must("import", "-m", "from "+tool, path, "b:"+"x"+tool)
		if out := e.Must("run", "--rm", "b:"+"x"+tool, "/bin/echo", tool); out != tool {
			t.Errorf("an image imported from %q says %q", tool, out)
		}
	}
}

func TestImageVerbs(t *testing.T) {
	e := start(t)
	if out := e.Must("images"); !regexp.MustCompile(`(?m)^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\nbusybox +latest +[0-9a-f]{12} `).MatchString(out) {
		t.Errorf("images:\n%s", out)
	}
	e.Must("tag", "busybox", "other:1")
	id := e.Must("inspect", "-f", "{{.Id}}", "other:1")
	if got := e.Must("image", "inspect", "-f", "{{.Id}}", id[7:19]); got != id {
		t.Errorf("by short id: %s", got)
	}
	e.Hoy("rmi", id[7:19]).Refused(t, 1, "must be forced")
	if out := e.Must("rmi", "other:1"); out != "Untagged: other:1" {
		t.Errorf("rmi of one of two tags: %q", out)
	}
	e.Must("run", "-d", "--name", "user", "busybox", "sleep", "1000")
	e.Hoy("rmi", "busybox").Refused(t, 1, "conflict")
	e.Hoy("rmi", "-f", id[7:19]).Refused(t, 1, "cannot be forced")
	e.Must("rm", "-f", "user")
	for _, c := range []struct {
		args []string
		text string
	}{
		{[]string{"rmi", "nosuch"}, "o such image: nosuch"},
		{[]string{"tag", "nosuch", "x"}, "o such image: nosuch"},
		{[]string{"tag", "busybox", "UPPER"}, "must be lowercase"},
		{[]string{"history", "nosuch"}, "o such image: nosuch"},
		{[]string{"image", "inspect", "nosuch"}, "o such image: nosuch"},
		{[]string{"save", "-o", filepath.Join(t.TempDir(), "s"), "nosuch"}, "nosuch"},
		{[]string{"push", "nosuch"}, "nosuch"},
		{[]string{"import", "/no/such/file"}, "no such file"},
		{[]string{"load", "-i", "/no/such/file"}, "no such file"},
		{[]string{"pull", "UPPER"}, "must be lowercase"},
	} {
		e.Hoy(c.args...).Refused(t, 1, c.text)
	}
	if out := e.Must("rmi", "busybox"); !strings.Contains(out, "Deleted: "+id) {
		t.Errorf("rmi: %q", out)
	}
	if out := e.Must("images", "-q"); out != "" {
		t.Errorf("images left: %q", out)
	}
}

func TestForcedRemovalLeavesAUsedImageWithoutAName(t *testing.T) {
	e := start(t)
	id := e.Must("inspect", "-f", "{{.Id}}", "busybox")
	e.Must("run", "-d", "--name", "user", "busybox", "sleep", "1000")
	e.Hoy("rmi", "busybox").Refused(t, 1, "must be forced")
	if out := e.Must("rmi", "-f", "busybox"); out != "Untagged: busybox:latest" {
		t.Errorf("rmi -f of a used image: %q", out)
	}
	if out := e.Must("images", "-q", "--no-trunc", "-f", "dangling=true"); out != id {
		t.Errorf("images without a name: %q, want %s", out, id)
	}
	e.Must("stop", "-t", "0", "user")
	e.Must("start", "user")
	if out := e.Must("exec", "user", "echo", "on"); out != "on" {
		t.Errorf("exec: %q", out)
	}
	e.Must("commit", "user", "again")
	e.Must("rm", "-f", "user")
	if out := e.Must("image", "prune", "-f"); !strings.Contains(out, id) {
		t.Errorf("prune: %q", out)
	}
	if out := e.Must("run", "--rm", "again", "echo", "made of it"); out != "made of it" {
		t.Errorf("an image made from the removed one says %q", out)
	}
}

func TestSaveAndLoadKeepTheID(t *testing.T) {
	e := start(t)
	id := e.Must("inspect", "-f", "{{.Id}}", "busybox")
	path := filepath.Join(t.TempDir(), "saved.tar")
	e.Must("save", "-o", path, "busybox")
	e.Must("rmi", "busybox")
	if out := e.Must("load", "-i", path); !strings.Contains(out, "Loaded image: busybox:latest") {
		t.Errorf("load: %q", out)
	}
	if got := e.Must("inspect", "-f", "{{.Id}}", "busybox"); got != id {
		t.Errorf("id after save and load: %s, want %s", got, id)
	}
	e.Must("run", "--rm", "busybox", "true")
}

// TestLoadAtATerminal has progress come back while the archive still goes out.
func TestLoadAtATerminal(t *testing.T) {
	e := start(t)
	path := filepath.Join(t.TempDir(), "saved.tar")
	e.Must("save", "-o", path, "busybox")
	e.Must("rmi", "busybox")
	term := engine.OpenTerminal(t, engine.Bin(t, "hoy"), "-H", e.Host, "load", "-i", path)
	term.Expect("Loaded image: busybox:latest", 20*time.Second)
	if code := term.Wait(10 * time.Second); code != 0 {
		t.Errorf("load ended with %d", code)
	}
	e.Must("run", "--rm", "busybox", "true")
}

func TestCommitKeepsWhatWasSaid(t *testing.T) {
	e := start(t)
	e.Must("run", "--name", "wk", "-e", "A=1", "busybox", "sh", "-c", "echo new > /f; rm /etc/group; mkdir /home/x; chown 33:33 /home/x")
	if got := e.Must("diff", "wk"); got != "C /etc\nD /etc/group\nA /f\nC /home\nA /home/x" {
		t.Errorf("diff:\n%s", got)
	}
	e.Must("commit", "-a", "Me", "-m", "because", "-c", "ENV B=2", "-c", "WORKDIR /home/x", "wk", "made:1")
	out := e.Must("run", "--rm", "made:1", "sh", "-c", "cat /f; test -e /etc/group || echo gone; echo $A$B; pwd; stat -c %u /home/x")
	if out != "new\ngone\n12\n/home/x\n33" {
		t.Errorf("the committed image shows %q", out)
	}
	if got := e.Must("inspect", "-f", "{{.Author}} {{.Comment}}", "made:1"); got != "Me because" {
		t.Errorf("author and comment: %q", got)
	}
	e.Hoy("commit", "-c", "NOSUCH x", "wk").Refused(t, 1, "NOSUCH")
}

// tarOf packs headers without content.
func tarOf(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestHostileTars imports what would escape, and looks outside.
func TestHostileTars(t *testing.T) {
	e := start(t)
	victim := t.TempDir()
	whole := engine.BusyboxTar(t)
	for name, c := range map[string]struct {
		content []byte
		refused string // empty: taken, but harmless
	}{
		"half a tar":       {whole[:len(whole)/2], "EOF"},
		"not a tar":        {bytes.Repeat([]byte("no tar "), 1000), "tar"},
		"empty":            {nil, ""},
		"half a gzip":      {[]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), ""},
		"climbing name":    {tarOf(t, &tar.Header{Name: "../../../../../../../.." + victim + "/climbed", Typeflag: tar.TypeReg, Size: 3}), ""},
		"absolute name":    {tarOf(t, &tar.Header{Name: victim + "/absolute", Typeflag: tar.TypeReg, Size: 3}), ""},
		"through a link":   {tarOf(t, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: victim}, &tar.Header{Name: "l/through", Typeflag: tar.TypeReg, Size: 3}), ""},
		"hard link out":    {tarOf(t, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../../../../../../../etc/shadow"}), ""},
		"looping links":    {tarOf(t, &tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, &tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"}, &tar.Header{Name: "a/f", Typeflag: tar.TypeReg, Size: 1}), ""},
		"a device for all": {tarOf(t, &tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.tar")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			r := e.Hoy("import", path, "hostile")
			if c.refused != "" && (r.Code != 1 || !strings.Contains(r.Err, c.refused)) {
				t.Errorf("exit %d, want 1 with %q: %s %s", r.Code, c.refused, r.Out, r.Err)
			}
			if r.Code == 0 {
				e.Must("rmi", "hostile")
			}
		})
	}
	if entries, err := os.ReadDir(victim); err != nil || len(entries) > 0 {
		t.Errorf("an import wrote outside: %v, %v", entries, err)
	}
	if out := e.Must("images", "-q"); strings.Count(out, "\n") != 0 {
		t.Errorf("refused imports left images: %q", out)
	}
}

// TestHostileRegistries pulls from registries that answer nonsense.
func TestHostileRegistries(t *testing.T) {
	e := start(t)
	const kind = "application/vnd.oci.image.manifest.v1+json"
	digest := "sha256:" + strings.Repeat("ab", 32)
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": kind,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 10},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 1 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"html": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>welcome</html>"))
		},
		"a server error": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"absent": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		},
		"a blob that lies about its digest": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", kind)
				_, _ = w.Write(manifest)
				return
			}
			_, _ = w.Write([]byte("0123456789"))
		},
		"a cut connection": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", kind)
				_, _ = w.Write(manifest)
				return
			}
			w.Header().Set("Content-Length", "1048576")
			_, _ = w.Write([]byte("start"))
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(answer)
			defer s.Close()
			ref := strings.TrimPrefix(s.URL, "http://") + "/evil:1"
			r := e.Hoy("pull", ref)
			if r.Code != 1 || r.Err == "" {
				t.Errorf("exit %d with %q, want 1 with a reason", r.Code, r.Err)
			}
			t.Logf("says: %s", strings.TrimSpace(r.Err))
			if out := e.Hoy("image", "inspect", ref); out.Code == 0 {
				t.Error("an image was kept")
			}
		})
	}
}

func TestLoginLogout(t *testing.T) {
	e := start(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "me" || pass != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(401)
		}
	}))
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	login := func(pass string) *engine.Result {
		return engine.RunEnv(t, []string{"HOY_CONFIG=" + dir, "DOCKER_CONFIG=" + dir}, pass, engine.Bin(t, "hoy"), "-H", e.Host, "login", "-u", "me", "--password-stdin", addr)
	}
	login("wrong").Refused(t, 1, "unauthorized")
	if out := login("secret").Must(t); !strings.Contains(out, "Login Succeeded") {
		t.Errorf("login: %q", out)
	}
	fi, err := os.Stat(filepath.Join(dir, "config.json"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the credentials file: %v, %v", fi, err)
	}
	if strings.Contains(e.Log(), "secret") {
		t.Error("the password is in the daemon's log")
	}
	engine.RunEnv(t, []string{"HOY_CONFIG=" + dir, "DOCKER_CONFIG=" + dir}, "", engine.Bin(t, "hoy"), "-H", e.Host, "logout", addr).Must(t)
	if b, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil || strings.Contains(string(b), addr) {
		t.Errorf("after logout the file holds %s, %v", b, err)
	}
}

// TestCommitHoldsWhatPeopleChanged commits a container that only ran, and one that changed a file.
func TestCommitHoldsWhatPeopleChanged(t *testing.T) {
	e := start(t)
	layers := func(image string) string { return e.Must("inspect", "-f", "{{len .RootFS.Layers}}", image) }
	e.Must("run", "--name", "ran", "busybox", "true")
	e.Must("commit", "ran", "same")
	if got, want := layers("same"), layers("busybox"); got != want {
		t.Errorf("a container that changed nothing makes an image of %s layers, want %s: mount points of the engine are in it", got, want)
	}
	e.Must("run", "--name", "wrote", "busybox", "touch", "/etc/mine")
	if got := e.Must("diff", "wrote"); got != "C /etc\nA /etc/mine" {
		t.Errorf("diff shows %q", got)
	}
	e.Must("commit", "wrote", "more")
	if got := e.Must("run", "--rm", "more", "ls", "/etc/mine"); got != "/etc/mine" {
		t.Errorf("the committed file: %q", got)
	}
}
