package archive

import (
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/decompress"
	"hoy/internal/image/store"
)

// maxDepth bounds how deep indexes may nest.
const maxDepth = 4

// layout reads an OCI image layout's index.json.
func (l *loader) layout(data []byte) ([]Named, error) {
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, bad("index.json: %v", err)
	}
	var out []Named
	for _, d := range index.Manifests {
		target := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
		if err := l.verify(target, 0, map[digest.Digest]bool{}); err != nil {
			return nil, err
		}
		name, err := l.nameOf(d)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(n Named) bool { return n.Target.Digest == target.Digest })
		if i < 0 {
			out = append(out, Named{Target: target})
			i = len(out) - 1
		}
		if name != "" {
			out[i].Names = append(out[i].Names, name)
		}
	}
	return out, nil
}

// nameOf is the full name in an index entry's annotations; a bare tag, as other
// tools write it, names nothing.
func (l *loader) nameOf(d ocispec.Descriptor) (string, error) {
	name := d.Annotations[annotationName]
	if name == "" {
		if name = d.Annotations[ocispec.AnnotationRefName]; !strings.ContainsAny(name, "/:") {
			return "", nil
		}
	}
	return fullName(name)
}

func fullName(name string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", bad("image name %q: %v", name, err)
	}
	return reference.TagNameOnly(ref).String(), nil
}

// verify checks that everything a layout's entry names is there with that
// digest and size, and makes parents keep their children. Of an index, a whole
// manifest may be missing, but not a part of one.
func (l *loader) verify(desc ocispec.Descriptor, depth int, seen map[digest.Digest]bool) error {
	if depth > maxDepth {
		return bad("indexes nest deeper than %d", maxDepth)
	}
	if seen[desc.Digest] {
		return nil
	}
	seen[desc.Digest] = true
	if err := l.present(desc); err != nil {
		return err
	}
	switch {
	case images.IsIndexType(desc.MediaType):
		var index ocispec.Index
		if err := l.s.Document(l.ctx, desc, &index); err != nil {
			return err
		}
		found := false
		for _, c := range index.Manifests {
			if _, ok := l.find(memberOf(c)); !ok && !l.s.Has(l.ctx, c.Digest) {
				continue
			}
			found = true
			if err := l.verify(c, depth+1, seen); err != nil {
				return err
			}
		}
		if !found {
			return bad("none of the manifests of index %s is in it", desc.Digest)
		}
		return l.s.Label(l.ctx, desc.Digest, store.GCLabels(index.Manifests...))
	case images.IsManifestType(desc.MediaType):
		var m ocispec.Manifest
		if err := l.s.Document(l.ctx, desc, &m); err != nil {
			return err
		}
		children := append([]ocispec.Descriptor{m.Config}, m.Layers...)
		for _, c := range children {
			if err := l.present(c); err != nil {
				return err
			}
		}
		return l.s.Label(l.ctx, desc.Digest, store.GCLabels(children...))
	}
	return bad("%s has the media type %q, which is no image", desc.Digest, desc.MediaType)
}

func memberOf(d ocispec.Descriptor) string {
	if d.Digest.Validate() != nil {
		return ""
	}
	return blobPath(d.Digest)
}

// present checks one blob of a layout against its descriptor.
func (l *loader) present(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return bad("digest %q: %v", desc.Digest, err)
	}
	name := blobPath(desc.Digest)
	f, ok := l.find(name)
	if !ok {
		if info, err := l.s.Content().Info(l.ctx, desc.Digest); err == nil && info.Size == desc.Size {
			return l.lease(desc)
		}
		return bad("blob %s is missing", desc.Digest)
	}
	if f.blob != desc.Digest {
		return bad("%s has the digest %s", name, f.blob)
	}
	if f.size != desc.Size {
		return bad("%s has %d bytes, its descriptor says %d", name, f.size, desc.Size)
	}
	return nil
}

// lease takes a blob that the store had already under the operation's lease.
func (l *loader) lease(desc ocispec.Descriptor) error {
	w, err := content.OpenWriter(l.ctx, l.s.Content(), content.WithRef("lease-"+desc.Digest.String()), content.WithDescriptor(desc))
	if err == nil {
		_ = w.Close()
		return bad("blob %s is missing", desc.Digest)
	}
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// legacy reads a docker archive's manifest.json.
func (l *loader) legacy(data []byte) ([]Named, error) {
	var entries []legacyImage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, bad("manifest.json: %v", err)
	}
	var out []Named
	for _, e := range entries {
		config, ok, err := l.document(path.Clean("/" + e.Config)[1:])
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, bad("configuration %q is missing", e.Config)
		}
		var cfg dockerspec.DockerOCIImage
		if err := json.Unmarshal(config, &cfg); err != nil {
			return nil, bad("configuration %q: %v", e.Config, err)
		}
		if len(cfg.RootFS.DiffIDs) != len(e.Layers) {
			return nil, bad("%d layers, but the configuration %q names %d", len(e.Layers), e.Config, len(cfg.RootFS.DiffIDs))
		}
		n := Named{}
		if n.Target, err = l.assemble(config, e.Layers); err != nil {
			return nil, err
		}
		for _, tag := range e.RepoTags {
			name, err := fullName(tag)
			if err != nil {
				return nil, err
			}
			n.Names = append(n.Names, name)
		}
		out = append(out, n)
	}
	return out, nil
}

