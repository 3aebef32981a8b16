package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"

	"hoy/internal/filter"
	"hoy/internal/image/catalog"
	"hoy/internal/request"
)

// Remove takes a name from an image, and the image itself with its last name.
// A conflict is errdefs.ErrConflict. Force overrules stopped containers and
// several names, never a running container.
func (l *library) Remove(ctx context.Context, ref string, opt request.ImageRemove) ([]image.DeleteResponse, error) {
	if len(opt.Platforms) > 0 {
		return nil, errdefs.ErrNotImplemented.WithMessage("removing single platforms of an image is not supported")
	}
	g, record, err := l.names.Find(ctx, ref)
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
			return l.untag(ctx, g, drop)
		}
	}
	if err := l.checkUse(g, record, opt.Force); err != nil {
		return nil, err
	}
	out, err := l.erase(ctx, g)
	if err != nil {
		return out, err
	}
	return out, l.store.Sweep(ctx)
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
func (l *library) checkUse(g *catalog.Group, record string, force bool) error {
	uses := l.users.byImage()[g.ID()]
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

func (l *library) untag(ctx context.Context, g *catalog.Group, names []string) ([]image.DeleteResponse, error) {
	var out []image.DeleteResponse
	for _, name := range names {
		if err := l.names.Drop(ctx, name); err != nil {
			return out, err
		}
		out = append(out, image.DeleteResponse{Untagged: catalog.Familiar(name)})
		l.tell.image(ctx, events.ActionUnTag, g.Target, g.ID())
	}
	return out, nil
}

// erase removes all names of an image; the caller sweeps.
func (l *library) erase(ctx context.Context, g *catalog.Group) ([]image.DeleteResponse, error) {
	out, err := l.untag(ctx, g, g.Names())
	if err != nil {
		return out, err
	}
	if err := l.names.Drop(ctx, catalog.DanglingName(g.Target.Digest)); err != nil {
		return out, err
	}
	l.tell.image(ctx, events.ActionDelete, g.Target, g.ID())
	return append(out, image.DeleteResponse{Deleted: g.ID()}), nil
}

// Prune removes images that no container uses: those without a name, or with
// the filter dangling=false all of them. Further filters are label, label! and until.
func (l *library) Prune(ctx context.Context, filters filter.Args) (*image.PruneReport, error) {
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
	match, err := l.view.Matcher(ctx, rest)
	if err != nil {
		return nil, err
	}
	groups, err := l.names.All(ctx)
	if err != nil {
		return nil, err
	}
	before, err := l.store.Total(ctx)
	if err != nil {
		return nil, err
	}
	uses := l.users.byImage()
	report := &image.PruneReport{}
	for _, g := range groups {
		if ctx.Err() != nil {
			break
		}
		if len(uses[g.ID()]) > 0 || (danglingOnly && len(g.Names()) > 0) {
			continue
		}
		m, err := l.store.Select(ctx, g.Target, nil)
		if err != nil {
			m = nil
		}
		if !match(g, m) {
			continue
		}
		deleted, err := l.erase(ctx, g)
		report.ImagesDeleted = append(report.ImagesDeleted, deleted...)
		if err != nil {
			return report, err
		}
	}
	if err := l.store.Sweep(ctx); err != nil {
		return report, err
	}
	after, err := l.store.Total(ctx)
	if err != nil {
		return report, err
	}
	if before > after {
		report.SpaceReclaimed = uint64(before - after)
	}
	l.tell.publish(events.ActionPrune, "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)})
	return report, ctx.Err()
}
