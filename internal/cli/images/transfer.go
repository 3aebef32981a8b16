package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/auxprogress"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/auth"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/progress"
)

type transferOptions struct {
	allTags, quiet bool
	platform       string
}

func (o *transferOptions) register(cmd *cobra.Command, allTags, quiet, platform string) {
	flags := cmd.Flags()
	flags.BoolVarP(&o.allTags, "all-tags", "a", false, allTags)
	flags.BoolVarP(&o.quiet, "quiet", "q", false, quiet)
	flags.StringVar(&o.platform, "platform", "", platform)
	// Scripts pass it; content trust is gone from Docker too.
	flags.Bool("disable-content-trust", true, "Skip image verification (it is never done)")
	_ = flags.MarkHidden("disable-content-trust")
}

func newPull(app *cli.App) *cobra.Command {
	var opt transferOptions
	cmd := &cobra.Command{
		Use:   "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short: "Download an image from a registry",
		Example: `  hoy pull debian:bookworm
  hoy pull registry.example:5000/team/app@sha256:…
  hoy pull --platform linux/arm64 alpine`,
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.None,
		RunE:              func(cmd *cobra.Command, args []string) error { return runPull(cmd, app, opt, args[0]) },
	}
	opt.register(cmd, "Download all tagged images in the repository", "Suppress verbose output", "Set platform if server is multi-platform capable")
	return cmd
}

func runPull(cmd *cobra.Command, app *cli.App, opt transferOptions, name string) error {
	ref, err := reference.ParseNormalizedNamed(name)
	switch {
	case err != nil:
		return err
	case opt.allTags && !reference.IsNameOnly(ref):
		return errors.New("tag can't be used with --all-tags/-a")
	case !opt.allTags && reference.IsNameOnly(ref):
		ref = reference.TagNameOnly(ref)
		if tagged, ok := ref.(reference.Tagged); ok && !opt.quiet {
			fmt.Fprintln(app.Out, "Using default tag:", tagged.Tag())
		}
	}
	out := io.Writer(app.Out)
	if opt.quiet {
		out = io.Discard
	}
	if err := Pull(cmd, app, ref.String(), opt.platform, opt.allTags, out); err != nil {
		return err
	}
	fmt.Fprintln(app.Out, ref.String())
	return nil
}

// Pull pulls an image, with the credentials that are kept for its registry, and
// shows the progress on out. Platform may be empty.
func Pull(cmd *cobra.Command, app *cli.App, ref, platform string, allTags bool, out io.Writer) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	p, err := optionalPlatform(platform)
	if err != nil {
		return err
	}
	credentials, err := auth.Header(app.ConfigDir(), ref, app.Err)
	if err != nil {
		return err
	}
	opt := client.ImagePullOptions{All: allTags, RegistryAuth: credentials}
	if p != nil {
		opt.Platforms = []ocispec.Platform{*p}
	}
	stream, err := api.ImagePull(cmd.Context(), ref, opt)
	if err != nil {
		return err
	}
	defer stream.Close()
	return show(cmd, stream, out, nil)
}

// show displays a stream. Where a signal ended it, that is the error.
func show(cmd *cobra.Command, stream io.Reader, out io.Writer, aux func(json.RawMessage)) error {
	terminal, width := false, func() int { return 0 }
	if o, ok := out.(*cli.Output); ok {
		terminal, width = o.IsTerminal(), o.Width
	}
	err := progress.Display(stream, out, terminal, width, aux)
	if cause := cmd.Context().Err(); err != nil && cause != nil {
		return cause
	}
	return err
}

func newPush(app *cli.App) *cobra.Command {
	var opt transferOptions
	cmd := &cobra.Command{
		Use:   "push [OPTIONS] NAME[:TAG]",
		Short: "Upload an image to a registry",
		Example: `  hoy push registry.example:5000/team/app:1.2
  hoy push --all-tags registry.example:5000/team/app`,
		Args:              cli.ExactArgs(1),
		ValidArgsFunction: complete.Images(app, 1),
		RunE:              func(cmd *cobra.Command, args []string) error { return runPush(cmd, app, opt, args[0]) },
	}
	opt.register(cmd, "Push all tags of an image to the repository", "Suppress verbose output",
		"Push only this platform's manifest, formatted as os[/arch[/variant]]\n(e.g. linux/amd64), not the whole image index")
	return cmd
}

func runPush(cmd *cobra.Command, app *cli.App, opt transferOptions, name string) error {
	platform, err := optionalPlatform(opt.platform)
	if err != nil {
		return err
	}
	ref, err := reference.ParseNormalizedNamed(name)
	switch {
	case err != nil:
		return err
	case opt.allTags && !reference.IsNameOnly(ref):
		return errors.New("tag can't be used with --all-tags/-a")
	case !opt.allTags && reference.IsNameOnly(ref):
		ref = reference.TagNameOnly(ref)
		if tagged, ok := ref.(reference.Tagged); ok && !opt.quiet {
			fmt.Fprintln(app.Out, "Using default tag:", tagged.Tag())
		}
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	credentials, err := auth.Header(app.ConfigDir(), ref.String(), app.Err)
	if err != nil {
		return err
	}
	stream, err := api.ImagePush(cmd.Context(), ref.String(),
		client.ImagePushOptions{All: opt.allTags, RegistryAuth: credentials, Platform: platform})
	if err != nil {
		return err
	}
	defer stream.Close()
	out := io.Writer(app.Out)
	if opt.quiet {
		out = io.Discard
	}
	var notes []string
	err = show(cmd, stream, out, func(raw json.RawMessage) {
		if note := pushNote(raw); note != "" {
			notes = append(notes, note)
		}
	})
	for _, note := range notes {
		fmt.Fprintf(app.Err, "\nNote: %s\n", note)
	}
	if err == nil && opt.quiet {
		fmt.Fprintln(app.Out, ref.String())
	}
	return err
}

// pushNote says what the daemon tells about an image that is pushed only in part.
func pushNote(raw json.RawMessage) string {
	var instead auxprogress.ManifestPushedInsteadOfIndex
	if json.Unmarshal(raw, &instead) == nil && instead.ManifestPushedInsteadOfIndex {
		return fmt.Sprintf("not all platforms of the image are here, so only one manifest was pushed in place of the whole index\n%s (%s)",
			instead.SelectedManifest.Digest, instead.OriginalIndex.Digest)
	}
	var missing auxprogress.ContentMissing
	if json.Unmarshal(raw, &missing) == nil && missing.ContentMissing {
		return fmt.Sprintf("%s is not all here: it may have platforms that were never pulled; push one that is here with --platform", missing.Desc.Digest)
	}
	return ""
}
