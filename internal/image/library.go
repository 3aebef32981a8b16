package image

import (
	"context"
	"log/slog"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/store"
	"hoy/internal/image/view"
	"hoy/internal/request"
)

// library is the images that are here.
type library struct {
	store *store.Store
	names *catalog.Catalog
	view  *view.Images
	find  *finder
	tell  *announcer
	users *users
	log   *slog.Logger
}

// Count is the number of images.
func (l *library) Count() int {
	all, err := l.names.All(context.Background())
	if err != nil {
		l.log.Warn("images cannot be counted", "error", err)
		return 0
	}
	return len(all)
}

// List gives the images, newest first.
func (l *library) List(ctx context.Context, opt request.ImageList) ([]*image.Summary, error) {
	return l.view.List(ctx, opt)
}

// Inspect tells all about one image.
func (l *library) Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (*image.InspectResponse, error) {
	if err := l.find.helloFor(ctx, ref); err != nil {
		return nil, err
	}
	return l.view.Inspect(ctx, ref, platform, manifests)
}

// History tells how an image was made, last step first.
func (l *library) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]*image.HistoryResponseItem, error) {
	if err := l.find.helloFor(ctx, ref); err != nil {
		return nil, err
	}
	return l.view.History(ctx, ref, platform)
}

// Tag gives the image that source names the further name repo:tag.
func (l *library) Tag(ctx context.Context, source, repo, tag string) error {
	if tag != "" {
		repo += ":" + tag
	}
	name, err := catalog.ParseTarget(repo)
	if err != nil {
		return err
	}
	if name == "" {
		return errdefs.ErrInvalidArgument.WithMessage("repository name must not be empty")
	}
	img, err := l.find.Resolve(ctx, source, nil)
	if err != nil {
		return err
	}
	if err := l.names.Put(ctx, name, img.Target); err != nil {
		return err
	}
	l.tell.image(ctx, events.ActionTag, img.Target, catalog.Familiar(name))
	return nil
}

// DiskUsage counts the images for system df. TotalSize is what all blobs and
// all unpacked layers take on disk, each once; Reclaimable is what the images
// that no container uses do not share with one that is used.
func (l *library) DiskUsage(ctx context.Context, verbose bool) (*image.DiskUsage, error) {
	groups, err := l.names.All(ctx)
	if err != nil {
		return nil, err
	}
	uses := l.users.byImage()
	usage := &image.DiskUsage{TotalCount: int64(len(groups))}
	var all, used []ocispec.Descriptor
	for _, g := range groups {
		all = append(all, g.Target)
		if len(uses[g.ID()]) > 0 {
			used = append(used, g.Target)
		}
	}
	usage.ActiveCount = int64(len(used))
	if usage.TotalSize, err = l.store.Total(ctx); err != nil {
		return nil, err
	}
	z, err := l.view.Sizes(ctx, all...)
	if err != nil {
		return nil, err
	}
	kept, err := l.view.Sizes(ctx, used...)
	if err != nil {
		return nil, err
	}
	usage.Reclaimable = z.Content() + z.Unpacked() - kept.Content() - kept.Unpacked()
	if verbose {
		items, err := l.List(ctx, request.ImageList{SharedSize: true})
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			usage.Items = append(usage.Items, *item)
		}
	}
	return usage, nil
}
