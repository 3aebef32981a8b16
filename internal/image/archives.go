package image

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/archive"
	"hoy/internal/image/catalog"
	"hoy/internal/image/store"
	"hoy/internal/request"
)

// archives brings images in from files and writes them to files.
type archives struct {
	store *store.Store
	find  *finder
	tell  *announcer
	room  *room
}

// Import makes an image of one root file system tar, compressed or not, and
// returns its id. The layer is kept uncompressed.
func (a *archives) Import(ctx context.Context, content io.Reader, opt request.ImageImport, _ request.Progress) (string, error) {
	name, err := catalog.ParseTarget(opt.Ref)
	if err != nil {
		return "", err
	}
	lctx, done, err := a.store.Lease(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	target, err := archive.Import(lctx, a.store, content, archive.ImportOptions{
		Message: opt.Message, Changes: opt.Changes, Platform: opt.Platform,
	})
	if err != nil {
		return "", a.room.failed(ctx, "import", done, err)
	}
	if name == "" {
		name = catalog.DanglingName(target.Digest)
	}
	if err := a.find.names.Put(lctx, name, target); err != nil {
		return "", err
	}
	a.tell.image(ctx, events.ActionImport, target, target.Digest.String())
	return target.Digest.String(), nil
}

// Load reads a docker archive or an OCI layout, as tar, compressed or not. Of
// an image with several platforms those asked for are checked to be there.
func (a *archives) Load(ctx context.Context, content io.Reader, want []ocispec.Platform, progress request.Progress) error {
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	lctx, done, err := a.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	loaded, err := archive.Load(lctx, a.store, content, archive.LoadOptions{
		Platforms: want, Progress: progress,
		Need: func(bytes int64) error { return a.room.disk.Need("load", bytes) },
	})
	if err != nil {
		return a.room.failed(ctx, "load", done, err)
	}
	for _, img := range loaded {
		if len(img.Names) == 0 {
			if err := a.find.names.Put(lctx, catalog.DanglingName(img.Target.Digest), img.Target); err != nil {
				return err
			}
			progress(jsonstream.Message{Stream: "Loaded image ID: " + img.Target.Digest.String() + "\n"})
			a.tell.image(ctx, events.ActionLoad, img.Target, img.Target.Digest.String())
		}
		for _, name := range img.Names {
			if err := a.find.names.Put(lctx, name, img.Target); err != nil {
				return err
			}
			progress(jsonstream.Message{Stream: "Loaded image: " + catalog.Familiar(name) + "\n"})
			a.tell.image(ctx, events.ActionLoad, img.Target, catalog.Familiar(name))
		}
	}
	return nil
}

// Save writes the images as a tar that is a docker archive and an OCI layout at
// once. Without platforms, of an image with several those that are here go in.
func (a *archives) Save(ctx context.Context, refs []string, want []ocispec.Platform, w io.Writer) error {
	if len(refs) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage("at least one image is needed to save")
	}
	var images []archive.Named
	for _, ref := range refs {
		found, err := a.saveTargets(ctx, ref)
		if err != nil {
			return err
		}
		images = append(images, found...)
	}
	lctx, done, err := a.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := archive.Save(lctx, a.store, images, want, w); err != nil {
		return err
	}
	for _, img := range images {
		a.tell.image(ctx, events.ActionSave, img.Target, img.Target.Digest.String())
	}
	return nil
}

// saveTargets is the image that ref names; of a repository without a tag, all tags.
func (a *archives) saveTargets(ctx context.Context, ref string) ([]archive.Named, error) {
	img, err := a.find.Resolve(ctx, ref, nil)
	switch {
	case err == nil && img.Name == "":
		return []archive.Named{{Target: img.Target}}, nil
	case err == nil && !isBareName(ref):
		return []archive.Named{{Target: img.Target, Names: []string{img.Name}}}, nil
	case err != nil && (!errdefs.IsNotFound(err) || !isBareName(ref)):
		return nil, err
	}
	named, perr := reference.ParseNormalizedNamed(ref)
	if perr != nil {
		return nil, errors.Join(err, perr)
	}
	tags, terr := a.find.tagsOf(ctx, named)
	if terr != nil {
		if err != nil {
			return nil, err
		}
		return nil, terr
	}
	var out []archive.Named
	for _, tag := range tags {
		img, err := a.find.Resolve(ctx, tag.String(), nil)
		if err != nil {
			return nil, err
		}
		out = append(out, archive.Named{Target: img.Target, Names: []string{tag.String()}})
	}
	return out, nil
}

func isBareName(ref string) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	return err == nil && reference.IsNameOnly(named)
}
