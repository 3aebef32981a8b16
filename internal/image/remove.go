package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/filter"
	"hoy/internal/image/catalog"
	"hoy/internal/request"
)

// Tag gives the image that source names the further name repo:tag.
func (s *Service) Tag(ctx context.Context, source, repo, tag string) error {
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
	img, err := s.Resolve(ctx, source, nil)
	if err != nil {
		return err
	}
	if err := s.names.Put(ctx, name, img.Target); err != nil {
		return err
	}
	s.event(ctx, events.ActionTag, img.Target, catalog.Familiar(name))
	return nil
}

// Remove takes a name from an image, and the image itself with its last name.
// A conflict is errdefs.ErrConflict. Force overrules stopped containers and
// several names, never a running container.
func (s *Service) Remove(ctx context.Context, ref string, opt request.ImageRemove) ([]image.DeleteResponse, error) {
	if len(opt.Platforms) > 0 {
		return nil, errdefs.ErrNotImplemented.WithMessage("removing single platforms of an image is not supported")
	}
	g, record, err := s.names.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	names := g.Names()
	if record == "" && len(g.Repositories()) > 1 && !opt.Force {
		return nil, conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", catalog.Short(g.ID()))
	}
	if record != "" && len(names) > 1 {
		// A digest reference to a tagged image takes all tags of its repository.
		drop := []string{record}
		if isDigested(ref) {
			drop = sameRepository(names, record)
		}
		if len(drop) < len(names) {
			return s.untag(ctx, g, drop)
		}
	}
	if err := s.checkUse(g, record, opt.Force); err != nil {
		return nil, err
	}
	out, err := s.erase(ctx, g)
	if err != nil {
		return out, err
	}
	return out, s.store.Sweep(ctx)
}

func conflict(format string, args ...any) error {
	return errdefs.ErrConflict.WithMessage(fmt.Sprintf(format, args...))
}

func isDigested(ref string) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return false
	}
	_, ok := named.(reference.Digested)
	return ok
}

func sameRepository(names []string, of string) []string {
	want, err := reference.ParseNormalizedNamed(of)
	if err != nil {
		return []string{of}
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		ref, err := reference.ParseNormalizedNamed(n)
		return err != nil || ref.Name() != want.Name()
	})
}

// checkUse refuses to delete what containers use.
func (s *Service) checkUse(g *catalog.Group, record string, force bool) error {
	uses := s.usesByImage()[g.ID()]
	for _, u := range uses {
		if u.Running && (force || record == "") {
			return conflict("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", shownName(g, record), catalog.Short(u.ContainerID))
		}
	}
	if force || len(uses) == 0 {
		return nil
	}
	if record != "" {
		return conflict("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			catalog.Familiar(record), catalog.Short(uses[0].ContainerID), catalog.Short(g.ID()))
	}
	return conflict("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", catalog.Short(g.ID()), catalog.Short(uses[0].ContainerID))
}

func shownName(g *catalog.Group, record string) string {
	if record != "" {
		return catalog.Familiar(record)
	}
	return catalog.Short(g.ID())
}

func (s *Service) untag(ctx context.Context, g *catalog.Group, names []string) ([]image.DeleteResponse, error) {
	var out []image.DeleteResponse
	for _, name := range names {
		if err := s.names.Drop(ctx, name); err != nil {
			return out, err
		}
		out = append(out, image.DeleteResponse{Untagged: catalog.Familiar(name)})
		s.event(ctx, events.ActionUnTag, g.Target, g.ID())
	}
	return out, nil
}

// erase removes all names of an image; the caller sweeps.
func (s *Service) erase(ctx context.Context, g *catalog.Group) ([]image.DeleteResponse, error) {
	out, err := s.untag(ctx, g, g.Names())
	if err != nil {
		return out, err
	}
	if err := s.names.Drop(ctx, catalog.DanglingName(g.Target.Digest)); err != nil {
		return out, err
	}
	s.event(ctx, events.ActionDelete, g.Target, g.ID())
	return append(out, image.DeleteResponse{Deleted: g.ID()}), nil
}

// Prune removes images that no container uses: those without a name, or with
// the filter dangling=false all of them. Further filters are label, label! and until.
func (s *Service) Prune(ctx context.Context, filters filter.Args) (*image.PruneReport, error) {
	danglingOnly, err := filters.Bool("dangling", true)
	if err != nil {
		return nil, err
	}
	rest := filter.Args{}
	for k, v := range filters {
		if k != "dangling" {
			rest[k] = v
		}
	}
	match, err := s.view.Matcher(ctx, rest)
	if err != nil {
		return nil, err
	}
	groups, err := s.names.All(ctx)
	if err != nil {
		return nil, err
	}
	before, err := s.store.Total(ctx)
	if err != nil {
		return nil, err
	}
	uses := s.usesByImage()
	report := &image.PruneReport{}
	for _, g := range groups {
		if ctx.Err() != nil {
			break
		}
		if len(uses[g.ID()]) > 0 || (danglingOnly && len(g.Names()) > 0) {
			continue
		}
		m, err := s.store.Select(ctx, g.Target, nil)
		if err != nil {
			m = nil
		}
		if !match(g, m) {
			continue
		}
		deleted, err := s.erase(ctx, g)
		report.ImagesDeleted = append(report.ImagesDeleted, deleted...)
		if err != nil {
			return report, err
		}
	}
	if err := s.store.Sweep(ctx); err != nil {
		return report, err
	}
	after, err := s.store.Total(ctx)
	if err != nil {
		return report, err
	}
	if before > after {
		report.SpaceReclaimed = uint64(before - after)
	}
	s.publish(events.ActionPrune, "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)})
	return report, ctx.Err()
}

// DiskUsage counts the images for system df. TotalSize is what all blobs and
// all unpacked layers take on disk, each once; Reclaimable is what the images
// that no container uses do not share with one that is used.
func (s *Service) DiskUsage(ctx context.Context, verbose bool) (*image.DiskUsage, error) {
	groups, err := s.names.All(ctx)
	if err != nil {
		return nil, err
	}
	uses := s.usesByImage()
	usage := &image.DiskUsage{TotalCount: int64(len(groups))}
	var all, used []ocispec.Descriptor
	for _, g := range groups {
		all = append(all, g.Target)
		if len(uses[g.ID()]) > 0 {
			used = append(used, g.Target)
		}
	}
	usage.ActiveCount = int64(len(used))
	if usage.TotalSize, err = s.store.Total(ctx); err != nil {
		return nil, err
	}
	z, err := s.view.Sizes(ctx, all...)
	if err != nil {
		return nil, err
	}
	kept, err := s.view.Sizes(ctx, used...)
	if err != nil {
		return nil, err
	}
	usage.Reclaimable = z.Content() + z.Unpacked() - kept.Content() - kept.Unpacked()
	if verbose {
		items, err := s.List(ctx, request.ImageList{SharedSize: true})
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			usage.Items = append(usage.Items, *item)
		}
	}
	return usage, nil
}
