// Package complete offers the names of containers, images, volumes and networks
// to the shell. A daemon that does not answer offers nothing.
package complete

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
)

// Func is what a verb sets as its ValidArgsFunction.
type Func = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// patience bounds how long a shell waits for names.
const patience = 2 * time.Second

// names turns a request for names into a completion of at most limit arguments;
// 0 is no limit. Names given already are not offered again.
func names(app *cli.App, limit int, ask func(context.Context, client.APIClient) ([]string, error)) Func {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if limit > 0 && len(args) >= limit {
			return nil, directive
		}
		api, err := app.Client()
		if err != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		found, err := ask(ctx, api)
		if err != nil {
			return nil, directive
		}
		return slices.DeleteFunc(found, func(name string) bool { return slices.Contains(args, name) }), directive
	}
}

// Containers offers names of containers that keep accepts, nil accepts all.
func Containers(app *cli.App, limit int, keep func(container.Summary) bool) Func {
	return names(app, limit, func(ctx context.Context, api client.APIClient) ([]string, error) {
		list, err := api.ContainerList(ctx, client.ContainerListOptions{All: true})
		if err != nil {
			return nil, err
		}
		var found []string
		for _, c := range list.Items {
			if keep != nil && !keep(c) {
				continue
			}
			for _, name := range c.Names {
				if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
					found = append(found, name)
				}
			}
		}
		return found, nil
	})
}

// Running accepts containers that run, also paused ones.
func Running(c container.Summary) bool {
	return c.State == container.StateRunning || c.State == container.StatePaused
}

// Stopped accepts containers that can be started.
func Stopped(c container.Summary) bool {
	return c.State == container.StateExited || c.State == container.StateCreated
}

// Paused accepts paused containers.
func Paused(c container.Summary) bool { return c.State == container.StatePaused }

// Images offers the references of images.
func Images(app *cli.App, limit int) Func {
	return names(app, limit, func(ctx context.Context, api client.APIClient) ([]string, error) {
		list, err := api.ImageList(ctx, client.ImageListOptions{})
		if err != nil {
			return nil, err
		}
		var found []string
		for _, image := range list.Items {
			for _, tag := range image.RepoTags {
				if tag != "<none>:<none>" {
					found = append(found, tag, strings.TrimSuffix(tag, ":latest"))
				}
			}
		}
		slices.Sort(found)
		return slices.Compact(found), nil
	})
}

// Volumes offers the names of volumes.
func Volumes(app *cli.App, limit int) Func {
	return names(app, limit, func(ctx context.Context, api client.APIClient) ([]string, error) {
		list, err := api.VolumeList(ctx, client.VolumeListOptions{})
		if err != nil {
			return nil, err
		}
		var found []string
		for _, v := range list.Items {
			found = append(found, v.Name)
		}
		return found, nil
	})
}

// Networks offers the names of networks.
func Networks(app *cli.App, limit int) Func {
	return names(app, limit, func(ctx context.Context, api client.APIClient) ([]string, error) {
		list, err := api.NetworkList(ctx, client.NetworkListOptions{})
		if err != nil {
			return nil, err
		}
		var found []string
		for _, n := range list.Items {
			found = append(found, n.Name)
		}
		return found, nil
	})
}

// None offers nothing, not even files.
func None(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}
