package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"hoy/internal/image/remote"
	"hoy/internal/image/store"
	"hoy/internal/request"
)

// parallel is how many blobs of one image are fetched at a time.
const parallel = 4

// maxLayers bounds the layers of one image; overlay takes 500.
const maxLayers = 500

// Pull options. Platform nil is the host's.
type Pull struct {
	Platform *ocispec.Platform
	Auth     *registry.AuthConfig
	Progress request.Progress
	// Need, where not nil, refuses what needs more bytes than there are.
	Need func(bytes int64) error
}

// Pull fetches and unpacks the image that ref, with tag or digest, names at its
// registry, and returns what the name points at. Nothing names it here yet.
// ctx is a lease's. Errors carry Docker's words.
func (c *Client) Pull(ctx context.Context, s *store.Store, ref reference.Named, opt Pull) (ocispec.Descriptor, error) {
	p, err := c.newPuller(s, ref, opt)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	target, err := p.run(ctx)
	return target, remote.Explain(ref, remote.Content, err)
}

// Tags lists the tags of a repository at its registry.
func (c *Client) Tags(ctx context.Context, repo reference.Named, auth *registry.AuthConfig) ([]string, error) {
	session, err := c.Open(remote.HostOf(repo), auth)
	if err != nil {
		return nil, err
	}
	tags, err := session.Tags(ctx, reference.Path(repo))
	return tags, remote.Explain(repo, "pull", err)
}

type puller struct {
	c        *Client
	s        *store.Store
	ref      reference.Named
	platform *ocispec.Platform
	session  *remote.Session
	report   *reporter
	from     remotes.Fetcher
	need     func(bytes int64) error
}

func (c *Client) newPuller(s *store.Store, ref reference.Named, opt Pull) (*puller, error) {
	session, err := c.Open(remote.HostOf(ref), opt.Auth)
	if err != nil {
		return nil, err
	}
	return &puller{
		c: c, s: s, ref: ref, platform: opt.Platform, session: session, report: newReporter(opt.Progress), need: opt.Need,
	}, nil
}

func (p *puller) run(ctx context.Context) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	resolver := p.session.Resolver()
	_, target, err := resolver.Resolve(ctx, p.ref.String())
	if err != nil {
		return none, remote.Explain(p.ref, "pull", err)
	}
	if p.from, err = resolver.Fetcher(ctx, p.ref.String()); err != nil {
		return none, err
	}
	p.report.send(statusWithID("Pulling from "+reference.Path(p.ref), knownBy(p.ref.String())))
	data, err := p.document(ctx, target)
	if err != nil {
		return none, err
	}
	if target.MediaType, err = mediaType(target.MediaType, data); err != nil {
		return none, err
	}
	manifest := target
	if images.IsIndexType(target.MediaType) {
		if manifest, err = p.pickManifest(ctx, target, data); err != nil {
			return none, err
		}
		if data, err = p.document(ctx, manifest); err != nil {
			return none, err
		}
	}
	if err := p.image(ctx, manifest, data); err != nil {
		return none, err
	}
	p.report.line("Digest: " + target.Digest.String())
	return target, nil
}

// document fetches a manifest or an index and returns it.
func (p *puller) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > store.MaxDocument {
		return nil, remote.Said(errdefs.ErrInvalidArgument, nil, "manifest %s has %d bytes, more than %d", desc.Digest, desc.Size, store.MaxDocument)
	}
	if strings.HasPrefix(desc.MediaType, "application/vnd.docker.distribution.manifest.v1+") {
		return nil, errSchema1(p.ref)
	}
	// Labels that keep its children come once it is read and checked.
	if err := p.c.fetch(ctx, p.s, p.from, desc, nil, func(int64) {}, nil); err != nil {
		return nil, err
	}
	return p.s.Bytes(ctx, desc)
}

func errSchema1(ref reference.Named) error {
	return remote.Said(errdefs.ErrInvalidArgument, nil, "%s is in Docker's image format v1 (manifest schema 1), which is no longer supported; "+
		"ask its publisher to push it again with a current tool, in schema 2 or OCI format", reference.FamiliarString(ref))
}

