package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/decompress"
	"hoy/internal/image/store"
	"hoy/internal/request"
)

// Bounds of an archive.
const (
	maxEntries  = 100_000
	maxSymlinks = 64
)

// LoadOptions of Load. Progress may be nil.
type LoadOptions struct {
	Platforms []ocispec.Platform
	Progress  request.Progress
	// Need, where not nil, refuses what needs more bytes than there are.
	Need func(bytes int64) error
}

// Load reads a docker archive (manifest.json, or the older repositories) or an
// OCI image layout, as tar, compressed or not, and unpacks what it can of it.
// Nothing names the images here yet. What is missing or damaged is
// errdefs.ErrInvalidArgument and named. ctx is a lease's.
func Load(ctx context.Context, s *store.Store, r io.Reader, opt LoadOptions) ([]Named, error) {
	if opt.Progress == nil {
		opt.Progress = func(jsonstream.Message) {}
	}
	l := &loader{ctx: ctx, s: s, opt: opt, files: map[string]file{}}
	plain, err := decompress.Stream(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	if err := l.read(plain); err != nil {
		return nil, err
	}
	named, err := l.images()
	if err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return nil, bad("the archive holds no image")
	}
	for _, n := range named {
		if err := l.unpack(n); err != nil {
			return nil, err
		}
	}
	return named, nil
}

func bad(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage("invalid archive: " + fmt.Sprintf(format, args...))
}

// file is one member of the archive: a small document in memory, or a blob
// that went to the store as it came.
type file struct {
	data []byte
	blob digest.Digest
	size int64
	link string
}

type loader struct {
	ctx    context.Context
	s      *store.Store
	opt    LoadOptions
	files  map[string]file
	memory int64
}

// read takes in the whole tar. Blobs are stored under the digest that they have,
// whatever their names say; names are compared later.
func (l *loader) read(r io.Reader) error {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if n >= maxEntries {
			return bad("more than %d entries", maxEntries)
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			f, err := l.member(name, h.Size, tr)
			if err != nil {
				return err
			}
			l.files[name] = f
		case tar.TypeSymlink:
			l.files[name] = file{link: path.Clean("/" + path.Join(path.Dir(name), h.Linkname))[1:]}
		case tar.TypeLink:
			l.files[name] = file{link: path.Clean("/" + h.Linkname)[1:]}
		}
	}
}

func broken(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("not a whole tar archive: %v", err)
	}
	return err
}

// minReported is the size from which a member is worth a progress message, in bytes.
const minReported = 64 << 10

// maxMemory bounds the documents of one archive that are kept in memory, in bytes.
const maxMemory = 64 << 20

func (l *loader) member(name string, size int64, r io.Reader) (file, error) {
	base := path.Base(name)
	if strings.HasSuffix(base, ".json") || base == "repositories" || base == ocispec.ImageLayoutFile {
		if size > store.MaxDocument {
			return file{}, bad("%s has %d bytes, more than %d", name, size, store.MaxDocument)
		}
		if l.memory += size; l.memory > maxMemory {
			return file{}, bad("more than %d bytes of JSON", maxMemory)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return file{}, broken(err)
		}
		return file{data: data, size: size}, nil
	}
	return l.blob(name, size, r)
}

func (l *loader) blob(name string, size int64, r io.Reader) (file, error) {
	if err := l.need(name, size); err != nil {
		return file{}, err
	}
	ref := "load-" + digest.FromString(name).Encoded()
	w, err := content.OpenWriter(l.ctx, l.s.Content(), content.WithRef(ref))
	if err != nil {
		return file{}, err
	}
	defer func() {
		w.Close()
		_ = l.s.Content().Abort(context.WithoutCancel(l.ctx), ref)
	}()
	if err := w.Truncate(0); err != nil {
		return file{}, err
	}
	id := shortName(name)
	m := &meter{r: r, report: func(n int64) {
		if size < minReported {
			return
		}
		l.opt.Progress(jsonstream.Message{ID: id, Status: "Loading layer", Progress: &jsonstream.Progress{Current: n, Total: size}})
	}}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, m, make([]byte, 1<<20)); err != nil {
		return file{}, broken(err)
	}
	d := w.Digest()
	if err := w.Commit(l.ctx, size, d); err != nil && !errdefs.IsAlreadyExists(err) {
		return file{}, err
	}
	return file{blob: d, size: size}, nil
}

// need asks for the space of a blob that is not here: as it is and, for it is a
// layer, once more unpacked.
func (l *loader) need(name string, size int64) error {
	d := digest.NewDigestFromEncoded(digest.Canonical, path.Base(name))
	if l.opt.Need == nil || size < minReported || d.Validate() == nil && l.s.Has(l.ctx, d) {
		return nil
	}
	return l.opt.Need(2 * size)
}

func shortName(name string) string {
	dir, base := path.Split(name)
	if base == "layer.tar" {
		base = path.Base(dir)
	}
	return base[:min(12, len(base))]
}

// find looks up a member, following links.
func (l *loader) find(name string) (file, bool) {
	for range maxSymlinks {
		f, ok := l.files[name]
		if !ok || f.link == "" {
			return f, ok
		}
		name = f.link
	}
	return file{}, false
}

// document is the content of a member; ok is false where there is none.
func (l *loader) document(name string) (data []byte, ok bool, err error) {
	f, ok := l.find(name)
	if !ok {
		return nil, false, nil
	}
	if f.data == nil && f.blob != "" {
		f.data, err = l.s.Bytes(l.ctx, ocispec.Descriptor{Digest: f.blob, Size: f.size})
	}
	return f.data, true, err
}

// store makes sure that a member is in the content store and describes it.
func (l *loader) store(f file, mediaType string, labels map[string]string) (ocispec.Descriptor, error) {
	if f.blob == "" {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(f.data), Size: int64(len(f.data))}
		return desc, l.s.WriteBytes(l.ctx, desc, f.data, labels)
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: f.blob, Size: f.size}
	if len(labels) == 0 {
		return desc, nil
	}
	return desc, l.s.Label(l.ctx, f.blob, labels)
}

func (l *loader) images() ([]Named, error) {
	if data, ok, err := l.document("index.json"); err != nil {
		return nil, err
	} else if ok {
		return l.layout(data)
	}
	if data, ok, err := l.document("manifest.json"); err != nil {
		return nil, err
	} else if ok {
		return l.legacy(data)
	}
	if data, ok, err := l.document("repositories"); err != nil {
		return nil, err
	} else if ok {
		return l.repositories(data)
	}
	return nil, bad("neither index.json nor manifest.json nor repositories is in it; is it a root file system? Then import it")
}

// unpack makes the files of the host's platform, so that a container can start
// at once.
func (l *loader) unpack(n Named) error {
	wanted := []*ocispec.Platform{nil}
	if len(l.opt.Platforms) > 0 {
		wanted = nil
		for _, p := range l.opt.Platforms {
			wanted = append(wanted, &p)
		}
	}
	for _, p := range wanted {
		m, err := l.s.Select(l.ctx, n.Target, p)
		if err != nil {
			if errdefs.IsNotFound(err) {
				return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("archive image %s: %v", n.Target.Digest, err))
			}
			return err
		}
		if _, err := l.s.Unpack(l.ctx, m, nil, nil); err != nil {
			if errdefs.IsNotFound(err) {
				return bad("a layer of %s is missing: %v", n.Target.Digest, err)
			}
			return err
		}
	}
	return nil
}

type meter struct {
	r      io.Reader
	n      int64
	report func(int64)
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.n += int64(n)
	m.report(m.n)
	return n, err
}
