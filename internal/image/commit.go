package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/change"
	"hoy/internal/image/driver"
	"hoy/internal/image/layerdiff"
	"hoy/internal/image/store"
)

// CommitOptions of Commit. Config is the new image's whole configuration.
type CommitOptions struct {
	Config          container.Config
	Author, Comment string
	// Ref to tag the image with; empty leaves it without a name.
	Ref string
	// Time the image is created at; zero is now.
	Time time.Time
	// Hide are places, absolute paths below the container's root, that the
	// engine itself may have put there to mount on. Such a place does not
	// become part of the image where it is an empty file or directory that the
	// parent does not have.
	Hide []string
}

// SnapshotChanges tells what the writable layer key changes of its image, by path.
func (r *roots) SnapshotChanges(ctx context.Context, key string) ([]container.FilesystemChange, error) {
	changes := []container.FilesystemChange{}
	err := r.walkChanges(ctx, key, nil, func(*os.Root) layerdiff.Emit {
		return func(kind container.ChangeType, path string, _ os.FileInfo) error {
			changes = append(changes, container.FilesystemChange{Kind: kind, Path: path})
			return nil
		}
	})
	slices.SortFunc(changes, func(a, b container.FilesystemChange) int { return strings.Compare(a.Path, b.Path) })
	return changes, err
}

func (r *roots) walkChanges(ctx context.Context, key string, hide []string, emit func(*os.Root) layerdiff.Emit) error {
	layer, err := r.store.Layer(ctx, key)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(layer.Upper)
	if err != nil {
		return fmt.Errorf("writable layer %s: %w", key, err)
	}
	defer root.Close()
	if r.store.Driver() == driver.Native && len(layer.Lower) > 0 {
		return layerdiff.Trees(ctx, layer.Lower[0], layer.Upper, hide, emit(root))
	}
	return layerdiff.Overlay(ctx, root, layer.Lower, hide, emit(root))
}

// Commit makes an image of the writable layer key on top of parent, which is
// nil for an empty one, and returns its id. The container should not write
// meanwhile. The parent's layers are kept as they are; one is added unless
// nothing changed.
func (r *roots) Commit(ctx context.Context, key string, parent *Image, opt CommitOptions) (string, error) {
	name, err := catalog.ParseTarget(opt.Ref)
	if err != nil {
		return "", err
	}
	if err := r.room.forCommit("commit", r.SnapshotUsage(ctx, key)[0]); err != nil {
		return "", err
	}
	lctx, done, err := r.store.Lease(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	target, err := r.commit(lctx, key, parent, opt)
	if err != nil {
		return "", r.room.failed(ctx, "commit", done, err)
	}
	record := name
	if name == "" {
		record = catalog.DanglingName(target.Digest)
	}
	if err := r.names.Put(lctx, record, target); err != nil {
		return "", err
	}
	r.tell.image(ctx, events.ActionCreate, target, target.Digest.String())
	if name != "" {
		r.tell.image(ctx, events.ActionTag, target, catalog.Familiar(name))
	}
	return target.Digest.String(), nil
}

func (r *roots) commit(lctx context.Context, key string, parent *Image, opt CommitOptions) (ocispec.Descriptor, error) {
	fail := func(err error) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, err }
	base := &store.Manifest{}
	base.Config.Platform = platforms.DefaultSpec()
	base.Config.RootFS.Type = "layers"
	if parent != nil {
		m, err := r.store.Manifest(lctx, parent.Manifest)
		if errdefs.IsNotFound(err) {
			return fail(errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("cannot commit: the image %s that the container was made of was deleted", catalog.Short(parent.ID))))
		}
		if err != nil {
			return fail(err)
		}
		base = m
	}
	layer, err := r.store.Layer(lctx, key)
	if err != nil {
		return fail(err)
	}
	if layer.Chain != base.ChainID() {
		return fail(fmt.Errorf("commit %s: its layers are not those of its image: %w", key, errdefs.ErrInvalidArgument))
	}
	now := opt.Time.UTC()
	if opt.Time.IsZero() {
		now = time.Now().UTC()
	}
	img := dockerspec.DockerOCIImage{Image: base.Config.Image, Config: change.ToImage(&opt.Config)}
	img.Created, img.Author = &now, opt.Author
	img.RootFS.DiffIDs = slices.Clone(base.Config.RootFS.DiffIDs)
	history := ocispec.History{Created: &now, CreatedBy: strings.Join(opt.Config.Cmd, " "), Author: opt.Author, Comment: opt.Comment}
	layers := slices.Clone(base.Layers)
	added, changes, err := r.commitLayer(lctx, key, base, opt.Hide)
	if err != nil {
		return fail(err)
	}
	if changes > 0 {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, added.Digest)
		layers = append(layers, added)
	}
	history.EmptyLayer = changes == 0
	img.History = append(slices.Clone(base.Config.History), history)
	return r.store.WriteImage(lctx, img, layers)
}

// commitLayer writes what changed as a layer, in one pass: as it is found it is
// stored, hashed and unpacked.
func (r *roots) commitLayer(lctx context.Context, key string, base *store.Manifest, hide []string) (ocispec.Descriptor, int, error) {
	pr, pw := io.Pipe()
	counted := make(chan int, 1)
	go func() {
		var w *layerdiff.Writer
		err := r.walkChanges(lctx, key, hide, func(root *os.Root) layerdiff.Emit {
			w = layerdiff.NewWriter(pw, root)
			return w.Change
		})
		n := 0
		if w != nil {
			n = w.Count()
			if err == nil {
				err = w.Close()
			}
		}
		pw.CloseWithError(err)
		counted <- n
	}()
	desc, _, err := r.store.WriteLayer(lctx, base.Config.RootFS.DiffIDs, pr)
	pr.CloseWithError(err)
	n := <-counted
	if err != nil {
		return desc, 0, fmt.Errorf("commit: %w", err)
	}
	return desc, n, nil
}
