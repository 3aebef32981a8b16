package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
)

// forbidden are packages that would make the command line slow to start, or that
// belong to the daemon. The program starts at every keystroke of completion.
var forbidden = map[string]string{
	"github.com/containerd/containerd": "belongs to the daemon",
	"github.com/moby/buildkit":         "belongs to the daemon",
	"google.golang.org/grpc":           "costs milliseconds at start",
	"google.golang.org/protobuf":       "registers types at start",
	"go.etcd.io/bbolt":                 "belongs to the daemon",
	"github.com/google/nftables":       "belongs to the daemon",
	"github.com/vishvananda/netlink":   "belongs to the daemon",
	"github.com/sirupsen/logrus":       "the command line has no log",
	"hoy/internal/api":                 "the command line is a client",
	"hoy/internal/container":           "the command line is a client",
	"hoy/internal/image":               "the command line is a client",
	"hoy/internal/network":             "the command line is a client",
	"hoy/internal/volume":              "the command line is a client",
	"hoy/internal/monitor":             "the command line is a client",
	"hoy/internal/runtime":             "the command line is a client",
	"hoy/internal/store":               "the command line is a client",
}

func TestImportsAreLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for path, why := range forbidden {
			if pkg == path || strings.HasPrefix(pkg, path+"/") {
				t.Errorf("imports %s: %s", pkg, why)
			}
		}
	}
}

// TestEveryVerbHelps asks each verb for what a user needs to call it.
func TestEveryVerbHelps(t *testing.T) {
	var out, errs bytes.Buffer
	app := cli.NewApp(strings.NewReader(""), &out, &errs)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "completion" {
			return
		}
		switch {
		case cmd.Short == "":
			t.Errorf("%s says nothing about itself", cmd.CommandPath())
		case !cmd.HasSubCommands() && !strings.Contains(cmd.Example, cli.Name):
			t.Errorf("%s has no example", cmd.CommandPath())
		case !cmd.HasSubCommands() && cmd.Args == nil && cmd.Name() != "stats":
			t.Errorf("%s does not check its arguments", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newTree(app))
}

// TestShortAndManagementForms looks for both forms of each verb on containers.
func TestShortAndManagementForms(t *testing.T) {
	root := newTree(cli.NewApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)))
	for _, line := range []string{
		"run", "create", "start", "stop", "kill", "restart", "pause", "unpause", "wait", "rm", "rename", "update", "ps", "inspect",
		"logs", "attach", "exec", "top", "stats", "port", "diff", "cp", "export", "commit",
		"container run", "container create", "container start", "container stop", "container kill", "container restart",
		"container pause", "container unpause", "container wait", "container rm", "container remove", "container rename",
		"container update", "container ls", "container ps", "container list", "container inspect", "container logs",
		"container attach", "container exec", "container top", "container stats", "container port", "container diff",
		"container cp", "container export", "container commit", "container prune",
		"images", "pull", "push", "rmi", "tag", "history", "import", "load", "save", "image ls", "image rm", "image prune", "image inspect",
		"volume create", "volume ls", "volume inspect", "volume rm", "volume prune", "network ls", "network inspect",
		"login", "logout", "info", "version", "events", "system df", "system prune", "system info", "system events",
	} {
		words := strings.Fields(line)
		cmd, rest, err := root.Find(words)
		if err != nil || len(rest) > 0 || !cmd.Runnable() {
			t.Errorf("hoy %s: found %s, left %q, %v", line, cmd.CommandPath(), rest, err)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out, errs bytes.Buffer
		app := cli.NewApp(strings.NewReader(""), &out, &errs)
		if code := cli.Main(t.Context(), app, newTree(app), []string{"completion", shell}); code != 0 || !strings.Contains(out.String(), "hoy") {
			t.Errorf("%s: exit code %d, %s", shell, code, &errs)
		}
	}
}

// TestBashCompletes runs the script in a bash that knows nothing but itself.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here that could read the script: ", err)
	}
	var script, errs bytes.Buffer
	app := cli.NewApp(strings.NewReader(""), &script, &errs)
	if code := cli.Main(t.Context(), app, newTree(app), []string{"completion", "bash"}); code != 0 {
		t.Fatal(errs.String())
	}
	for line, want := range map[string]string{
		"hoy rm ":          "asked <__complete rm > got <db dead>\n",
		"hoy rm d":         "asked <__complete rm d> got <db dead>\n",
		"hoy run -e=a b:c": "asked <__complete run -e=a b:c> got <>\n",
	} {
		cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", script.String()+`
compopt() { :; }
hoy() { printf '<%s>' "$*" >&3; printf 'db\ndead\n:4\n'; }
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
exec 3>&1; printf 'asked '; __start_hoy; printf ' got <%s>\n' "${COMPREPLY[*]}"`, "test", line)
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%q: %v\n%swant\n%s", line, err, out, want)
		}
	}
}

func TestTypo(t *testing.T) {
	for typed, want := range map[string]string{"rnu": `"run"`, "imagse": `"images"`, "contaner": `"container"`, "exce": `"exec"`, "pss": `"ps"`} {
		var out, errs bytes.Buffer
		app := cli.NewApp(strings.NewReader(""), &out, &errs)
		if code := cli.Main(t.Context(), app, newTree(app), []string{typed}); code != 1 || !strings.Contains(errs.String(), "Did you mean ") || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit code %d, %s", typed, code, &errs)
		}
	}
}

// BenchmarkTree is the cost of all commands and flags, paid at every start.
func BenchmarkTree(b *testing.B) {
	for b.Loop() {
		newTree(cli.NewApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)))
	}
}
