package image

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/hello"
)

// An image without a name is recorded as "dangling@<digest>": full names have a
// slash, so nobody can ask for it by this one.
const danglingPrefix = "dangling@"

func danglingName(d digest.Digest) string { return danglingPrefix + d.String() }

func isDangling(name string) bool { return strings.HasPrefix(name, danglingPrefix) }

var (
	fullID   = regexp.MustCompile(`^(?:sha256:)?[0-9a-f]{64}$`)
	prefixID = regexp.MustCompile(`^(?:sha256:)?[0-9a-f]{1,64}$`)
)

// group is one image: every name that points at the same target.
type group struct {
	target  ocispec.Descriptor
	records []images.Image
}

func (g *group) id() string { return g.target.Digest.String() }

// names are the records that are not the dangling one, in order.
func (g *group) names() []string {
	var names []string
	for _, r := range g.records {
		if !isDangling(r.Name) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// repositories are the distinct repositories among the names.
func (g *group) repositories() []string {
	var repos []string
	for _, name := range g.names() {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			repos = append(repos, ref.Name())
		}
	}
	slices.Sort(repos)
	return slices.Compact(repos)
}

// repoTags and repoDigests are the names as Docker shows them; never nil.
func (g *group) repoTags() []string {
	tags := []string{}
	for _, name := range g.names() {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			if tagged, ok := ref.(reference.NamedTagged); ok {
				tags = append(tags, reference.FamiliarString(tagged))
			}
		}
	}
	return tags
}

func (g *group) repoDigests() []string {
	digests := []string{}
	for _, repo := range g.repositories() {
		if ref, err := reference.ParseNormalizedNamed(repo); err == nil {
			if d, err := reference.WithDigest(ref, g.target.Digest); err == nil {
				digests = append(digests, reference.FamiliarString(d))
			}
		}
	}
	return digests
}

// all lists the images, each with its names.
func (s *Service) all(ctx context.Context) ([]*group, error) {
	records, err := s.store.Images().List(s.store.Context(ctx))
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	byID := map[digest.Digest]*group{}
	var groups []*group
	for _, r := range records {
		g := byID[r.Target.Digest]
		if g == nil {
			g = &group{target: r.Target}
			byID[r.Target.Digest] = g
			groups = append(groups, g)
		}
		g.records = append(g.records, r)
	}
	return groups, nil
}

// notFound is Docker's answer for a reference that names nothing here.
func notFound(ref string) error {
	shown := ref
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		shown = reference.FamiliarString(reference.TagNameOnly(named))
	}
	return errdefs.ErrNotFound.WithMessage("No such image: " + shown)
}

// find looks up a reference: a full id, a name (with tag or digest), or the
// beginning of an id. record is the name that it was found by; empty for an id.
func (s *Service) find(ctx context.Context, ref string) (g *group, record string, err error) {
	groups, err := s.all(ctx)
	if err != nil {
		return nil, "", err
	}
	if g, record := byName(groups, ref); g != nil {
		return g, record, nil
	}
	if prefixID.MatchString(ref) {
		prefix := "sha256:" + strings.TrimPrefix(ref, "sha256:")
		var found []*group
		for _, g := range groups {
			if strings.HasPrefix(g.id(), prefix) {
				found = append(found, g)
			}
		}
		switch len(found) {
		case 1:
			return found[0], "", nil
		case 0:
		default:
			return nil, "", errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("ambiguous reference: %q is the beginning of %d image ids", ref, len(found)))
		}
	}
	if ref == "" || (!fullID.MatchString(ref) && !validName(ref)) {
		return nil, "", errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid reference format: %q", ref))
	}
	return nil, "", notFound(ref)
}

func validName(ref string) bool {
	_, err := reference.ParseNormalizedNamed(ref)
	return err == nil
}

func byName(groups []*group, ref string) (*group, string) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, ""
	}
	if digested, ok := named.(reference.Digested); ok {
		for _, g := range groups {
			if g.target.Digest != digested.Digest() {
				continue
			}
			for _, name := range g.names() {
				if r, err := reference.ParseNormalizedNamed(name); err == nil && r.Name() == named.Name() {
					return g, name
				}
			}
		}
		return nil, ""
	}
	want := reference.TagNameOnly(named).String()
	for _, g := range groups {
		for _, r := range g.records {
			if r.Name == want {
				return g, want
			}
		}
	}
	return nil, ""
}

// isHello says whether a reference is to the built-in image.
func isHello(ref string) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	return err == nil && reference.TagNameOnly(named).String() == hello.Name
}

// parseTarget reads a name that an image is to get; empty is none. A digest is refused.
func parseTarget(ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid reference format: %q: %v", ref, err))
	}
	if _, ok := named.(reference.Digested); ok {
		return "", errdefs.ErrInvalidArgument.WithMessage("refusing to create a tag with a digest reference")
	}
	if reference.FamiliarName(named) == string(digest.Canonical) {
		return "", errdefs.ErrInvalidArgument.WithMessage("refusing to create an ambiguous tag using digest algorithm as name")
	}
	return reference.TagNameOnly(named).String(), nil
}

func familiar(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.FamiliarString(ref)
	}
	return name
}

// short is the beginning of an id, as shown to people.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
