package images

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/mattn/go-runewidth"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

// onTerminal runs hoy with a terminal of that size and gives all that it wrote there.
func onTerminal(t *testing.T, s *difftest.Server, columns uint16, args ...string) (text string, code int) {
	t.Helper()
	t.Setenv("HOY_HOST", s.Host)
	t.Setenv("HOY_CONFIG", t.TempDir())
	t.Setenv("TERM", "xterm")
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("needs a pty: ", err)
	}
	defer master.Close()
	if err := pty.Setsize(slave, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(master) // ends with EIO when the last slave closes
		read <- string(all)
	}()
	app := cli.NewApp(slave, slave, slave)
	root := cli.NewRoot(app)
	build(app, root)
	code = cli.Main(t.Context(), app, root, args)
	_ = slave.Close()
	return <-read, code
}

func TestRefusesTerminal(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{"GET /images/get": {Body: "tar"}, "POST /images/load": {Body: "{}"}})
	for args, want := range map[string]string{
		"save a": "cowardly refusing to save to a terminal. Use the -o flag or redirect",
		"load":   "requested load from stdin, but stdin is empty",
	} {
		if text, code := onTerminal(t, s, 80, strings.Fields(args)...); code != 1 || strings.TrimSpace(text) != want {
			t.Errorf("%s: code %d, %q", args, code, text)
		}
	}
}

func TestListFitsTerminal(t *testing.T) {
	body := `[{"Id":"` + idA + `","Created":1,"Size":4268012,"RepoTags":["registry.example:5000/a/long/path/of/names/app:a-long-tag-for-a-release-candidate"]}]`
	s := difftest.Serve(t, difftest.Routes{"GET /images/json": {Body: body}})
	for _, columns := range []uint16{80, 100} {
		text, _ := onTerminal(t, s, columns, "images")
		if !strings.Contains(text, "…") {
			t.Errorf("nothing was shortened:\n%s", text)
		}
		for line := range strings.Lines(text) {
			if w := runewidth.StringWidth(strings.TrimRight(line, "\r\n")); w > int(columns) {
				t.Errorf("%d columns where the terminal has %d: %q", w, columns, line)
			}
		}
	}
	if text, _ := onTerminal(t, s, 80, "images", "--no-trunc"); strings.Contains(text, "…") {
		t.Errorf("--no-trunc shortened:\n%s", text)
	}
}

func TestHistoryCannotCommandTerminal(t *testing.T) {
	body := `[{"Id":"<missing>","Created":1,"CreatedBy":"a\u001b[2Jb","Size":1,"Comment":"\u001b]0;x\u0007y"}]`
	s := difftest.Serve(t, difftest.Routes{"GET /images/a/history": {Body: body}})
	if text, _ := onTerminal(t, s, 100, "history", "a"); strings.ContainsAny(text, "\x1b\x07") || !strings.Contains(text, "a[2Jb") {
		t.Errorf("%q", text)
	}
}

func TestPullOnTerminal(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{"POST /images/create": {Body: pulled}})
	text, code := onTerminal(t, s, 80, "pull", "a")
	if code != 0 || !strings.Contains(text, "\x1b[2K0123456789ab: Pull complete\r\n") || !strings.HasSuffix(text, "docker.io/library/a:latest\r\n") {
		t.Errorf("code %d, %q", code, text)
	}
}

func TestLoadOnTerminal(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{"POST /images/load": {Body: `{"stream":"Loaded image: a:latest\n"}`}})
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	text, code := onTerminal(t, s, 80, "load", "-i", path)
	if code != 0 || !strings.HasSuffix(text, "\r\x1b[2KLoaded image: a:latest\r\n") {
		t.Errorf("code %d, %q", code, text)
	}
}

func TestPushNotes(t *testing.T) {
	for raw, want := range map[string]string{
		`{"manifestPushedInsteadOfIndex":true,"originalIndex":{"digest":"sha256:1"},"selectedManifest":{"digest":"sha256:2"}}`: "sha256:2 (sha256:1)",
		`{"contentMissing":true,"desc":{"digest":"sha256:3"}}`:                                                                 "sha256:3 is not all here",
		`{"Tag":"latest","Digest":"sha256:4","Size":5}`:                                                                        "",
		`"x"`: "",
	} {
		if got := pushNote(json.RawMessage(raw)); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q", raw, got)
		}
	}
}