// assemble makes a manifest over a configuration, byte for byte as it is, and
// layers that are members of the archive.
func (l *loader) assemble(config []byte, layers []string) (ocispec.Descriptor, error) {
	var descs []ocispec.Descriptor
	for _, name := range layers {
		f, ok := l.find(path.Clean("/" + name)[1:])
		if !ok {
			return ocispec.Descriptor{}, bad("layer %q is missing", name)
		}
		kind, err := l.layerType(f)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		desc, err := l.store(f, kind, nil)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		descs = append(descs, desc)
	}
	cfg, err := l.store(file{data: config}, ocispec.MediaTypeImageConfig, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: cfg, Layers: descs}
	return l.s.WriteDocument(l.ctx, ocispec.MediaTypeImageManifest, m, store.GCLabels(append([]ocispec.Descriptor{cfg}, descs...)...))
}

// layerType looks at how a layer is compressed.
func (l *loader) layerType(f file) (string, error) {
	if f.blob == "" {
		return ocispec.MediaTypeImageLayer, nil
	}
	ra, err := l.s.Content().ReaderAt(l.ctx, ocispec.Descriptor{Digest: f.blob, Size: f.size})
	if err != nil {
		return "", err
	}
	defer ra.Close()
	begin := make([]byte, 6)
	n, err := ra.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	switch decompress.Kind(begin[:n]) {
	case "gzip":
		return ocispec.MediaTypeImageLayerGzip, nil
	case "zstd":
		return ocispec.MediaTypeImageLayerZstd, nil
	case "":
		return ocispec.MediaTypeImageLayer, nil
	}
	return "", bad("layer %s has a compression that image layers cannot have", f.blob)
}

// v1Image is the part of an old docker archive's <id>/json that matters.
type v1Image struct {
	ID      string                           `json:"id"`
	Parent  string                           `json:"parent"`
	Comment string                           `json:"comment"`
	Created time.Time                        `json:"created"`
	Author  string                           `json:"author"`
	OS      string                           `json:"os"`
	Arch    string                           `json:"architecture"`
	Config  *dockerspec.DockerOCIImageConfig `json:"config"`
	Command struct {
		Cmd []string `json:"Cmd"`
	} `json:"container_config"`
}

// maxParents bounds a chain of old images.
const maxParents = 500

// repositories reads a docker archive from before Docker 1.10: names to ids of
// layers, each of which knows its parent.
func (l *loader) repositories(data []byte) ([]Named, error) {
	var repos map[string]map[string]string
	if err := json.Unmarshal(data, &repos); err != nil {
		return nil, bad("repositories: %v", err)
	}
	byID := map[string]*Named{}
	var order []string
	for repo, tags := range repos {
		for tag, id := range tags {
			name, err := fullName(repo + ":" + tag)
			if err != nil {
				return nil, err
			}
			if byID[id] == nil {
				target, err := l.v1(id)
				if err != nil {
					return nil, err
				}
				byID[id] = &Named{Target: target}
				order = append(order, id)
			}
			byID[id].Names = append(byID[id].Names, name)
		}
	}
	sort.Strings(order)
	var out []Named
	for _, id := range order {
		slices.Sort(byID[id].Names)
		out = append(out, *byID[id])
	}
	return out, nil
}

// v1 assembles an image of a chain of old layers.
func (l *loader) v1(id string) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	var chain []v1Image
	for next := id; next != ""; {
		if len(chain) >= maxParents {
			return none, bad("image %s has more than %d layers", id, maxParents)
		}
		data, ok, err := l.document(path.Clean("/" + next)[1:] + "/json")
		if err != nil {
			return none, err
		}
		if !ok {
			return none, bad("%s/json is missing", next)
		}
		var v v1Image
		if err := json.Unmarshal(data, &v); err != nil {
			return none, bad("%s/json: %v", next, err)
		}
		v.ID = next
		chain = append(chain, v)
		next = v.Parent
	}
	slices.Reverse(chain)
	top := chain[len(chain)-1]
	img := dockerspec.DockerOCIImage{Image: ocispec.Image{Created: &top.Created, Author: top.Author, RootFS: ocispec.RootFS{Type: "layers"}}}
	img.OS, img.Architecture = "linux", top.Arch
	if top.Config != nil {
		img.Config = *top.Config
	}
	var layers []string
	for _, v := range chain {
		name := path.Clean("/" + v.ID)[1:] + "/layer.tar"
		diffID, err := l.diffID(name)
		if err != nil {
			return none, err
		}
		layers = append(layers, name)
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, diffID)
		img.History = append(img.History, ocispec.History{Created: &v.Created, CreatedBy: strings.Join(v.Command.Cmd, " "), Author: v.Author, Comment: v.Comment})
	}
	config, err := json.Marshal(img)
	if err != nil {
		return none, err
	}
	return l.assemble(config, layers)
}

// diffID is the digest of a layer's plain content.
func (l *loader) diffID(name string) (digest.Digest, error) {
	f, ok := l.find(name)
	if !ok || f.blob == "" {
		return "", bad("layer %q is missing", name)
	}
	ra, err := l.s.Content().ReaderAt(l.ctx, ocispec.Descriptor{Digest: f.blob, Size: f.size})
	if err != nil {
		return "", err
	}
	defer ra.Close()
	plain, err := decompress.Stream(content.NewReader(ra))
	if err != nil {
		return "", err
	}
	defer plain.Close()
	return digest.FromReader(plain)
}
