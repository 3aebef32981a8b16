package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/flags/value"
)

// NewExport returns `export`.
func NewExport(app *cli.App) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:               "export [OPTIONS] CONTAINER",
		Short:             "Export a container's filesystem as a tar archive",
		Example:           "  hoy export -o web.tar web\n  hoy export web | gzip > web.tar.gz",
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.Containers(app, 1, nil),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if output == "" && app.Out.IsTerminal() {
			return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
		}
		api, err := app.Client()
		if err != nil {
			return err
		}
		stream, err := api.ContainerExport(cmd.Context(), args[0], client.ContainerExportOptions{})
		if err != nil {
			return err
		}
		defer stream.Close()
		if output == "" {
			_, err := io.Copy(app.Out, stream)
			return err
		}
		if err := save(output, stream); err != nil {
			return fmt.Errorf("failed to export container: %w", err)
		}
		return nil
	}
	return cmd
}

// save writes to a file beside the wanted one and renames it, so that half an
// archive never has the name of a whole one. What is no regular file, a pipe or a
// device, is written to as it is.
func save(output string, r io.Reader) error {
	if info, err := os.Stat(output); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return fmt.Errorf("%s is a directory", output)
		}
		f, err := os.OpenFile(output, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	tmp, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // after the rename there is none
	_, err = io.Copy(tmp, r)
	if err := errors.Join(err, tmp.Chmod(0o600), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), output)
}

// NewCommit returns `commit`.
func NewCommit(app *cli.App) *cobra.Command {
	var opt client.ContainerCommitOptions
	var pause bool
	var changes value.List
	cmd := &cobra.Command{
		Use:               "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
		Short:             "Create a new image from a container's changes",
		Example:           "  hoy commit -m 'with nginx' -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' red_ant web:1",
		Args:              cli.RangeArgs(1, 2),
		ValidArgsFunction: complete.Containers(app, 1, nil),
	}
	fs := cmd.Flags()
	fs.StringVarP(&opt.Author, "author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	fs.VarP(&changes, "change", "c", "Apply Dockerfile instruction to the created image")
	fs.StringVarP(&opt.Comment, "message", "m", "", "Commit message")
	fs.BoolVarP(&pause, "pause", "p", true, "Pause container during commit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 2 {
			opt.Reference = args[1]
		}
		opt.NoPause, opt.Changes = !pause, changes.Values
		api, err := app.Client()
		if err != nil {
			return err
		}
		made, err := api.ContainerCommit(cmd.Context(), args[0], opt)
		if err != nil {
			return err
		}
		fmt.Fprintln(app.Out, made.ID)
		return nil
	}
	return cmd
}
