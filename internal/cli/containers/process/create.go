// Package process has the verbs that start a process in a container and talk
// with it: run, create, start, attach, exec.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hoy/internal/cli"
	"hoy/internal/cli/auth"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/flags"
	"hoy/internal/cli/images"
	"hoy/internal/cli/progress"
)

// When an image is pulled before a container is created from it.
const (
	pullAlways  = "always"
	pullMissing = "missing"
	pullNever   = "never"
)

// creation is what run and create have in common.
type creation struct {
	app      *cli.App
	opts     *flags.Container
	name     string
	pull     string
	platform string
	quiet    bool
}

func newCreation(app *cli.App, fs *pflag.FlagSet) *creation {
	c := &creation{app: app}
	fs.StringVar(&c.name, "name", "", "Assign a name to the container")
	fs.StringVar(&c.pull, "pull", pullMissing, `Pull image before running ("always", "missing", "never")`)
	fs.BoolVarP(&c.quiet, "quiet", "q", false, "Suppress the pull output")
	fs.StringVar(&c.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Set platform if server is multi-platform capable")
	fs.Bool("disable-content-trust", true, "Skip image verification")
	fs.Lookup("disable-content-trust").Hidden = true
	c.opts = flags.New(fs)
	return c
}

// NewCreate returns `create`.
func NewCreate(app *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short: "Create a new container",
		Example: `  hoy create --name db -v data:/var/lib/db -p 5432:5432 postgres
  hoy create -it debian bash`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Images(app, 1),
	}
	c := newCreation(app, cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.opts.Image, c.opts.Args = args[0], args[1:]
		if err := c.check(); err != nil {
			return badFlags(cmd, err)
		}
		spec, err := c.opts.Spec(cmd.Flags())
		if err != nil {
			return badFlags(cmd, err)
		}
		spec.Attach(c.opts, false)
		id, err := c.create(cmd.Context(), spec)
		if err != nil {
			return err
		}
		fmt.Fprintln(app.Out, id)
		return nil
	}
	return cmd
}

// badFlags is the error of flags that contradict each other.
func badFlags(cmd *cobra.Command, err error) error {
	return cli.Fail(cli.ExitUsage, fmt.Errorf("%s: %w\n\nRun '%s --help' for more information", cli.Name, err, cmd.CommandPath()))
}

// check refuses what --pull does not know.
func (c *creation) check() error {
	switch c.pull {
	case pullAlways, pullMissing, pullNever, "":
		return nil
	}
	return fmt.Errorf("invalid pull option: '%s': must be one of %q, %q or %q", c.pull, pullAlways, pullMissing, pullNever)
}

// create pulls the image as --pull says, creates the container and writes its id
// to --cidfile.
func (c *creation) create(ctx context.Context, spec *flags.Spec) (id string, err error) {
	opt := client.ContainerCreateOptions{
		Config: spec.Config, HostConfig: spec.Host, NetworkingConfig: spec.Networking, Name: c.name,
	}
	if c.platform != "" {
		p, err := images.ParsePlatform(c.platform)
		if err != nil {
			return "", err
		}
		opt.Platform = &p
	}
	api, err := c.app.Client()
	if err != nil {
		return "", err
	}
	file, err := openIDFile(c.opts.CIDFile())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.close(id)) }()
	if c.pull == pullAlways {
		if err := c.fetch(ctx, api, opt.Platform); err != nil {
			return "", err
		}
	}
	created, err := api.ContainerCreate(ctx, opt)
	if errdefs.IsNotFound(err) && (c.pull == pullMissing || c.pull == "") && c.imageMissing(ctx, api) {
		if !c.quiet {
			fmt.Fprintf(c.app.Err, "Unable to find image '%s' locally\n", familiar(c.opts.Image))
		}
		if err := c.fetch(ctx, api, opt.Platform); err != nil {
			return "", err
		}
		created, err = api.ContainerCreate(ctx, opt)
	}
	if err != nil {
		return "", err
	}
	for _, warning := range created.Warnings {
		fmt.Fprintln(c.app.Err, "WARNING:", warning)
	}
	return created.ID, nil
}

// imageMissing tells a missing image from another object that create could not
// find, a network or a container.
func (c *creation) imageMissing(ctx context.Context, api client.APIClient) bool {
	if _, err := reference.ParseNormalizedNamed(c.opts.Image); err != nil {
		return false
	}
	_, err := api.ImageInspect(ctx, c.opts.Image)
	return errdefs.IsNotFound(err)
}

// familiar is the short form of a reference, with its tag.
func familiar(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}

// fetch pulls the image; the progress goes to the error stream, where it does
// not mix with the output of the command.
func (c *creation) fetch(ctx context.Context, api client.APIClient, platform *ocispec.Platform) error {
	named, err := reference.ParseNormalizedNamed(c.opts.Image)
	if err != nil {
		return err
	}
	header, err := auth.HeaderFor(c.app.ConfigDir(), c.opts.Image)
	if err != nil {
		return err
	}
	opt := client.ImagePullOptions{RegistryAuth: header}
	if platform != nil {
		opt.Platforms = []ocispec.Platform{*platform}
	}
	stream, err := api.ImagePull(ctx, reference.FamiliarString(reference.TagNameOnly(named)), opt)
	if err != nil {
		return err
	}
	defer stream.Close()
	out := c.app.Err
	if c.quiet {
		return progress.Display(stream, io.Discard, false, nil, nil)
	}
	return progress.Display(stream, out, out.IsTerminal(), out.Width, nil)
}

// idFile is the file of --cidfile, which must not exist before.
type idFile struct {
	file *os.File
}

func openIDFile(path string) (*idFile, error) {
	if path == "" {
		return &idFile{}, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case os.IsExist(err):
		return nil, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	case err != nil:
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return &idFile{file}, nil
}

// close writes the id; without one the file goes away.
func (f *idFile) close(id string) error {
	if f.file == nil {
		return nil
	}
	if id == "" {
		_ = f.file.Close()
		return os.Remove(f.file.Name())
	}
	_, err := f.file.WriteString(id)
	if err := errors.Join(err, f.file.Close()); err != nil {
		return fmt.Errorf("failed to write the container ID to the file: %w", err)
	}
	return nil
}
