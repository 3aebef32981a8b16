package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hoy/internal/version"
)

// Name is the program's name in usage and error texts.
const Name = "hoy"

// NewRoot returns the root command, without verbs. Global flags stand before the
// verb, so that a verb can use -l or -H for itself.
func NewRoot(app *App) *cobra.Command {
	cobra.EnableCommandSorting = true
	root := &cobra.Command{
		Use:              Name + " [OPTIONS] COMMAND",
		Short:            "Run, ship and manage containers that start in milliseconds",
		SilenceErrors:    true,
		SilenceUsage:     true,
		TraverseChildren: true,
		Version:          version.Version,
		Example: `  hoy run --rm hoy/hello
  hoy run -d -p 8080:80 --name web nginx
  hoy logs -f web
  hoy exec -it web sh`,
		Args: NoArgs,
		RunE: showHelp,
	}
	root.SetIn(app.In)
	root.SetOut(app.Out)
	root.SetErr(app.Err)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(app.Out, cmd) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { writeHelp(app.Err, cmd); return nil })
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("hoy version {{.Version}}, build " + version.Commit + "\n")
	root.SetHelpCommand(newHelp())

	g := &app.Global
	flags := root.Flags()
	flags.StringVar(&g.ConfigDir, "config", "", "Location of client config files (default \"~/.docker\")")
	flags.BoolVarP(&g.Debug, "debug", "D", false, "Enable debug mode")
	flags.StringVarP(&g.Host, "host", "H", "", "Daemon socket to connect to (default \""+DefaultHost+"\")")
	flags.StringVarP(&g.LogLevel, "log-level", "l", "info", `Set the logging level ("debug", "info", "warn", "error", "fatal")`)
	flags.BoolVar(&g.TLS, "tls", false, "Use TLS; implied by --tlsverify")
	flags.BoolVar(&g.TLSVerify, "tlsverify", false, "Use TLS and verify the remote")
	flags.StringVar(&g.TLSCACert, "tlscacert", "", "Trust certs signed only by this CA")
	flags.StringVar(&g.TLSCert, "tlscert", "", "Path to TLS certificate file")
	flags.StringVar(&g.TLSKey, "tlskey", "", "Path to TLS key file")
	flags.BoolP("version", "v", false, "Print version information and quit")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return g.check() }
	return root
}

// newHelp returns `help VERB`, the long way to write `VERB --help`.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about the command", Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("unknown help topic: %s", strings.Join(args, " "))
			}
			return showHelp(found, nil)
		},
	}
}

func (o *Options) check() error {
	switch o.LogLevel {
	case "debug", "info", "warn", "error", "fatal":
		return nil
	}
	return fmt.Errorf("unable to parse logging level: %s (use debug, info, warn, error or fatal)", o.LogLevel)
}

// Group returns a management command: a name over verbs.
func Group(name, short string, aliases []string, verbs ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: name, Short: short, Aliases: aliases, Args: NoArgs, RunE: showHelp}
	group.AddCommand(verbs...)
	return group
}

func showHelp(cmd *cobra.Command, _ []string) error {
	cmd.HelpFunc()(cmd, nil)
	return nil
}

// unknownCommand names the verb that was probably meant.
func unknownCommand(cmd *cobra.Command, typed string) error {
	full := strings.TrimPrefix(cmd.CommandPath()+" "+typed, Name+" ")
	var hint string
	if near := suggestions(cmd, typed); len(near) > 0 {
		hint = " Did you mean \"" + strings.Join(near, `" or "`) + "\"?"
	}
	return fmt.Errorf("%s: '%s' is not a %s command.%s\nSee '%s --help'", Name, full, Name, hint, cmd.CommandPath())
}

// suggestions returns the verbs at the smallest distance from what was typed, at
// most three.
func suggestions(cmd *cobra.Command, typed string) []string {
	best, names := 3, []string(nil)
	for _, sub := range cmd.Commands() {
		if sub.Hidden {
			continue
		}
		for _, name := range append([]string{sub.Name()}, sub.Aliases...) {
			d := distance(typed, name)
			if d >= len([]rune(name)) || d > best || d == 3 {
				continue
			}
			if d < best {
				best, names = d, nil
			}
			names = append(names, name)
		}
	}
	return names[:min(len(names), 3)]
}

// distance counts insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row := make([]int, len(t)+1)
		row[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(t)]
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, app *App, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	if len(args) > 0 && args[0] == completionVerb {
		completeBash(app, root)
	}
	return app.Report(root.ExecuteContext(ctx))
}
