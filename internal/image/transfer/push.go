package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/auxprogress"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"hoy/internal/image/remote"
	"hoy/internal/image/store"
	"hoy/internal/request"
)

// Push options. A platform sends only that one of an image with several.
type Push struct {
	Platform *ocispec.Platform
	Auth     *registry.AuthConfig
	Progress request.Progress
}

// Push sends target and all below it to the registry in ref, byte for byte as
// it is here, and points ref at it there. Layers are never compressed anew, so
// a later pull has the same digest.
func (c *Client) Push(ctx context.Context, s *store.Store, ref reference.Named, target ocispec.Descriptor, opt Push) error {
	session, err := c.Open(remote.HostOf(ref), opt.Auth)
	if err != nil {
		return err
	}
	p := &pusher{c: c, s: s, ref: ref, session: session, report: newReporter(opt.Progress)}
	return remote.Explain(ref, "push", p.run(ctx, target, opt.Platform))
}

type pusher struct {
	c       *Client
	s       *store.Store
	ref     reference.Named
	session *remote.Session
	report  *reporter
	to      remotes.Pusher
}

func (p *pusher) run(ctx context.Context, target ocispec.Descriptor, platform *ocispec.Platform) (err error) {
	target, partial, err := p.choose(ctx, target, platform)
	if err != nil {
		return err
	}
	// With the digest, the one manifest that has it gets the tag.
	p.to, err = p.session.Resolver().Pusher(ctx, p.ref.String()+"@"+target.Digest.String())
	if err != nil {
		return err
	}
	p.report.line(fmt.Sprintf("The push refers to repository [%s]", p.ref.Name()))
	var t tree
	if err := t.collect(ctx, p.s, target); err != nil {
		return err
	}
	for _, b := range t.layers {
		p.report.status(shortID(b.Digest), "Preparing")
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, b := range append(t.layers, t.configs...) {
		g.Go(func() error { return p.blob(gctx, b, t.isLayer[b.Digest]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, m := range t.manifests { // children before parents
		if err := p.retried(ctx, m, func(int64) {}); err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
	}
	tag := knownBy(p.ref.String())
	p.report.line(fmt.Sprintf("%s: digest: %s size: %d", tag, target.Digest, target.Size))
	p.report.aux(pushResult{Tag: tag, Digest: target.Digest.String(), Size: int(target.Size)})
	if partial != nil {
		p.report.aux(auxprogress.ManifestPushedInsteadOfIndex{
			ManifestPushedInsteadOfIndex: true, OriginalIndex: *partial, SelectedManifest: target,
		})
	}
	return nil
}

// pushResult is the last message's payload, as Docker's clients read it.
type pushResult struct {
	Tag    string
	Digest string
	Size   int
}

// choose is what is sent: the target whole, or one manifest of an index where
// that is asked for or all there is; partial is then the index.
func (p *pusher) choose(ctx context.Context, target ocispec.Descriptor, platform *ocispec.Platform) (_ ocispec.Descriptor, partial *ocispec.Descriptor, err error) {
	if platform != nil {
		m, err := p.s.Select(ctx, target, platform)
		if err != nil {
			return target, nil, remote.Said(errdefs.ErrNotFound, err, "image %s: %v", reference.FamiliarString(p.ref), err)
		}
		return m.Descriptor, nil, nil
	}
	var t tree
	err = t.collect(ctx, p.s, target)
	if err == nil || !images.IsIndexType(target.MediaType) || !errdefs.IsNotFound(err) {
		return target, nil, err
	}
	present, merr := p.s.Manifests(ctx, target)
	if merr != nil {
		return target, nil, merr
	}
	if len(present) != 1 {
		return target, nil, remote.Said(errdefs.ErrNotFound, err, "image %s is not whole here: %v; push one platform of it with --platform", reference.FamiliarString(p.ref), err)
	}
	return present[0].Descriptor, &target, nil
}

// tree is everything below a target, each once.
type tree struct {
	seen                       map[digest.Digest]bool
	isLayer                    map[digest.Digest]bool
	layers, configs, manifests []ocispec.Descriptor
}

func (t *tree) collect(ctx context.Context, s *store.Store, desc ocispec.Descriptor) error {
	if t.seen == nil {
		t.seen, t.isLayer = map[digest.Digest]bool{}, map[digest.Digest]bool{}
	}
	if t.seen[desc.Digest] {
		return nil
	}
	t.seen[desc.Digest] = true
	switch {
	case images.IsIndexType(desc.MediaType):
		children, err := s.Index(ctx, desc)
		if err != nil {
			return err
		}
		for _, c := range children {
			if err := t.collect(ctx, s, c); err != nil {
				return err
			}
		}
	case images.IsManifestType(desc.MediaType):
		var m ocispec.Manifest
		if err := s.Document(ctx, desc, &m); err != nil {
			return err
		}
		for i, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
			if t.seen[b.Digest] {
				continue
			}
			t.seen[b.Digest] = true
			if !s.Has(ctx, b.Digest) {
				return fmt.Errorf("content %s is not here: %w", b.Digest, errdefs.ErrNotFound)
			}
			if i == 0 {
				t.configs = append(t.configs, b)
				continue
			}
			t.isLayer[b.Digest] = true
			t.layers = append(t.layers, b)
		}
	default:
		return fmt.Errorf("%s of type %q cannot be pushed: %w", desc.Digest, desc.MediaType, errdefs.ErrInvalidArgument)
	}
	t.manifests = append(t.manifests, desc)
	return nil
}

func (p *pusher) blob(ctx context.Context, desc ocispec.Descriptor, isLayer bool) error {
	id := shortID(desc.Digest)
	// Where it came from, so that the registry can take it from there.
	info, err := p.s.Content().Info(ctx, desc.Digest)
	if err != nil {
		return err
	}
	desc.Annotations = info.Labels
	report := func(n int64) {
		if isLayer {
			p.report.bytes(id, "Pushing", n, desc.Size)
		}
	}
	err = p.retried(ctx, desc, report)
	status := "Pushed"
	switch {
	case errdefs.IsAlreadyExists(err):
		status = "Layer already exists"
		if st, serr := p.session.Tracker.GetStatus(remotes.MakeRefKey(ctx, desc)); serr == nil && st.MountedFrom != "" {
			status = "Mounted from " + st.MountedFrom
		}
	case err != nil:
		return err
	}
	if isLayer {
		p.report.status(id, status)
	}
	return p.remember(ctx, desc.Digest)
}

// remember notes that the registry has a blob in this repository.
func (p *pusher) remember(ctx context.Context, d digest.Digest) error {
	return p.s.Label(ctx, d, sourceLabel(p.ref))
}

// retried sends one blob or manifest, anew where the connection broke.
func (p *pusher) retried(ctx context.Context, desc ocispec.Descriptor, report func(int64)) error {
	wait := p.c.RetryDelay
	for attempt := 1; ; attempt++ {
		err := p.send(ctx, desc, report)
		if err == nil || ctx.Err() != nil || attempt == maxAttempts || !temporary(err) || errdefs.IsAlreadyExists(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (p *pusher) send(ctx context.Context, desc ocispec.Descriptor, report func(int64)) error {
	w, err := p.to.Push(ctx, desc)
	if err != nil {
		return err
	}
	defer w.Close()
	ra, err := p.s.Content().ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer ra.Close()
	r := &meter{r: content.NewReader(ra), report: report}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 256<<10)); err != nil && !errors.Is(err, content.ErrReset) {
		return err
	}
	return w.Commit(ctx, desc.Size, desc.Digest)
}

// meter tells how much was read.
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
