// Package catalog knows which names point at which images.
package catalog

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/hello"
	"hoy/internal/image/store"
)

// An image without a name is recorded as "dangling@<digest>": full names have a
// slash, so nobody can ask for it by this one.
const danglingPrefix = "dangling@"

// DanglingName is the record of an image without a name.
func DanglingName(d digest.Digest) string { return danglingPrefix + d.String() }

// IsDangling says whether a record is of an image without a name.
func IsDangling(name string) bool { return strings.HasPrefix(name, danglingPrefix) }

var (
	fullID   = regexp.MustCompile(`^(?:sha256:)?[0-9a-f]{64}$`)
	prefixID = regexp.MustCompile(`^(?:sha256:)?[0-9a-f]{1,64}$`)
)

// Catalog is safe for concurrent use.
type Catalog struct {
	store *store.Store
	// mu serialises changes to which names point where; it is held across the
	// store's own short transactions and nothing else.
	mu sync.Mutex
}

// New makes the catalog of a store.
func New(s *store.Store) *Catalog { return &Catalog{store: s} }

// Group is one image: every name that points at the same target.
type Group struct {
	Target  ocispec.Descriptor
	Records []images.Image
}

// ID is the digest of the target.
func (g *Group) ID() string { return g.Target.Digest.String() }

// Names are the records that are not the dangling one, in order.
func (g *Group) Names() []string {
	var names []string
	for _, r := range g.Records {
		if !IsDangling(r.Name) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Repositories are the distinct repositories among the names.
func (g *Group) Repositories() []string {
	var repos []string
	for _, name := range g.Names() {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			repos = append(repos, ref.Name())
		}
	}
	slices.Sort(repos)
	return slices.Compact(repos)
}

// RepoTags and RepoDigests are the names as Docker shows them; never nil.
func (g *Group) RepoTags() []string {
	tags := []string{}
	for _, name := range g.Names() {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			if tagged, ok := ref.(reference.NamedTagged); ok {
				tags = append(tags, reference.FamiliarString(tagged))
			}
		}
	}
	return tags
}

// RepoDigests are the repositories with the image's digest; never nil.
func (g *Group) RepoDigests() []string {
	digests := []string{}
	for _, repo := range g.Repositories() {
		if ref, err := reference.ParseNormalizedNamed(repo); err == nil {
			if d, err := reference.WithDigest(ref, g.Target.Digest); err == nil {
				digests = append(digests, reference.FamiliarString(d))
			}
		}
	}
	return digests
}

// All lists the images, each with its names.
func (c *Catalog) All(ctx context.Context) ([]*Group, error) {
	records, err := c.store.Images().List(c.store.Context(ctx))
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	byID := map[digest.Digest]*Group{}
	var groups []*Group
	for _, r := range records {
		g := byID[r.Target.Digest]
		if g == nil {
			g = &Group{Target: r.Target}
			byID[r.Target.Digest] = g
			groups = append(groups, g)
		}
		g.Records = append(g.Records, r)
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

// Find looks up a reference: a full id, a name (with tag or digest), or the
// beginning of an id. record is the name that it was found by; empty for an id.
func (c *Catalog) Find(ctx context.Context, ref string) (g *Group, record string, err error) {
	groups, err := c.All(ctx)
	if err != nil {
		return nil, "", err
	}
	if g, record := byName(groups, ref); g != nil {
		return g, record, nil
	}
	if prefixID.MatchString(ref) {
		prefix := "sha256:" + strings.TrimPrefix(ref, "sha256:")
		var found []*Group
		for _, g := range groups {
			if strings.HasPrefix(g.ID(), prefix) {
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

func byName(groups []*Group, ref string) (*Group, string) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, ""
	}
	if digested, ok := named.(reference.Digested); ok {
		for _, g := range groups {
			if g.Target.Digest != digested.Digest() {
				continue
			}
			for _, name := range g.Names() {
				if r, err := reference.ParseNormalizedNamed(name); err == nil && r.Name() == named.Name() {
					return g, name
				}
			}
		}
		return nil, ""
	}
	want := reference.TagNameOnly(named).String()
	for _, g := range groups {
		for _, r := range g.Records {
			if r.Name == want {
				return g, want
			}
		}
	}
	return nil, ""
}

// IsHello says whether a reference is to the built-in image.
func IsHello(ref string) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	return err == nil && reference.TagNameOnly(named).String() == hello.Name
}

// ParseTarget reads a name that an image is to get; empty is none. A digest is refused.
func ParseTarget(ref string) (string, error) {
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

// Familiar is a full name as shown to people.
func Familiar(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.FamiliarString(ref)
	}
	return name
}

// Short is the beginning of an id, as shown to people.
func Short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

// Put points name at target; where it pointed elsewhere before, that image
// stays, without a name if it had only this one.
func (c *Catalog) Put(ctx context.Context, name string, target ocispec.Descriptor) error {
	ctx = c.store.Context(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	old, err := c.store.Images().Get(ctx, name)
	record := images.Image{Name: name, Target: target, UpdatedAt: time.Now()}
	switch {
	case errdefs.IsNotFound(err):
		if _, err := c.store.Images().Create(ctx, record); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	case err != nil:
		return fmt.Errorf("image %s: %w", name, err)
	default:
		if old.Target.Digest != target.Digest {
			if err := c.keepDangling(ctx, old); err != nil {
				return err
			}
		}
		if _, err := c.store.Images().Update(ctx, record, "target"); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	}
	if IsDangling(name) {
		return nil
	}
	return c.dropRecord(ctx, DanglingName(target.Digest))
}

// keepDangling keeps an image that is about to lose the name of old, if that
// is its last.
func (c *Catalog) keepDangling(ctx context.Context, old images.Image) error {
	records, err := c.store.Images().List(ctx, fmt.Sprintf("target.digest==%q", old.Target.Digest))
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	if len(records) > 1 || IsDangling(old.Name) {
		return nil
	}
	_, err = c.store.Images().Create(ctx, images.Image{Name: DanglingName(old.Target.Digest), Target: old.Target})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("image %s: %w", old.Target.Digest, err)
	}
	return nil
}

func (c *Catalog) dropRecord(ctx context.Context, name string) error {
	if err := c.store.Images().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("image %s: %w", name, err)
	}
	return nil
}

// Drop removes one name; it is not an error where there is none.
func (c *Catalog) Drop(ctx context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropRecord(c.store.Context(ctx), name)
}
