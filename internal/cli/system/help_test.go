package system

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
	"hoy/internal/cli/images"
	"hoy/internal/cli/networks"
	"hoy/internal/cli/volumes"
)

// tree is all verbs that are not of containers.
func tree(app *cli.App, root *cobra.Command) {
	verbs(app, root)
	root.AddCommand(images.Commands(app)...)
	root.AddCommand(images.Management(app), networks.Management(app), volumes.Management(app))
}

func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var all []*cobra.Command
	for _, sub := range cmd.Commands() {
		all = append(all, leaves(sub)...)
	}
	return all
}

func newRoot() *cobra.Command {
	app := cli.NewApp(strings.NewReader(""), io.Discard, io.Discard)
	root := cli.NewRoot(app)
	tree(app, root)
	return root
}

func TestVerbsExplainThemselves(t *testing.T) {
	for _, cmd := range leaves(newRoot()) {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its summary is %q", path, cmd.Short)
		}
		if !strings.HasPrefix(cmd.Example, "  ") || !strings.Contains(cmd.Example, "hoy ") {
			t.Errorf("%s: no example, or not as others have it: %q", path, cmd.Example)
		}
		if cmd.ValidArgsFunction == nil && cmd.Name() != "import" { // import takes a file first
			t.Errorf("%s offers nothing to the shell", path)
		}
	}
}

var (
	helpFlag = regexp.MustCompile(`^ {2}(?:-(\w), | {4})--([a-z0-9-]+)(?: (\S+))? `)
	refused  = regexp.MustCompile(`^unknown|is not a docker command`)
)

// without says which of docker's flags hoy does not have, and why.
var without = map[string]string{
	"tree":                  "an experiment of Docker's",
	"cluster":               "cluster volumes belong to swarm",
	"availability":          "cluster volumes belong to swarm",
	"group":                 "cluster volumes belong to swarm",
	"limit-bytes":           "cluster volumes belong to swarm",
	"required-bytes":        "cluster volumes belong to swarm",
	"secret":                "cluster volumes belong to swarm",
	"sharing":               "cluster volumes belong to swarm",
	"topology-preferred":    "cluster volumes belong to swarm",
	"topology-required":     "cluster volumes belong to swarm",
	"type":                  "cluster volumes belong to swarm",
	"volume create/scope":   "cluster volumes belong to swarm",
	"disable-content-trust": "taken, but not shown",
}

// own are the verbs that docker does not have.
var own = map[string]bool{"system check": true, "doctor": true}

// TestFlagsAsDocker: what docker's help lists, hoy takes, with the same letter.
func TestFlagsAsDocker(t *testing.T) {
	s := difftest.Serve(t, nil)
	compared := 0
	for _, cmd := range leaves(newRoot()) {
		path := strings.TrimPrefix(cmd.CommandPath(), "hoy ")
		if cmd.Hidden || cmd.Name() == "build" || own[path] {
			continue
		}
		help := s.Docker(t, "", append(strings.Fields(path), "--help")...)
		if help.Code != 0 || refused.MatchString(help.Err) {
			t.Errorf("docker has no %q: %s", path, help.Err)
			continue
		}
		for line := range strings.Lines(help.Out) {
			m := helpFlag.FindStringSubmatch(line)
			if m == nil || without[m[2]] != "" || without[path+"/"+m[2]] != "" {
				continue
			}
			flag := cmd.Flags().Lookup(m[2])
			if flag == nil {
				t.Errorf("%s has no --%s", path, m[2])
				continue
			}
			compared++
			if flag.Shorthand != m[1] {
				t.Errorf("%s --%s has the letter %q, docker's %q", path, m[2], flag.Shorthand, m[1])
			}
			if takesNone := m[3] == "" || !slices.Contains([]string{"string", "strings", "list", "map", "filter", "int"}, m[3]); takesNone != (flag.Value.Type() == "bool") {
				t.Errorf("%s --%s is a %s, docker's takes %q", path, m[2], flag.Value.Type(), m[3])
			}
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !flag.Hidden && flag.Name != "help" && !strings.Contains(help.Out, "--"+flag.Name) {
				t.Errorf("%s --%s is not in docker's help", path, flag.Name)
			}
		})
	}
	if compared < 100 {
		t.Errorf("only %d flags were compared: docker's help has another form", compared)
	}
}
