// Package show has the verbs that tell about containers: inspect, top, port,
// diff and stats.
package show

import (
	"bytes"
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
)

const formatUsage = "Format output: 'json', or a Go template"

// NewContainerInspect returns `container inspect`.
func NewContainerInspect(app *cli.App) *cobra.Command {
	var text string
	var size bool
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Display detailed information on one or more containers",
		Example:           "  hoy container inspect web\n  hoy container inspect -f '{{.State.Pid}}' web",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := app.Client()
			if err != nil {
				return err
			}
			return format.Inspect(app.Out, text, args, func(ref string) (format.Object, error) {
				return inspectContainer(cmd.Context(), api, ref, size)
			})
		},
	}
	cmd.Flags().StringVarP(&text, "format", "f", "", formatUsage)
	cmd.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes")
	return cmd
}

// NewInspect returns the `inspect` that finds objects of any type.
func NewInspect(app *cli.App) *cobra.Command {
	var text, kind string
	var size bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NAME|ID [NAME|ID...]",
		Short: "Return low-level information on hoy objects",
		Example: `  hoy inspect web
  hoy inspect -f '{{.NetworkSettings.IPAddress}}' web
  hoy inspect --type image nginx`,
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			finders, err := findersOf(kind, cmd.Flags().Changed("type"), size)
			if err != nil {
				return err
			}
			api, err := app.Client()
			if err != nil {
				return err
			}
			return format.Inspect(app.Out, text, args, func(ref string) (format.Object, error) {
				return findObject(cmd.Context(), api, ref, finders)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&text, "format", "f", "", formatUsage)
	fs.StringVar(&kind, "type", "", `Only inspect objects of the given type (container, image, network, volume)`)
	fs.BoolVarP(&size, "size", "s", false, "Display total file sizes if the type is container")
	return cmd
}

// finder inspects one type of object.
type finder struct {
	kind string
	find func(ctx context.Context, api client.APIClient, ref string) (format.Object, error)
}

// findersOf returns the types to look through, in the order in which a name is
// looked for.
func findersOf(kind string, given, size bool) ([]finder, error) {
	all := []finder{
		{"container", func(ctx context.Context, api client.APIClient, ref string) (format.Object, error) {
			return inspectContainer(ctx, api, ref, size)
		}},
		{"image", inspectImage},
		{"network", inspectNetwork},
		{"volume", inspectVolume},
	}
	if !given {
		return all, nil
	}
	for _, f := range all {
		if f.kind == kind {
			return []finder{f}, nil
		}
	}
	switch kind {
	case "":
		return nil, fmt.Errorf(`type is empty: must be one of "container", "image", "network", "volume"`)
	case "node", "service", "task", "plugin", "secret", "config":
		return nil, fmt.Errorf("%q objects are not supported by hoy: must be one of \"container\", \"image\", \"network\", \"volume\"", kind)
	}
	return nil, fmt.Errorf(`unknown type: %q: must be one of "container", "image", "network", "volume"`, kind)
}

func findObject(ctx context.Context, api client.APIClient, ref string, finders []finder) (format.Object, error) {
	for _, f := range finders {
		obj, err := f.find(ctx, api, ref)
		if err == nil {
			return obj, nil
		}
		// What has no such type, or knows no such form of a name, has no such object.
		if len(finders) > 1 && (errdefs.IsNotFound(err) || errdefs.IsNotImplemented(err) || errdefs.IsInvalidArgument(err)) {
			continue
		}
		return format.Object{}, err
	}
	return format.Object{}, fmt.Errorf("Error: No such object: %s", ref) //nolint:staticcheck // users know this sentence
}

func inspectContainer(ctx context.Context, api client.APIClient, ref string, size bool) (format.Object, error) {
	res, err := api.ContainerInspect(ctx, ref, client.ContainerInspectOptions{Size: size})
	return format.Object{Typed: res.Container, Raw: res.Raw}, err
}

func inspectImage(ctx context.Context, api client.APIClient, ref string) (format.Object, error) {
	var raw bytes.Buffer
	res, err := api.ImageInspect(ctx, ref, client.ImageInspectWithRawResponse(&raw))
	return format.Object{Typed: res.InspectResponse, Raw: raw.Bytes()}, err
}

func inspectNetwork(ctx context.Context, api client.APIClient, ref string) (format.Object, error) {
	res, err := api.NetworkInspect(ctx, ref, client.NetworkInspectOptions{})
	return format.Object{Typed: res.Network, Raw: res.Raw}, err
}

func inspectVolume(ctx context.Context, api client.APIClient, ref string) (format.Object, error) {
	res, err := api.VolumeInspect(ctx, ref, client.VolumeInspectOptions{})
	return format.Object{Typed: res.Volume, Raw: res.Raw}, err
}