// mediaType checks that a document is what its media type says.
func mediaType(announced string, data []byte) (string, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Manifests     json.RawMessage `json:"manifests"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", remote.Said(errdefs.ErrInvalidArgument, err, "the registry's manifest is not valid JSON; is this a registry?")
	}
	kind := announced
	if !images.IsManifestType(kind) && !images.IsIndexType(kind) {
		kind = doc.MediaType
	}
	switch {
	case doc.FSLayers != nil || doc.SchemaVersion == 1:
		return "", remote.Said(errdefs.ErrInvalidArgument, nil, "image is in Docker's image format v1 (manifest schema 1), which is no longer supported")
	case doc.MediaType != "" && doc.MediaType != kind:
		return "", remote.Said(errdefs.ErrInvalidArgument, nil, "the registry calls the manifest %q, the manifest itself %q", announced, doc.MediaType)
	case images.IsIndexType(kind) && doc.Config != nil, images.IsManifestType(kind) && doc.Manifests != nil:
		return "", remote.Said(errdefs.ErrInvalidArgument, nil, "ambiguous manifest: both an image and a list of images")
	case !images.IsManifestType(kind) && !images.IsIndexType(kind):
		return "", remote.Said(errdefs.ErrInvalidArgument, nil, "unsupported manifest media type %q", announced)
	}
	return kind, nil
}

// pickManifest chooses of an index the entry for the platform.
func (p *puller) pickManifest(ctx context.Context, target ocispec.Descriptor, data []byte) (ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return ocispec.Descriptor{}, remote.Said(errdefs.ErrInvalidArgument, err, "manifest list %s is damaged: %v", target.Digest, err)
	}
	want, matcher := platforms.DefaultSpec(), platforms.Default()
	if p.platform != nil {
		want, matcher = *p.platform, platforms.Only(*p.platform)
	}
	var best *ocispec.Descriptor
	for i, d := range index.Manifests {
		if d.Platform == nil || !images.IsManifestType(d.MediaType) || !matcher.Match(*d.Platform) {
			continue
		}
		if best == nil || matcher.Less(*d.Platform, *best.Platform) {
			best = &index.Manifests[i]
		}
	}
	if best == nil && p.platform == nil && len(index.Manifests) == 1 && index.Manifests[0].Platform == nil {
		best = &index.Manifests[0]
	}
	if best == nil {
		return ocispec.Descriptor{}, remote.Said(errdefs.ErrNotFound, nil, "no matching manifest for %s in the manifest list entries", platforms.FormatAll(want))
	}
	if best.Size > store.MaxDocument || best.Size < 0 {
		return ocispec.Descriptor{}, remote.Said(errdefs.ErrInvalidArgument, nil, "manifest %s has %d bytes, more than %d", best.Digest, best.Size, store.MaxDocument)
	}
	if err := p.s.Label(ctx, target.Digest, p.withSource(store.GCLabels(index.Manifests...))); err != nil {
		return ocispec.Descriptor{}, err
	}
	return *best, nil
}

// image fetches what one manifest names, and unpacks layers as they arrive.
func (p *puller) image(ctx context.Context, desc ocispec.Descriptor, data []byte) error {
	if kind, err := mediaType(desc.MediaType, data); err != nil {
		return err
	} else if images.IsIndexType(kind) {
		return remote.Said(errdefs.ErrInvalidArgument, nil, "manifest list entry %s is itself a list", desc.Digest)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return remote.Said(errdefs.ErrInvalidArgument, err, "manifest %s is damaged: %v", desc.Digest, err)
	}
	if err := checkManifest(desc, m); err != nil {
		return err
	}
	children := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	if err := p.s.Label(ctx, desc.Digest, p.withSource(store.GCLabels(children...))); err != nil {
		return err
	}
	if err := p.c.fetch(ctx, p.s, p.from, m.Config, p.withSource(nil), func(int64) {}, nil); err != nil {
		return err
	}
	parsed, err := p.s.Manifest(ctx, desc)
	if err != nil {
		return err
	}
	if p.platform != nil && !platforms.Only(*p.platform).Match(parsed.Platform()) {
		return remote.Said(errdefs.ErrNotFound, nil, "image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			reference.FamiliarString(p.ref), platforms.FormatAll(parsed.Platform()), platforms.FormatAll(*p.platform))
	}
	return p.layers(ctx, parsed)
}

func checkManifest(desc ocispec.Descriptor, m ocispec.Manifest) error {
	if !images.IsConfigType(m.Config.MediaType) {
		return remote.Said(errdefs.ErrInvalidArgument, nil, "%s is not a container image: its configuration is of type %q", desc.Digest, m.Config.MediaType)
	}
	if m.Config.Size > store.MaxDocument || m.Config.Size < 0 {
		return remote.Said(errdefs.ErrInvalidArgument, nil, "configuration %s has %d bytes, more than %d", m.Config.Digest, m.Config.Size, store.MaxDocument)
	}
	if len(m.Layers) > maxLayers {
		return remote.Said(errdefs.ErrInvalidArgument, nil, "image has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	for _, l := range m.Layers {
		if !images.IsLayerType(l.MediaType) {
			return remote.Said(errdefs.ErrInvalidArgument, nil, "unsupported layer type %q", l.MediaType)
		}
	}
	return nil
}

// layers fetches in parallel; unpacking goes in order, beside the fetches.
func (p *puller) layers(ctx context.Context, m *store.Manifest) error {
	if err := p.fits(ctx, m); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	arrived := map[digest.Digest]chan struct{}{}
	slots := make(chan struct{}, parallel)
	var unique []ocispec.Descriptor
	for _, l := range m.Layers {
		if arrived[l.Digest] == nil {
			arrived[l.Digest] = make(chan struct{})
			unique = append(unique, l)
			if !p.s.Has(ctx, l.Digest) {
				p.report.status(shortID(l.Digest), "Pulling fs layer")
			}
		}
	}
	for _, l := range unique {
		g.Go(func() error {
			select {
			case slots <- struct{}{}:
			case <-gctx.Done():
				return gctx.Err()
			}
			defer func() { <-slots }()
			if err := p.layer(gctx, l); err != nil {
				return err
			}
			close(arrived[l.Digest])
			return nil
		})
	}
	g.Go(func() error { return p.unpack(gctx, m, arrived) })
	return g.Wait()
}

// fits asks for the space that the image needs at least: layers that are not
// here, less what an earlier try left of them, and those that are to be
// unpacked, which compressed content never makes smaller.
func (p *puller) fits(ctx context.Context, m *store.Manifest) error {
	if p.need == nil {
		return nil
	}
	var bytes int64
	seen := map[digest.Digest]bool{}
	for i, l := range m.Layers {
		if !seen[l.Digest] && !p.s.Has(ctx, l.Digest) {
			bytes += l.Size
			if st, err := p.s.Content().Status(ctx, ingest(l)); err == nil {
				bytes -= min(st.Offset, l.Size)
			}
		}
		seen[l.Digest] = true
		if i >= len(m.Config.RootFS.DiffIDs) {
			continue
		}
		if _, err := p.s.ChainSize(ctx, identity.ChainID(m.Config.RootFS.DiffIDs[:i+1])); errdefs.IsNotFound(err) {
			bytes += l.Size
		}
	}
	return p.need(bytes)
}

func (p *puller) layer(ctx context.Context, l ocispec.Descriptor) error {
	id := shortID(l.Digest)
	if p.s.Has(ctx, l.Digest) {
		p.report.status(id, "Already exists")
		return p.touch(ctx, l)
	}
	p.report.status(id, "Waiting")
	err := p.c.fetch(ctx, p.s, p.from, l, p.withSource(nil),
		func(n int64) { p.report.bytes(id, "Downloading", n, l.Size) },
		func(wait time.Duration) {
			p.report.status(id, fmt.Sprintf("Retrying in %d seconds", int((wait+time.Second-1)/time.Second)))
		})
	if err != nil {
		return err
	}
	p.report.status(id, "Verifying Checksum")
	p.report.status(id, "Download complete")
	return nil
}

// touch takes a blob that is here already under the lease.
func (p *puller) touch(ctx context.Context, l ocispec.Descriptor) error {
	return p.c.fetch(ctx, p.s, p.from, l, nil, func(int64) {}, nil)
}

func (p *puller) unpack(ctx context.Context, m *store.Manifest, arrived map[digest.Digest]chan struct{}) error {
	wait := func(l ocispec.Descriptor) error {
		select {
		case <-arrived[l.Digest]:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := p.s.Unpack(ctx, m, wait, func(l ocispec.Descriptor, state store.UnpackState, n int64) {
		id := shortID(l.Digest)
		switch state {
		case store.UnpackRunning:
			p.report.bytes(id, "Extracting", n, l.Size)
		case store.UnpackDone:
			p.report.status(id, "Pull complete")
		case store.UnpackExists:
		}
	})
	return err
}

// withSource adds to labels where blobs came from, so that a push to the same
// registry can mount them instead of sending them.
func (p *puller) withSource(labels map[string]string) map[string]string {
	out := sourceLabel(p.ref)
	maps.Copy(out, labels)
	return out
}

func sourceLabel(ref reference.Named) map[string]string {
	host, _, _ := strings.Cut(remote.HostOf(ref), ":")
	return map[string]string{"containerd.io/distribution.source." + host: reference.Path(ref)}
}
