package image

import (
	"context"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/hello"
	"hoy/internal/image/store"
	"hoy/internal/image/transfer"
	"hoy/internal/request"
)

// registries pulls images and pushes them.
type registries struct {
	client atomic.Pointer[transfer.Client]
	store  *store.Store
	find   *finder
	tell   *announcer
	room   *room
}

// SetRegistries replaces how registries are spoken to, see Options; transfers
// that run go on as they began.
func (r *registries) SetRegistries(insecure, mirrors []string) error {
	c, err := transfer.NewClient(insecure, mirrors)
	if err != nil {
		return err
	}
	r.client.Store(c)
	return nil
}

// parseRemote reads a name at a registry, with Docker's default tag.
func parseRemote(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid reference format: " + err.Error())
	}
	return named, nil
}

// Pull fetches an image, or with AllTags every tag of a repository.
func (r *registries) Pull(ctx context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error {
	named, err := parseRemote(ref)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	if catalog.IsHello(ref) {
		return r.pullHello(ctx, progress)
	}
	if !opt.AllTags {
		return r.pullOne(ctx, reference.TagNameOnly(named), opt, progress)
	}
	if !reference.IsNameOnly(named) {
		return errdefs.ErrInvalidArgument.WithMessage("tag can't be used with --all-tags/-a")
	}
	tags, err := r.client.Load().Tags(ctx, named, opt.Auth)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		tagged, err := reference.WithTag(named, tag)
		if err != nil {
			return errdefs.ErrInvalidArgument.WithMessage("registry lists an invalid tag: " + err.Error())
		}
		if err := r.pullOne(ctx, tagged, opt, progress); err != nil {
			return err
		}
	}
	return nil
}

func (r *registries) pullOne(ctx context.Context, ref reference.Named, opt request.ImageTransfer, progress request.Progress) error {
	lctx, done, err := r.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	name, what := ref.String(), reference.FamiliarString(ref)
	old, oldErr := r.store.Images().Get(lctx, name)
	target, err := r.client.Load().Pull(lctx, r.store, ref, transfer.Pull{
		Platform: opt.Platform, Auth: opt.Auth, Progress: progress,
		Need: func(bytes int64) error { return r.room.disk.Need(what, bytes) },
	})
	if err != nil {
		return r.room.failed(ctx, what, done, err)
	}
	status := "Downloaded newer image for "
	if oldErr == nil && old.Target.Digest == target.Digest {
		status = "Image is up to date for "
	}
	if err := r.find.names.Put(lctx, name, target); err != nil {
		return err
	}
	r.pulled(ctx, ref, target)
	progress(jsonstream.Message{Status: "Status: " + status + reference.FamiliarString(ref)})
	return nil
}

func (r *registries) pulled(ctx context.Context, ref reference.Named, target ocispec.Descriptor) {
	r.tell.publish(events.ActionPull, reference.FamiliarString(ref), r.tell.attributes(ctx, target, reference.FamiliarName(ref)))
}

// pullHello loads the built-in image in the words of a pull.
func (r *registries) pullHello(ctx context.Context, progress request.Progress) error {
	named, err := parseRemote(hello.Name)
	if err != nil {
		return err
	}
	progress(jsonstream.Message{Status: "Pulling from " + reference.Path(named), ID: "latest"})
	status := "Image is up to date for "
	_, _, err = r.find.names.Find(ctx, hello.Name)
	if errdefs.IsNotFound(err) {
		status = "Downloaded newer image for "
	}
	if err := r.find.loadHello(ctx); err != nil {
		return err
	}
	img, err := r.find.Resolve(ctx, hello.Name, nil)
	if err != nil {
		return err
	}
	r.pulled(ctx, named, img.Target)
	progress(jsonstream.Message{Status: "Digest: " + img.ID})
	progress(jsonstream.Message{Status: "Status: " + status + reference.FamiliarString(named)})
	return nil
}

// Push sends an image to its registry, or with AllTags every tag of a repository.
func (r *registries) Push(ctx context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error {
	named, err := parseRemote(ref)
	if err != nil {
		return err
	}
	if _, ok := named.(reference.Digested); ok {
		return errdefs.ErrInvalidArgument.WithMessage("cannot push a digest reference")
	}
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	refs := []reference.Named{reference.TagNameOnly(named)}
	if opt.AllTags {
		if refs, err = r.find.tagsOf(ctx, named); err != nil {
			return err
		}
	}
	for _, tagged := range refs {
		img, err := r.find.Resolve(ctx, tagged.String(), nil)
		if errdefs.IsNotFound(err) {
			return errdefs.ErrNotFound.WithMessage("An image does not exist locally with the tag: " + reference.FamiliarName(tagged))
		}
		if err != nil {
			return err
		}
		push := transfer.Push{Platform: opt.Platform, Auth: opt.Auth, Progress: progress}
		if err := r.client.Load().Push(r.store.Context(ctx), r.store, tagged, img.Target, push); err != nil {
			return err
		}
		r.tell.publish(events.ActionPush, reference.FamiliarString(tagged), map[string]string{"name": reference.FamiliarName(tagged)})
	}
	return nil
}

// DistributionInspect asks the registry what a name points at.
func (r *registries) DistributionInspect(ctx context.Context, ref string, auth *registry.AuthConfig) (registry.DistributionInspect, error) {
	named, err := parseRemote(ref)
	if err != nil {
		return registry.DistributionInspect{}, err
	}
	return r.client.Load().Inspect(ctx, reference.TagNameOnly(named), auth)
}

// Login checks the credentials against the registry.
func (r *registries) Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	return r.client.Load().Login(ctx, auth)
}
