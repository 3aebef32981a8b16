package cli

import "github.com/spf13/cobra"

// NoArgs refuses arguments, and what is no verb below a group of verbs.
func NoArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return unknownCommand(cmd, args[0])
	default:
		return Usage(cmd, "accepts no arguments")
	}
}

// ExactArgs asks for n arguments.
func ExactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return Usage(cmd, "requires exactly %d %s", n, plural("argument", n))
	}
}

// MinArgs asks for n arguments or more.
func MinArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return Usage(cmd, "requires at least %d %s", n, plural("argument", n))
	}
}

// MaxArgs asks for n arguments or fewer.
func MaxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return Usage(cmd, "requires at most %d %s", n, plural("argument", n))
	}
}

// RangeArgs asks for low to high arguments.
func RangeArgs(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if low <= len(args) && len(args) <= high {
			return nil
		}
		return Usage(cmd, "requires at least %d and at most %d %s", low, high, plural("argument", high))
	}
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
