package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxDocument bounds a manifest, an index or a configuration, in bytes. The
// distribution specification asks registries to take manifests of 4 MiB.
const MaxDocument = 8 << 20

// maxCached bounds the number of parsed documents kept in memory.
const maxCached = 256

// Manifest is one platform's image: its manifest and configuration, parsed.
type Manifest struct {
	Descriptor       ocispec.Descriptor
	ConfigDescriptor ocispec.Descriptor
	Layers           []ocispec.Descriptor
	Config           dockerspec.DockerOCIImage
}

// ChainID names the unpacked layers; empty for an image without any.
func (m *Manifest) ChainID() digest.Digest { return identity.ChainID(m.Config.RootFS.DiffIDs) }

// Platform is what the configuration says, normalised.
func (m *Manifest) Platform() ocispec.Platform { return platforms.Normalize(m.Config.Platform) }

// blobs reads and writes the content of images.
type blobs struct {
	content content.Store
	driver  string
	cache   blobCache
}

// blobCache keeps small documents by digest; content under a digest never changes.
type blobCache struct {
	mu   sync.Mutex
	byID map[digest.Digest]any
}

func (c *blobCache) get(d digest.Digest) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[d]
}

func (c *blobCache) put(d digest.Digest, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil || len(c.byID) >= maxCached {
		c.byID = map[digest.Digest]any{}
	}
	c.byID[d] = v
}

func (c *blobCache) clear() {
	c.mu.Lock()
	c.byID = nil
	c.mu.Unlock()
}

// Document reads a JSON blob of at most MaxDocument bytes into v. A blob that is
// not there is errdefs.ErrNotFound.
func (b *blobs) Document(ctx context.Context, desc ocispec.Descriptor, v any) error {
	data, err := b.Bytes(ctx, desc)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s %s is not valid JSON: %w: %w", desc.MediaType, desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Bytes reads a blob of at most MaxDocument bytes.
func (b *blobs) Bytes(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	ra, err := b.content.ReaderAt(in(ctx), desc)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	if ra.Size() > MaxDocument {
		return nil, fmt.Errorf("%s %s has %d bytes, more than %d: %w", desc.MediaType, desc.Digest, ra.Size(), MaxDocument, errdefs.ErrInvalidArgument)
	}
	data := make([]byte, ra.Size())
	if _, err := ra.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(data); got != desc.Digest {
		return nil, DamagedBlob(desc, fmt.Sprintf("its content has the digest %s", got))
	}
	return data, nil
}

// Has says whether a blob is there.
func (b *blobs) Has(ctx context.Context, d digest.Digest) bool {
	_, err := b.content.Info(in(ctx), d)
	return err == nil
}

// WriteDocument stores v as JSON. The labels make the blob keep its children
// (see GCLabels). ctx is from Lease.
func (b *blobs) WriteDocument(ctx context.Context, mediaType string, v any, labels map[string]string) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return desc, b.WriteBytes(ctx, desc, data, labels)
}

// WriteBytes stores data, whose digest and size are desc's.
func (b *blobs) WriteBytes(ctx context.Context, desc ocispec.Descriptor, data []byte, labels map[string]string) error {
	err := content.WriteBlob(ctx, b.content, "bytes-"+desc.Digest.String(), bytes.NewReader(data), desc, content.WithLabels(labels))
	if err != nil {
		return fmt.Errorf("image store: write %s: %w", desc.Digest, err)
	}
	if len(labels) == 0 {
		return nil
	}
	// A blob that was there already keeps its labels unless told.
	return b.Label(ctx, desc.Digest, labels)
}

// Label adds labels to a blob.
func (b *blobs) Label(ctx context.Context, d digest.Digest, labels map[string]string) error {
	fields := make([]string, 0, len(labels))
	for k := range labels {
		fields = append(fields, "labels."+k)
	}
	if _, err := b.content.Update(in(ctx), content.Info{Digest: d, Labels: labels}, fields...); err != nil {
		return fmt.Errorf("image store: label %s: %w", d, err)
	}
	return nil
}

