package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func TestParseHost(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		tls      bool
		bad      string
	}{
		{in: "unix:///run/x.sock", want: "unix:///run/x.sock"},
		{in: "unix://", want: DefaultHost},
		{in: "/run/x.sock", want: "unix:///run/x.sock"},
		{in: "unix://run/x.sock", bad: "must be absolute"},
		{in: "tcp://10.0.0.1:99", want: "tcp://10.0.0.1:99"},
		{in: "10.0.0.1", want: "tcp://10.0.0.1:2375"},
		{in: "tcp://example.org", want: "tcp://example.org:2376", tls: true},
		{in: "tcp://[::1]", want: "tcp://[::1]:2375"},
		{in: "tcp://h:1/base", want: "tcp://h:1/base"},
		{in: "tcp://", bad: "no address"},
		{in: "ftp://x", bad: `"ftp" is not supported`},
	} {
		got, err := ParseHost(tc.in, tc.tls)
		if tc.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tc.bad) {
				t.Errorf("ParseHost(%q): error %v, want %q", tc.in, err, tc.bad)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestHostOrder(t *testing.T) {
	app := NewApp(nil, nil, nil)
	t.Setenv("HOY_HOST", "")
	t.Setenv("DOCKER_HOST", "")
	expect := func(want string) {
		t.Helper()
		if got, err := app.Host(); err != nil || got != want {
			t.Errorf("host %q, %v; want %q", got, err, want)
		}
	}
	expect(DefaultHost)
	t.Setenv("DOCKER_HOST", "unix:///d")
	expect("unix:///d")
	t.Setenv("HOY_HOST", "unix:///h")
	expect("unix:///h")
	app.Global.Host = "unix:///flag"
	expect("unix:///flag")
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"rnu", "run", 1}, {"ps", "ps", 0}, {"", "abc", 3}, {"satrt", "start", 1}, {"imagse", "images", 1}, {"exce", "exec", 1}, {"logz", "logs", 1}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

// tree is a command line with one verb below a group and at the top.
func tree(out, errs *bytes.Buffer) (*App, *cobra.Command) {
	app := NewApp(strings.NewReader(""), out, errs)
	root := NewRoot(app)
	verb := func() *cobra.Command {
		cmd := &cobra.Command{
			Use: "run IMAGE", Short: "Run things", Args: MinArgs(1),
			RunE: func(*cobra.Command, []string) error { return Exit(7) },
		}
		cmd.Flags().Int("count", 0, "How many")
		return cmd
	}
	root.AddCommand(verb(), Group("container", "Manage containers", nil, verb()))
	return app, root
}

func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		args string
		code int
		err  string
	}{
		{"run x", 7, ""},
		{"container run x", 7, ""},
		{"run", 1, "\"hoy run\" requires at least 1 argument.\nSee 'hoy run --help'.\n\nUsage:  hoy run [OPTIONS] IMAGE\n\nRun things\n"},
		{"run --nope x", 125, "unknown flag: --nope\nSee 'hoy run --help'.\n"},
		{"run --count x y", 125, "invalid argument \"x\" for \"--count\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\nSee 'hoy run --help'.\n"},
		{"rnu x", 1, "hoy: 'rnu' is not a hoy command. Did you mean \"run\"?\nSee 'hoy --help'\n"},
		{"container rum x", 1, "hoy: 'container rum' is not a hoy command. Did you mean \"run\"?\nSee 'hoy container --help'\n"},
		{"zzzzzz", 1, "hoy: 'zzzzzz' is not a hoy command.\nSee 'hoy --help'\n"},
		{"--nope", 125, "unknown flag: --nope\nSee 'hoy --help'.\n"},
		{"-l loud run x", 1, "unable to parse logging level: loud (use debug, info, warn, error or fatal)\n"},
	} {
		var out, errs bytes.Buffer
		app, root := tree(&out, &errs)
		if code := Main(t.Context(), app, root, strings.Fields(tc.args)); code != tc.code {
			t.Errorf("%s: exit code %d, want %d", tc.args, code, tc.code)
		}
		if errs.String() != tc.err {
			t.Errorf("%s: told\n%q\nwant\n%q", tc.args, errs.String(), tc.err)
		}
	}
}

func TestHelp(t *testing.T) {
	for args, want := range map[string]string{
		"container":  "Usage:  hoy container COMMAND\n\nManage containers\n\nCommands:\n  run         Run things\n\nRun 'hoy container COMMAND --help' for more information on a command.\n",
		"run --help": "Usage:  hoy run [OPTIONS] IMAGE\n\nRun things\n\nOptions:\n      --count int   How many\n",
		"help run":   "Usage:  hoy run [OPTIONS] IMAGE\n\nRun things\n\nOptions:\n      --count int   How many\n",
		"--version":  "hoy version 0.1.0-dev, build unknown\n",
	} {
		var out, errs bytes.Buffer
		app, root := tree(&out, &errs)
		if code := Main(t.Context(), app, root, strings.Fields(args)); code != 0 {
			t.Errorf("%s: exit code %d, %s", args, code, &errs)
		}
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", args, &out, want)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	var errs bytes.Buffer
	app := NewApp(nil, nil, &errs)
	app.Global.Host = "unix://" + t.TempDir() + "/none.sock"
	api, err := app.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, perr := api.ServerVersion(t.Context(), client.ServerVersionOptions{})
	if code := app.Report(errors.Join(perr, Fail(125, perr))); code != 125 {
		t.Errorf("exit code %d", code)
	}
	if want := "Cannot connect to the hoy daemon at " + app.Global.Host + ". Is it running? Start it with: sudo hoyd   (or: make demo)\n"; errs.String() != want {
		t.Errorf("told %q, want %q", &errs, want)
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false, "yep\n": false, "y": true} {
		var out bytes.Buffer
		app := NewApp(strings.NewReader(answer), &out, nil)
		if got, err := app.Confirm("Sure?"); err != nil || got != want {
			t.Errorf("%q: %v, %v", answer, got, err)
		}
	}
}

func TestEachKeepsOrder(t *testing.T) {
	var done []string
	err := Each([]string{"a", "b", "c", "d"}, func(name string) error {
		if name == "b" || name == "d" {
			return errors.New("no " + name)
		}
		return nil
	}, func(name string) { done = append(done, name) })
	if strings.Join(done, "") != "ac" || err == nil || err.Error() != "no b\nno d" {
		t.Errorf("done %v, error %v", done, err)
	}
}
