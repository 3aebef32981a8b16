package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// UseLine returns the usage line: the full path, with [OPTIONS] where there are
// some, then the arguments.
func UseLine(cmd *cobra.Command) string {
	if help := cmd.LocalFlags().Lookup("help"); help != nil {
		help.Hidden = true
	}
	_, args, _ := strings.Cut(cmd.Use, " ")
	line := cmd.CommandPath()
	if cmd.HasSubCommands() && args == "" {
		return line + " COMMAND"
	}
	if cmd.HasParent() && cmd.HasAvailableLocalFlags() && !strings.Contains(args, "[OPTIONS]") {
		line += " [OPTIONS]"
	}
	if args != "" {
		line += " " + args
	}
	return line
}

// groupKey is the annotation of verbs that stand under Common Commands in the
// root's help.
const groupKey = "hoy.common"

// Common marks verbs as the ones most used.
func Common(cmds ...*cobra.Command) []*cobra.Command {
	for _, cmd := range cmds {
		if cmd.Annotations == nil {
			cmd.Annotations = map[string]string{}
		}
		cmd.Annotations[groupKey] = "yes"
	}
	return cmds
}

// writeHelp writes the help of cmd. It is plain code and no template, which
// would be parsed at every start.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "Usage:  %s\n", UseLine(cmd))
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	if text != "" {
		fmt.Fprintf(w, "\n%s\n", text)
	}
	if aliases := aliasLine(cmd); aliases != "" {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", aliases)
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", strings.TrimRight(cmd.Example, "\n"))
	}
	writeCommands(w, cmd)
	flags := cmd.LocalFlags()
	if flags.HasAvailableFlags() {
		title := "Options"
		if !cmd.HasParent() {
			title = "Global Options"
		}
		fmt.Fprintf(w, "\n%s:\n%s", title, strings.TrimRight(flags.FlagUsages(), " "))
	}
	if cmd.HasSubCommands() {
		fmt.Fprintf(w, "\nRun '%s COMMAND --help' for more information on a command.\n", cmd.CommandPath())
	}
}

// aliasLine lists every way to call a verb that has more than one.
func aliasLine(cmd *cobra.Command) string {
	if list := cmd.Annotations["aliases"]; list != "" {
		return list
	}
	if len(cmd.Aliases) == 0 {
		return ""
	}
	parent := ""
	if cmd.HasParent() {
		parent = cmd.Parent().CommandPath() + " "
	}
	paths := []string{parent + cmd.Name()}
	for _, alias := range cmd.Aliases {
		paths = append(paths, parent+alias)
	}
	return strings.Join(paths, ", ")
}

func writeCommands(w io.Writer, cmd *cobra.Command) {
	var common, management, other []*cobra.Command
	for _, sub := range cmd.Commands() {
		switch {
		case !sub.IsAvailableCommand():
		case sub.Annotations[groupKey] != "" && !cmd.HasParent():
			common = append(common, sub)
		case sub.HasSubCommands() && !cmd.HasParent() && sub.Name() != completionVerb:
			management = append(management, sub)
		default:
			other = append(other, sub)
		}
	}
	for _, group := range []struct {
		title string
		cmds  []*cobra.Command
	}{{"Common Commands", common}, {"Management Commands", management}, {"Commands", other}} {
		if len(group.cmds) == 0 {
			continue
		}
		slices.SortFunc(group.cmds, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
		fmt.Fprintf(w, "\n%s:\n", group.title)
		for _, sub := range group.cmds {
			fmt.Fprintf(w, "  %-11s %s\n", sub.Name(), sub.Short)
		}
	}
}
