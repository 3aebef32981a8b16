package image

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"

	"hoy/internal/filter"
	"hoy/internal/image/catalog"
	"hoy/internal/request"
)

// Remove takes a name from an image, and the image itself with its last name. A
// conflict is errdefs.ErrConflict. Force overrules stopped containers and several
// names. By name it overrules also a running container: the image then loses
// its names and stays for its containers. Images made from this one go on, for
// layers live as long as anything needs them.
func (l *library) Remove(ctx context.Context, ref string, opt request.ImageRemove) ([]image.DeleteResponse, error) {
	if len(opt.Platforms) > 0 {
		return nil, errdefs.ErrNotImplemented.WithMessage("removing single platforms of an image is not supported")
	}
	g, record, err := l.names.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	uses := l.users.byImage()[g.ID()]
	switch {
	case record == "":
		err = checkID(g, uses, opt.Force)
	default:
		if drop := alike(g.Names(), ref, record); len(drop) < len(g.Names()) {
			return l.untag(ctx, g, drop)
		}
		if len(uses) > 0 && opt.Force {
			if err := l.names.Put(ctx, catalog.DanglingName(g.Target.Digest), g.Target); err != nil {
				return nil, err
			}
			return l.untag(ctx, g, g.Names())
		}
		if len(uses) > 0 {
			err = conflict("conflict: unable to delete %s (must be forced) - container %s is using its referenced image %s",
				catalog.Familiar(record), catalog.Short(uses[0].ContainerID), catalog.Short(g.ID()))
		}
	}
	if err != nil {
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

// checkID refuses to delete by id what containers use or what has several names.
func checkID(g *catalog.Group, uses []Use, force bool) error {
	short := catalog.Short(g.ID())
	for _, u := range uses {
		if u.Running {
			return conflict("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", short, catalog.Short(u.ContainerID))
		}
	}
	if force {
		return nil
	}
	if len(uses) > 0 {
		return conflict("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", short, catalog.Short(uses[0].ContainerID))
	}
	if names := g.Names(); len(names) > 1 && len(alike(names, names[0], names[0])) < len(names) {
		return conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short)
	}
	return nil
}

// alike gives those of an image's names that go with one of them, which ref has
// found: by digest all of its repository, else the one with its tag, and those
// with a digest too where its repository has no other tag.
func alike(names []string, ref, record string) []string {
	want, err := reference.ParseNormalizedNamed(record)
	if err != nil {
		return []string{record}
	}
	if asked, err := reference.ParseNormalizedNamed(ref); err == nil {
		if _, digested := asked.(reference.Digested); digested {
			want = asked
		}
	}
	tag := ""
	if tagged, ok := want.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	var same, digests []string
	others := false
	for _, name := range names {
		n, err := reference.ParseNormalizedNamed(name)
		if err != nil || n.Name() != want.Name() {
			continue
		}
		switch tagged, ok := n.(reference.Tagged); {
		case tag == "" || ok && tagged.Tag() == tag:
			same = append(same, name)
		case ok:
			others = true
		default:
			digests = append(digests, name)
		}
	}
	if others {
		return same
	}
	return append(same, digests...)
}

func (l *library) untag(ctx context.Context, g *catalog.Group, names []string) ([]image.DeleteResponse, error) {
	var out []image.DeleteResponse
	for _, name := range names {
		if err := l.names.Drop(ctx, name); err != nil {
			return out, err
		}
		out = append(out, image.DeleteResponse{Untagged: catalog.Familiar(name)})
		l.tell.image(ctx, events.ActionUnTag, g.Target, catalog.Familiar(name))
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
