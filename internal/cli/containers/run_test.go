package containers

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

// TestRunExitCodes has what keeps a command from starting.
func TestRunExitCodes(t *testing.T) {
	created := difftest.Answer{Status: 201, Body: `{"Id":"abc","Warnings":["mind the gap"]}`}
	started := difftest.Answer{Status: 204}
	failed := difftest.Answer{Status: 400, Body: `{"message":"failed to start"}`}
	state := func(code string) difftest.Answer {
		return difftest.Answer{Body: `{"Id":"abc","State":{"ExitCode":` + code + `}}`}
	}
	for name, tc := range map[string]struct {
		routes difftest.Routes
		args   string
		code   int
		out    string
		err    string
	}{
		"starts":          {difftest.Routes{"POST /containers/create": created, "POST /containers/abc/start": started}, "run -d img", 0, "abc\n", "WARNING: mind the gap\n"},
		"no such command": {difftest.Routes{"POST /containers/create": created, "POST /containers/abc/start": failed, "GET /containers/abc/json": state("127")}, "run -d img", 127, "", "hoy: Error response from daemon: failed to start\n\nRun 'hoy run --help' for more information\n"},
		"not executable":  {difftest.Routes{"POST /containers/create": created, "POST /containers/abc/start": failed, "GET /containers/abc/json": state("126")}, "run -d img", 126, "", "failed to start"},
		"other failure":   {difftest.Routes{"POST /containers/create": created, "POST /containers/abc/start": failed, "GET /containers/abc/json": state("1")}, "run -d img", 125, "", "failed to start"},
		"name taken":      {difftest.Routes{"POST /containers/create": {Status: 409, Body: `{"message":"Conflict. taken"}`}}, "run -d --name x img", 125, "", "hoy: Error response from daemon: Conflict. taken"},
		"no such network": {difftest.Routes{"POST /containers/create": {Status: 404, Body: `{"message":"network x not found"}`}, "GET /images/img/json": {Body: `{}`}}, "run -d --network x img", 125, "", "network x not found"},
		"pull refused":    {difftest.Routes{"POST /containers/create": {Status: 404, Body: `{"message":"No such image: img:latest"}`}, "GET /images/img/json": {Status: 404, Body: `{}`}, "POST /images/create": {Status: 403, Body: `{"message":"denied"}`}}, "run -d img", 125, "", "Unable to find image 'img:latest' locally\nhoy: Error response from daemon: denied"},
		"never pulls":     {difftest.Routes{"POST /containers/create": {Status: 404, Body: `{"message":"No such image: img:latest"}`}}, "run -d --pull never img", 125, "", "No such image: img:latest"},
		"create":          {difftest.Routes{"POST /containers/create": created}, "create img", 0, "abc\n", "mind the gap"},
		"create fails":    {difftest.Routes{"POST /containers/create": {Status: 500, Body: `{"message":"oops"}`}}, "create img", 1, "", "Error response from daemon: oops\n"},
		"tty":             {difftest.Routes{}, "run -it img", 125, "", "the input device is not a TTY"},
	} {
		t.Run(name, func(t *testing.T) {
			got := difftest.Serve(t, tc.routes).Hoy(t, build, "", strings.Fields(tc.args)...)
			if got.Code != tc.code || got.Out != tc.out || !strings.Contains(got.Err, tc.err) {
				t.Errorf("exit code %d, want %d\nout %q\nerr %q", got.Code, tc.code, got.Out, got.Err)
			}
		})
	}
}

func TestPullsWhatIsMissing(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{
		"POST /containers/create": {Status: 404, Body: `{"message":"No such image: img:latest"}`},
		"GET /images/img/json":    {Status: 404, Body: `{}`},
		"POST /images/create":     {Body: `{"status":"Pulling from library/img","id":"latest"}` + "\n"},
	})
	got := s.Hoy(t, build, "", "run", "-d", "--platform", "linux/arm64", "img")
	if len(got.Asked) != 4 || !strings.HasPrefix(got.Asked[2], "POST /images/create?fromImage=") || !strings.Contains(got.Asked[2], "platform=linux%2Farm64") || !strings.HasPrefix(got.Asked[3], "POST /containers/create?platform=") {
		t.Errorf("asked %q", got.Asked)
	}
	if !strings.Contains(got.Err, "Pulling from library/img") || got.Out != "" {
		t.Errorf("out %q, err %q", got.Out, got.Err)
	}
	if got := s.Hoy(t, build, "", "run", "-d", "-q", "img"); strings.Contains(got.Err, "Pulling") || strings.Contains(got.Err, "Unable to find") {
		t.Errorf("not quiet: %q", got.Err)
	}
}

func TestCIDFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cid")
	s := difftest.Serve(t, difftest.Routes{"POST /containers/create": {Status: 500, Body: `{"message":"oops"}`}})
	s.Hoy(t, build, "", "run", "-d", "--cidfile", file, "img")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("left behind after a failure: %v", err)
	}
	s = difftest.Serve(t, difftest.Routes{"POST /containers/create": {Status: 201, Body: `{"Id":"abc"}`}, "POST /containers/abc/start": {Status: 204}})
	if got := s.Hoy(t, build, "", "run", "-d", "--cidfile", file, "img"); got.Code != 0 {
		t.Errorf("%+v", got)
	}
	if id, err := os.ReadFile(file); string(id) != "abc" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	got := s.Hoy(t, build, "", "run", "-d", "--cidfile", file, "img")
	if got.Code != 125 || len(got.Asked) != 0 || !strings.Contains(got.Err, "container ID file found, make sure the other container isn't running or delete "+file) {
		t.Errorf("%+v", got)
	}
}

func TestNoDaemon(t *testing.T) {
	t.Setenv("HOY_CONFIG", t.TempDir())
	t.Setenv("HOY_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
	for args, code := range map[string]int{"run img": 125, "run -d img": 125, "ps": 1, "stop a b c": 1, "exec a b": 1, "cp a:b c": 1, "start a b": 1, "logs a": 1} {
		var out, errs bytes.Buffer
		app := cli.NewApp(strings.NewReader(""), &out, &errs)
		root := cli.NewRoot(app)
		build(app, root)
		got := cli.Main(t.Context(), app, root, strings.Fields(args))
		if got != code || strings.Count(errs.String(), "Cannot connect to the hoy daemon at ") != 1 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, want %d: %q", args, got, code, errs.String())
		}
	}
}
