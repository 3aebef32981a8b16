package images

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/flags/value"
	"hoy/internal/cli/progress"
)

func newImport(app *cli.App) *cobra.Command {
	var changes value.List
	var message, platform string
	cmd := &cobra.Command{
		Use:   "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
		Short: "Import the contents from a tarball to create a filesystem image",
		Example: `  hoy import rootfs.tar debian:mine
  mmdebstrap --variant=minbase bookworm - | hoy import --change 'CMD ["bash"]' - debian:mine`,
		Args: cli.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := client.ImageImportOptions{Message: message, Changes: changes.Values}
			p, err := optionalPlatform(platform)
			if err != nil {
				return err
			}
			if p != nil {
				opt.Platform = *p
			}
			ref := ""
			if len(args) == 2 {
				ref = args[1]
			}
			return runImport(cmd, app, opt, args[0], ref)
		},
	}
	set := cmd.Flags()
	set.VarP(&changes, "change", "c", "Apply Dockerfile instruction to the created image")
	set.StringVarP(&message, "message", "m", "", "Set commit message for imported image")
	set.StringVar(&platform, "platform", "", "Set platform if server is multi-platform capable")
	return cmd
}

func runImport(cmd *cobra.Command, app *cli.App, opt client.ImageImportOptions, source, ref string) error {
	if ref != "" {
		if _, err := reference.ParseNormalizedNamed(ref); err != nil {
			return err
		}
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	from := client.ImageImportSource{SourceName: source}
	done := func() {}
	if !strings.HasPrefix(source, "http://") && !strings.HasPrefix(source, "https://") {
		content, shown, err := open(app, source)
		if err != nil {
			return err
		}
		defer content.Close()
		from, done = client.ImageImportSource{SourceName: "-", Source: content}, shown
		defer done()
	}
	stream, err := api.ImageImport(cmd.Context(), from, ref, opt)
	done()
	if err != nil {
		return err
	}
	defer stream.Close()
	return show(cmd, stream, app.Out, nil)
}

// open opens a file, or the input for "-" and "". While it is read a terminal
// shows how far it is, until shown is called. A daemon may answer while it still
// reads, so that the content is closed after the answer's end.
func open(app *cli.App, path string) (content io.ReadCloser, shown func(), err error) {
	size := int64(0)
	content = io.NopCloser(app.In)
	if path != "" && path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		switch {
		case err != nil:
		case info.IsDir():
			err = fmt.Errorf("%s is a directory, not a tar archive", path)
		case info.Mode().IsRegular():
			size = info.Size()
		}
		if err != nil {
			_ = f.Close()
			return nil, nil, err
		}
		content = f
	}
	if !app.Err.IsTerminal() {
		return content, func() {}, nil
	}
	upload := progress.NewUpload(content, size, app.Err, app.Err.Width)
	return struct {
		io.Reader
		io.Closer
	}{upload, content}, upload.Stop, nil
}

func newLoad(app *cli.App) *cobra.Command {
	var input, platform string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "load [OPTIONS]",
		Short: "Load an image from a tar archive or STDIN",
		Example: `  hoy load -i app.tar.gz
  ssh build hoy save app | hoy load`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLoad(cmd, app, input, platform, quiet)
		},
	}
	set := cmd.Flags()
	set.StringVarP(&input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	set.StringVar(&platform, "platform", "", "Load only the given platform variant. Formatted as\n\"os[/arch[/variant]]\" (e.g., \"linux/amd64\")")
	set.BoolVarP(&quiet, "quiet", "q", false, "Suppress the load output")
	return cmd
}

func runLoad(cmd *cobra.Command, app *cli.App, input, platform string, quiet bool) error {
	if input == "" && app.In.IsTerminal() {
		return errors.New("requested load from stdin, but stdin is empty")
	}
	p, err := optionalPlatform(platform)
	if err != nil {
		return err
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	content, shown, err := open(app, input)
	if err != nil {
		return err
	}
	defer content.Close()
	defer shown()
	var opts []client.ImageLoadOption
	if quiet || !app.Out.IsTerminal() {
		opts = append(opts, client.ImageLoadWithQuiet(true))
	}
	if p != nil {
		opts = append(opts, client.ImageLoadWithPlatforms(*p))
	}
	stream, err := api.ImageLoad(cmd.Context(), content, opts...)
	shown()
	if err != nil {
		return err
	}
	defer stream.Close()
	return show(cmd, stream, app.Out, nil)
}

func newSave(app *cli.App) *cobra.Command {
	var output, platform string
	cmd := &cobra.Command{
		Use:   "save [OPTIONS] IMAGE [IMAGE...]",
		Short: "Save one or more images to a tar archive (streamed to STDOUT by default)",
		Example: `  hoy save -o app.tar app:1.2
  hoy save app:1.2 | gzip > app.tar.gz`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Images(app, 0),
		RunE:              func(cmd *cobra.Command, args []string) error { return runSave(cmd, app, output, platform, args) },
	}
	set := cmd.Flags()
	set.StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	set.StringVar(&platform, "platform", "", "Save only the given platform variant. Formatted as\n\"os[/arch[/variant]]\" (e.g., \"linux/amd64\")")
	return cmd
}

// exitInterrupted is what shells give for a program that Ctrl-C ended.
const exitInterrupted = 130

func runSave(cmd *cobra.Command, app *cli.App, output, platform string, refs []string) error {
	if output == "" && app.Out.IsTerminal() {
		return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
	}
	p, err := optionalPlatform(platform)
	if err != nil {
		return err
	}
	if err := checkOutput(output); err != nil {
		return fmt.Errorf("failed to save image: %w", err)
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	var opts []client.ImageSaveOption
	if p != nil {
		opts = append(opts, client.ImageSaveWithPlatforms(*p))
	}
	// A signal must leave no half of a file.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	content, err := api.ImageSave(ctx, refs, opts...)
	if err == nil {
		defer content.Close()
		if output == "" {
			_, err = io.Copy(app.Out, content)
		} else {
			err = writeWhole(output, content)
		}
	}
	if err != nil && ctx.Err() != nil {
		return cli.Exit(exitInterrupted)
	}
	return err
}

// checkOutput refuses what cannot become a file before the daemon starts to work.
func checkOutput(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("invalid output path: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("cannot write to a directory")
	case !info.Mode().IsRegular() && info.Mode()&os.ModeDevice != 0:
		return errors.New("cannot write to a device")
	}
	return nil
}

// writeWhole writes the file beside its place and renames it, so that an
// archive that was cut is never taken for a whole one.
func writeWhole(path string, content io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = io.Copy(f, content); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
