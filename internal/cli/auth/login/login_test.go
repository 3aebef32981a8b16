package login

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func verbs(app *cli.App, root *cobra.Command) { root.AddCommand(Commands(app)...) }

func TestLoginAsDocker(t *testing.T) {
	ok := difftest.Routes{"POST /auth": {Body: `{"Status":"Login Succeeded","IdentityToken":""}`}}
	denied := difftest.Routes{"POST /auth": {Status: 401, Body: `{"message":"Get \"https://r.example/v2/\": unauthorized: incorrect username or password"}`}}
	for _, args := range []string{
		"login -u u --password-stdin r.example", "login --username u -p pw r.example", "login --password-stdin r.example",
		"login -u u -p x --password-stdin r.example", "login -u u r.example", "login r.example", "login a b", "logout r.example", "logout", "logout a b",
		"login -u u --password-stdin",
	} {
		for name, routes := range map[string]difftest.Routes{"ok": ok, "denied": denied} {
			t.Run(args+" "+name, func(t *testing.T) {
				s := difftest.Serve(t, routes)
				want, got := s.Docker(t, "secret\n", strings.Fields(args)...), s.Hoy(t, verbs, "secret\n", strings.Fields(args)...)
				if got.Code != want.Code || got.Out != want.Out || fmt.Sprint(got.Asked) != fmt.Sprint(want.Asked) {
					t.Errorf("--- hoy\n%+v\n--- docker\n%+v", got, want)
				}
				if strings.Contains(got.Out+got.Err, "secret") {
					t.Errorf("the password is shown: %+v", got)
				}
			})
		}
	}
}

func TestLoginKeeps(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{"POST /auth": {Body: `{"Status":"Login Succeeded","IdentityToken":"tok"}`}})
	dir := t.TempDir()
	got := s.Hoy(t, verbs, "secret\n", "--config", dir, "login", "-u", "u", "--password-stdin", "https://r.example/v2/")
	if got.Code != 0 || got.Out != "Login Succeeded\n" || !strings.Contains(got.Err, "stored unencrypted in '"+filepath.Join(dir, "config.json")+"'") {
		t.Errorf("got %+v", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || !strings.Contains(string(data), `"identitytoken": "tok"`) || !strings.Contains(string(data), `"r.example"`) {
		t.Errorf("kept %s, %v", data, err)
	}
	if got = s.Hoy(t, verbs, "", "--config", dir, "login", "r.example"); got.Code != 0 || !strings.HasPrefix(got.Out, "Authenticating with existing credentials... [Username: u]\n") {
		t.Errorf("second login: %+v", got)
	}
	if got = s.Hoy(t, verbs, "", "--config", dir, "logout", "r.example"); got.Code != 0 || got.Out != "Removing login credentials for r.example\n" {
		t.Errorf("logout: %+v", got)
	}
	if data, err = os.ReadFile(filepath.Join(dir, "config.json")); err != nil || strings.Contains(string(data), "tok") {
		t.Errorf("after logout: %s, %v", data, err)
	}
}
