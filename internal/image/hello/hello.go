package hello

import (
	"archive/tar"
	"bytes"
	"context"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/store"
)

// Name is the image's full name.
const Name = "docker.io/hoy/hello:latest"

// Text is what the program prints.
const Text = `
Hello from hoy!

hoy is a container engine: the same verbs, the same API and the same images as
Docker. That this text reached you means that everything works together:

  1. The client asked the daemon, hoyd, to run the image hoy/hello.
  2. The image is built into the daemon: nothing was fetched from a network.
  3. The daemon gave a new container its file system, network and limits.
  4. The container ran one program, and its output came back to you.

Next:

  hoy run -it --rm debian bash             a shell in an image from a registry
  hoy import rootfs.tar my/base            an image from a root file system
  hoy run -d -p 8080:80 nginx              a web server on port 8080
  hoy --help                               everything else

`

// created is fixed, so that the image has the same id everywhere.
var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Write stores the image, for every architecture there is, and returns its
// index. It is the same image, digest for digest, on every machine. ctx is a
// lease's.
func Write(ctx context.Context, s *store.Store) (ocispec.Descriptor, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, arch := range []string{"amd64", "arm64"} {
		layer, err := layerTar(arch)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}
		if err := s.WriteBytes(ctx, desc, layer, nil); err != nil {
			return ocispec.Descriptor{}, err
		}
		m, err := s.WriteImage(ctx, config(arch, desc.Digest), []ocispec.Descriptor{desc})
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		m.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, m)
	}
	return s.WriteDocument(ctx, ocispec.MediaTypeImageIndex, index, store.GCLabels(index.Manifests...))
}

func config(arch string, layer digest.Digest) dockerspec.DockerOCIImage {
	cfg := dockerspec.DockerOCIImage{Image: ocispec.Image{
		Created: &created, Author: "hoy",
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}},
		History:  []ocispec.History{{Created: &created, CreatedBy: "built into hoy", Comment: "one static program"}},
	}}
	cfg.Config.Cmd = []string{"/hello"}
	cfg.Config.WorkingDir = "/"
	cfg.Config.Env = []string{"PATH=/"}
	cfg.Config.Labels = map[string]string{"org.opencontainers.image.title": "hoy/hello"}
	return cfg
}

func layerTar(arch string) ([]byte, error) {
	elf, err := program(arch, Text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(elf)), ModTime: created, Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write(elf); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
