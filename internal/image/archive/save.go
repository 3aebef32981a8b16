package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/store"
)

// Named is an image with its full names; none for one without a name.
type Named struct {
	Target ocispec.Descriptor
	Names  []string
}

// annotationName is where containerd and Docker keep an image's full name in
// an index.
const annotationName = "io.containerd.image.name"

// legacyImage is an entry of a docker archive's manifest.json.
type legacyImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Save writes images as one tar that is an OCI image layout (oci-layout,
// index.json, blobs/) and a docker archive (manifest.json) at once. Without
// platforms, of an index those manifests go in that are here. A blob that is
// missing is named. ctx is a lease's.
func Save(ctx context.Context, s *store.Store, named []Named, want []ocispec.Platform, w io.Writer) error {
	sv := &saver{ctx: ctx, s: s, tw: tar.NewWriter(w), done: map[string]bool{}}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	var legacy []*legacyImage
	byManifest := map[digest.Digest]*legacyImage{}
	listed := map[string]bool{}
	for _, n := range named {
		target, manifests, err := sv.choose(n.Target, want)
		if err != nil {
			return err
		}
		for _, d := range indexEntries(target, n.Names) {
			key := d.Digest.String() + d.Annotations[annotationName]
			if !listed[key] {
				listed[key] = true
				index.Manifests = append(index.Manifests, d)
			}
		}
		if len(manifests) == 0 {
			return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image %s has no content here that could be saved", target.Digest))
		}
		// A docker archive knows one platform an image: the host's, else the first.
		m := manifests[0]
		if best, err := s.Select(ctx, n.Target, nil); err == nil {
			for _, c := range manifests {
				if c.Descriptor.Digest == best.Descriptor.Digest {
					m = c
				}
			}
		}
		entry := byManifest[m.Descriptor.Digest]
		if entry == nil {
			entry = legacyEntry(m)
			byManifest[m.Descriptor.Digest] = entry
			legacy = append(legacy, entry)
		}
		for _, name := range n.Names {
			if ref, err := reference.ParseNormalizedNamed(name); err == nil {
				if _, ok := ref.(reference.Tagged); ok {
					entry.RepoTags = append(entry.RepoTags, reference.FamiliarString(ref))
				}
			}
		}
		if err := sv.tree(target, manifests); err != nil {
			return err
		}
	}
	if err := sv.json("index.json", index); err != nil {
		return err
	}
	if err := sv.json("manifest.json", legacy); err != nil {
		return err
	}
	if err := sv.json(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return sv.tw.Close()
}

func indexEntries(target ocispec.Descriptor, names []string) []ocispec.Descriptor {
	if len(names) == 0 {
		return []ocispec.Descriptor{{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size}}
	}
	var out []ocispec.Descriptor
	for _, name := range names {
		annotations := map[string]string{annotationName: name}
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			if tagged, ok := ref.(reference.Tagged); ok {
				annotations[ocispec.AnnotationRefName] = tagged.Tag()
			}
		}
		out = append(out, ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size, Annotations: annotations})
	}
	return out
}

func legacyEntry(m *store.Manifest) *legacyImage {
	e := &legacyImage{Config: blobPath(m.ConfigDescriptor.Digest)}
	for _, l := range m.Layers {
		e.Layers = append(e.Layers, blobPath(l.Digest))
	}
	return e
}

func blobPath(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

type saver struct {
	ctx  context.Context
	s    *store.Store
	tw   *tar.Writer
	done map[string]bool
}

// choose is what is saved of a target: one platform alone becomes the target.
func (sv *saver) choose(target ocispec.Descriptor, want []ocispec.Platform) (ocispec.Descriptor, []*store.Manifest, error) {
	if len(want) == 0 {
		all, err := sv.s.Manifests(sv.ctx, target)
		return target, all, err
	}
	var out []*store.Manifest
	for _, p := range want {
		m, err := sv.s.Select(sv.ctx, target, &p)
		if err != nil {
			return target, nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image %s: %v", target.Digest, err))
		}
		out = append(out, m)
	}
	if len(out) == 1 {
		return out[0].Descriptor, out, nil
	}
	return target, out, nil
}

func (sv *saver) tree(target ocispec.Descriptor, manifests []*store.Manifest) error {
	if images.IsIndexType(target.MediaType) {
		if err := sv.blob(target); err != nil {
			return err
		}
	}
	for _, m := range manifests {
		for _, d := range append([]ocispec.Descriptor{m.Descriptor, m.ConfigDescriptor}, m.Layers...) {
			if err := sv.blob(d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (sv *saver) blob(desc ocispec.Descriptor) error {
	name := blobPath(desc.Digest)
	if sv.done[name] {
		return nil
	}
	sv.done[name] = true
	ra, err := sv.s.Content().ReaderAt(sv.ctx, desc)
	if err != nil {
		return fmt.Errorf("save: content %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	if err := sv.header(name, ra.Size()); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{sv.tw}, content.NewReader(ra), make([]byte, 1<<20))
	return err
}

func (sv *saver) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := sv.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err = sv.tw.Write(data)
	return err
}

// header begins an entry; the same images give the same bytes.
func (sv *saver) header(name string, size int64) error {
	for i, c := range name {
		dir := name[:i+1]
		if c != '/' || sv.done[dir] {
			continue
		}
		sv.done[dir] = true
		if err := sv.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	return sv.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o444})
}