// GCLabels are the labels by which a blob keeps its children alive.
func GCLabels(children ...ocispec.Descriptor) map[string]string {
	labels := map[string]string{}
	counts := map[string]int{}
	for _, c := range children {
		for _, key := range images.ChildGCLabels(c) {
			if key[len(key)-1] == '.' {
				n := counts[key]
				counts[key]++
				key = fmt.Sprintf("%s%d", key, n)
			}
			labels[key] = c.Digest.String()
		}
	}
	return labels
}

// WriteImage stores a configuration and a manifest over layers that are there,
// and returns the manifest's descriptor. ctx is from Lease.
func (b *blobs) WriteImage(ctx context.Context, cfg dockerspec.DockerOCIImage, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	labels := map[string]string{}
	if chain := identity.ChainID(cfg.RootFS.DiffIDs); chain != "" {
		labels["containerd.io/gc.ref.snapshot."+b.driver] = chain.String()
	}
	config, err := b.WriteDocument(ctx, ocispec.MediaTypeImageConfig, cfg, labels)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers,
	}
	return b.WriteDocument(ctx, ocispec.MediaTypeImageManifest, m, GCLabels(append([]ocispec.Descriptor{config}, layers...)...))
}

// Manifest reads the image of one manifest. It is shared: do not change it.
func (b *blobs) Manifest(ctx context.Context, desc ocispec.Descriptor) (*Manifest, error) {
	if m, ok := b.cache.get(desc.Digest).(*Manifest); ok {
		return m, nil
	}
	var doc ocispec.Manifest
	if err := b.Document(ctx, desc, &doc); err != nil {
		return nil, err
	}
	m := &Manifest{Descriptor: desc, ConfigDescriptor: doc.Config, Layers: doc.Layers}
	if err := b.Document(ctx, doc.Config, &m.Config); err != nil {
		return nil, err
	}
	b.cache.put(desc.Digest, m)
	return m, nil
}

// Index lists what an index holds; nil for a descriptor that is not an index.
func (b *blobs) Index(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !images.IsIndexType(desc.MediaType) {
		return nil, nil
	}
	if l, ok := b.cache.get(desc.Digest).([]ocispec.Descriptor); ok {
		return l, nil
	}
	var doc ocispec.Index
	if err := b.Document(ctx, desc, &doc); err != nil {
		return nil, err
	}
	b.cache.put(desc.Digest, doc.Manifests)
	return doc.Manifests, nil
}

// Manifests lists the image manifests of a target whose manifest and
// configuration are there. Attestations and unknown kinds are left out.
func (b *blobs) Manifests(ctx context.Context, target ocispec.Descriptor) ([]*Manifest, error) {
	descs := []ocispec.Descriptor{target}
	if images.IsIndexType(target.MediaType) {
		var err error
		if descs, err = b.Index(ctx, target); err != nil {
			return nil, err
		}
	}
	var found []*Manifest
	for _, d := range descs {
		if !images.IsManifestType(d.MediaType) || d.Annotations[AnnotationReferenceType] != "" {
			continue
		}
		m, err := b.Manifest(ctx, d)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

// AnnotationReferenceType is on an index entry that is about another entry, as
// BuildKit's attestations are.
const AnnotationReferenceType = "vnd.docker.reference.type"

// Select picks of a target the manifest for the platform; a nil platform is the
// host's, else whatever there is. None is errdefs.ErrNotFound.
func (b *blobs) Select(ctx context.Context, target ocispec.Descriptor, platform *ocispec.Platform) (*Manifest, error) {
	all, err := b.Manifests(ctx, target)
	if err != nil {
		return nil, err
	}
	matcher := platforms.Default()
	if platform != nil {
		matcher = platforms.Only(*platform)
	}
	var best *Manifest
	for _, m := range all {
		if matcher.Match(m.Platform()) && (best == nil || matcher.Less(m.Platform(), best.Platform())) {
			best = m
		}
	}
	switch {
	case best != nil:
		return best, nil
	case platform == nil && len(all) > 0:
		return all[0], nil
	case platform != nil:
		return nil, fmt.Errorf("no manifest for platform %s: %w", platforms.FormatAll(*platform), errdefs.ErrNotFound)
	}
	return nil, fmt.Errorf("none of the content of %s is here: %w", target.Digest, errdefs.ErrNotFound)
}
