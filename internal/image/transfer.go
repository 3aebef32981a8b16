package image

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/archive"
	"hoy/internal/image/catalog"
	"hoy/internal/image/hello"
	"hoy/internal/image/transfer"
	"hoy/internal/request"
)

// parseRemote reads a name at a registry, with Docker's default tag.
func parseRemote(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid reference format: " + err.Error())
	}
	return named, nil
}

// Pull fetches an image, or with AllTags every tag of a repository.
func (s *Service) Pull(ctx context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error {
	named, err := parseRemote(ref)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	if catalog.IsHello(ref) {
		return s.pullHello(ctx, progress)
	}
	if !opt.AllTags {
		return s.pullOne(ctx, reference.TagNameOnly(named), opt, progress)
	}
	if !reference.IsNameOnly(named) {
		return errdefs.ErrInvalidArgument.WithMessage("tag can't be used with --all-tags/-a")
	}
	tags, err := s.registry.Load().Tags(ctx, named, opt.Auth)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		tagged, err := reference.WithTag(named, tag)
		if err != nil {
			return errdefs.ErrInvalidArgument.WithMessage("registry lists an invalid tag: " + err.Error())
		}
		if err := s.pullOne(ctx, tagged, opt, progress); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) pullOne(ctx context.Context, ref reference.Named, opt request.ImageTransfer, progress request.Progress) error {
	lctx, done, err := s.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	name := ref.String()
	old, oldErr := s.store.Images().Get(lctx, name)
	target, err := s.registry.Load().Pull(lctx, s.store, ref, transfer.Pull{Platform: opt.Platform, Auth: opt.Auth, Progress: progress})
	if err != nil {
		done()
		s.store.Discard(ctx)
		return err
	}
	status := "Downloaded newer image for "
	if oldErr == nil && old.Target.Digest == target.Digest {
		status = "Image is up to date for "
	}
	if err := s.names.Put(lctx, name, target); err != nil {
		return err
	}
	s.pulled(ctx, ref)
	progress(jsonstream.Message{Status: "Status: " + status + reference.FamiliarString(ref)})
	return nil
}

func (s *Service) pulled(ctx context.Context, ref reference.Named) {
	attributes := map[string]string{}
	if img, err := s.Resolve(ctx, ref.String(), nil); err == nil {
		for k, v := range img.Config.Config.Labels {
			attributes[k] = v
		}
	}
	attributes["name"] = reference.FamiliarName(ref)
	s.publish(events.ActionPull, reference.FamiliarString(ref), attributes)
}

// pullHello loads the built-in image in the words of a pull.
func (s *Service) pullHello(ctx context.Context, progress request.Progress) error {
	named, err := parseRemote(hello.Name)
	if err != nil {
		return err
	}
	progress(jsonstream.Message{Status: "Pulling from " + reference.Path(named), ID: "latest"})
	status := "Image is up to date for "
	_, _, err = s.names.Find(ctx, hello.Name)
	if errdefs.IsNotFound(err) {
		status = "Downloaded newer image for "
	}
	if err := s.loadHello(ctx); err != nil {
		return err
	}
	img, err := s.Resolve(ctx, hello.Name, nil)
	if err != nil {
		return err
	}
	s.pulled(ctx, named)
	progress(jsonstream.Message{Status: "Digest: " + img.ID})
	progress(jsonstream.Message{Status: "Status: " + status + reference.FamiliarString(named)})
	return nil
}

// Push sends an image to its registry, or with AllTags every tag of a repository.
func (s *Service) Push(ctx context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error {
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
		if refs, err = s.tagsOf(ctx, named); err != nil {
			return err
		}
	}
	for _, r := range refs {
		img, err := s.Resolve(ctx, r.String(), nil)
		if errdefs.IsNotFound(err) {
			return errdefs.ErrNotFound.WithMessage("An image does not exist locally with the tag: " + reference.FamiliarName(r))
		}
		if err != nil {
			return err
		}
		push := transfer.Push{Platform: opt.Platform, Auth: opt.Auth, Progress: progress}
		if err := s.registry.Load().Push(s.store.Context(ctx), s.store, r, img.Target, push); err != nil {
			return err
		}
		s.publish(events.ActionPush, reference.FamiliarString(r), map[string]string{"name": reference.FamiliarName(r)})
	}
	return nil
}

func (s *Service) tagsOf(ctx context.Context, repo reference.Named) ([]reference.Named, error) {
	groups, err := s.names.All(ctx)
	if err != nil {
		return nil, err
	}
	var refs []reference.Named
	for _, g := range groups {
		for _, name := range g.Names() {
			ref, err := reference.ParseNormalizedNamed(name)
			if _, tagged := ref.(reference.Tagged); err == nil && tagged && ref.Name() == repo.Name() {
				refs = append(refs, ref)
			}
		}
	}
	if len(refs) == 0 {
		return nil, errdefs.ErrNotFound.WithMessage("An image does not exist locally with the tag: " + reference.FamiliarName(repo))
	}
	return refs, nil
}

// Import makes an image of one root file system tar, compressed or not, and
// returns its id. The layer is kept uncompressed.
func (s *Service) Import(ctx context.Context, content io.Reader, opt request.ImageImport, _ request.Progress) (string, error) {
	name, err := catalog.ParseTarget(opt.Ref)
	if err != nil {
		return "", err
	}
	lctx, done, err := s.store.Lease(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	target, err := archive.Import(lctx, s.store, content, archive.ImportOptions{
		Message: opt.Message, Changes: opt.Changes, Platform: opt.Platform,
	})
	if err != nil {
		done()
		s.store.Discard(ctx)
		return "", err
	}
	if name == "" {
		name = catalog.DanglingName(target.Digest)
	}
	if err := s.names.Put(lctx, name, target); err != nil {
		return "", err
	}
	s.event(ctx, events.ActionImport, target, target.Digest.String())
	return target.Digest.String(), nil
}

// Load reads a docker archive or an OCI layout, as tar, compressed or not. Of
// an image with several platforms those asked for are checked to be there.
func (s *Service) Load(ctx context.Context, content io.Reader, want []ocispec.Platform, progress request.Progress) error {
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	lctx, done, err := s.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	loaded, err := archive.Load(lctx, s.store, content, archive.LoadOptions{Platforms: want, Progress: progress})
	if err != nil {
		done()
		s.store.Discard(ctx)
		return err
	}
	for _, img := range loaded {
		if len(img.Names) == 0 {
			if err := s.names.Put(lctx, catalog.DanglingName(img.Target.Digest), img.Target); err != nil {
				return err
			}
			progress(jsonstream.Message{Stream: "Loaded image ID: " + img.Target.Digest.String() + "\n"})
			s.event(ctx, events.ActionLoad, img.Target, img.Target.Digest.String())
		}
		for _, name := range img.Names {
			if err := s.names.Put(lctx, name, img.Target); err != nil {
				return err
			}
			progress(jsonstream.Message{Stream: "Loaded image: " + catalog.Familiar(name) + "\n"})
			s.event(ctx, events.ActionLoad, img.Target, catalog.Familiar(name))
		}
	}
	return nil
}

// Save writes the images as a tar that is a docker archive and an OCI layout at
// once. Without platforms, of an image with several those that are here go in.
func (s *Service) Save(ctx context.Context, refs []string, want []ocispec.Platform, w io.Writer) error {
	if len(refs) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage("at least one image is needed to save")
	}
	var images []archive.Named
	for _, ref := range refs {
		found, err := s.saveTargets(ctx, ref)
		if err != nil {
			return err
		}
		images = append(images, found...)
	}
	lctx, done, err := s.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := archive.Save(lctx, s.store, images, want, w); err != nil {
		return err
	}
	for _, img := range images {
		s.event(ctx, events.ActionSave, img.Target, img.Target.Digest.String())
	}
	return nil
}

// saveTargets is the image that ref names; of a repository without a tag, all tags.
func (s *Service) saveTargets(ctx context.Context, ref string) ([]archive.Named, error) {
	img, err := s.Resolve(ctx, ref, nil)
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
	tags, terr := s.tagsOf(ctx, named)
	if terr != nil {
		if err != nil {
			return nil, err
		}
		return nil, terr
	}
	var out []archive.Named
	for _, tag := range tags {
		img, err := s.Resolve(ctx, tag.String(), nil)
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

// DistributionInspect asks the registry what a name points at.
func (s *Service) DistributionInspect(ctx context.Context, ref string, auth *registry.AuthConfig) (registry.DistributionInspect, error) {
	named, err := parseRemote(ref)
	if err != nil {
		return registry.DistributionInspect{}, err
	}
	return s.registry.Load().Inspect(ctx, reference.TagNameOnly(named), auth)
}

// Login checks the credentials against the registry.
func (s *Service) Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	return s.registry.Load().Login(ctx, auth)
}
