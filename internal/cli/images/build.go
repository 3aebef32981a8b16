package images

import (
	"errors"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
)

// newBuild answers those whose fingers know the verb. It takes any flags, so that
// the answer is about building and not about them, and help does not list it.
func newBuild() *cobra.Command {
	return &cobra.Command{
		Use:                "build [OPTIONS] PATH | URL | -",
		Short:              "Say that images cannot be built from a Dockerfile yet",
		Example:            "  hoy run -it --name work debian bash\n  hoy commit -c 'CMD [\"app\"]' work app:1.0",
		Hidden:             true,
		DisableFlagParsing: true,
		ValidArgsFunction:  complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				if arg == "--help" || arg == "-h" {
					cmd.HelpFunc()(cmd, nil)
					return nil
				}
			}
			return cli.Fail(1, errors.New("hoy cannot build images from a Dockerfile yet.\n"+
				"Until then, change a container and keep it with 'hoy commit', or import a root file system with 'hoy import'"))
		},
	}
}
