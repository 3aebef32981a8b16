// Package store keeps images on disk: containerd's content store, metadata and
// snapshotters, run inside this process, and the writable layers of containers.
//
// Everything below the root is private to the engine (mode 0700). What nothing
// refers to is removed by Sweep; work in progress is protected by a lease.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	clog "github.com/containerd/log"
	"go.etcd.io/bbolt"

	"hoy/internal/durable/boltfile"
	"hoy/internal/image/driver"
	"hoy/internal/image/ingest"
	"hoy/internal/reconcile"
	"hoy/internal/space"
)

// Namespace is the one containerd namespace that everything lives in.
const Namespace = "hoy"

// Options of Open. Snapshotter is "overlayfs", "native" or empty for the best
// that the file system of Root can carry.
type Options struct {
	Root        string
	Snapshotter string
	Log         *slog.Logger
	// Damages is told of damaged files; nil forgets.
	Damages *reconcile.Damages
}

// Store is safe for concurrent use.
type Store struct {
	*blobs
	*unpacker
	*sizer
	*layers

	log     *slog.Logger
	driver  string
	bolt    *bbolt.DB
	meta    *metadata.DB
	backend snapshots.Snapshotter
	images  images.Store
	leases  leases.Manager
	keepers []*boltfile.Keeper
}

// Open opens the store at opt.Root, making it where there is none, and removes
// what an earlier process left unfinished.
func Open(ctx context.Context, opt Options) (_ *Store, err error) {
	// The libraries log through one global logger of their own; what matters
	// comes back as an error.
	_ = clog.SetLevel("error")
	s := &Store{log: opt.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opt.Root, 0o700); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := s.mend(opt); err != nil {
		return nil, err
	}
	contents, err := local.NewStore(filepath.Join(opt.Root, "content"))
	if err != nil {
		return nil, fmt.Errorf("image store: content: %w", err)
	}
	if s.driver, s.backend, err = driver.Open(opt.Root, opt.Snapshotter, s.log); err != nil {
		return nil, err
	}
	s.bolt, err = bbolt.Open(filepath.Join(opt.Root, metaFile), 0o600, &bbolt.Options{
		Timeout: 5 * time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("image store: meta.db: %w", err)
	}
	s.meta = metadata.NewDB(s.bolt, ingest.Below(contents), map[string]snapshots.Snapshotter{s.driver: s.backend})
	if err := s.meta.Init(ctx); err != nil {
		return nil, fmt.Errorf("image store: meta.db: %w", err)
	}
	s.assemble(opt.Root)
	ctx = in(ctx)
	err = s.tidy(
		func() error { return s.dropStaleLeases(ctx) },
		func() error { return s.dropUnrecorded(ctx, contents) },
		func() error { return s.dropUnfinished(ctx, opt.Root) },
		func() error { return s.layers.open(ctx, opt.Damages) },
		func() error { return s.Sweep(ctx) },
	)
	if err != nil {
		return nil, err
	}
	s.keepers = []*boltfile.Keeper{
		boltfile.NewKeeper(filepath.Join(opt.Root, metaFile)), boltfile.NewKeeper(filepath.Join(opt.Root, s.driver, layersFile)),
	}
	s.KeepCopies()
	return s, nil
}

// tidy takes the steps of clearing up after an earlier process. A full disk may
// have no room for their records: what is there can be used, and removed, all the same.
func (s *Store) tidy(steps ...func() error) error {
	for _, step := range steps {
		err := step()
		if space.IsFull(err) {
			s.log.Warn("the disk is full: what an earlier process left unfinished stays until the next start", "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// assemble makes the parts over the open databases.
func (s *Store) assemble(root string) {
	contents, snaps := ingest.Above(s.meta.ContentStore()), s.meta.Snapshotter(s.driver)
	s.images = metadata.NewImageStore(s.meta)
	s.leases = metadata.NewLeaseManager(s.meta)
	s.blobs = &blobs{content: contents, driver: s.driver}
	s.unpacker = &unpacker{removed: func() { s.Background(func() { s.Discard(context.Background()) }) }, content: contents, leases: s.leases, snaps: snaps, driver: s.driver, log: s.log}
	s.sizer = &sizer{blobs: s.blobs, snaps: snaps}
	s.layers = &layers{root: root, driver: s.driver, leases: s.leases, snaps: snaps, log: s.log, busy: s.unpacker.busy}
}

// Close waits for removals under way and closes the databases.
func (s *Store) Close() error {
	if s.layers != nil {
		s.trash.Wait()
	}
	s.KeepCopies()
	var errs []error
	if s.bolt != nil {
		errs = append(errs, s.bolt.Close())
	}
	if s.backend != nil {
		errs = append(errs, s.backend.Close())
	}
	return errors.Join(errs...)
}

// Driver names the snapshotter in use.
func (s *Store) Driver() string { return s.driver }

// Images is the record of names.
func (s *Store) Images() images.Store { return s.images }

// Content is the blob store. Its methods need a context from Context or Lease.
func (s *Store) Content() content.Store { return s.blobs.content }

// Context makes ctx usable with Images and Content.
func (s *Store) Context(ctx context.Context) context.Context { return in(ctx) }

func in(ctx context.Context) context.Context { return namespaces.WithNamespace(ctx, Namespace) }

// Lease gives a context under which everything written stays until done is
// called; what has a reference from an image by then stays for good, all else
// goes with the next Sweep. A lease never outlives the process.
func (s *Store) Lease(ctx context.Context) (_ context.Context, done func(), err error) {
	ctx = in(ctx)
	l, err := s.leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		return nil, nil, fmt.Errorf("image store: lease: %w", err)
	}
	return leases.WithLease(ctx, l.ID), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if err := s.leases.Delete(ctx, leases.Lease{ID: l.ID}); err != nil && !errdefs.IsNotFound(err) {
			s.log.Warn("image store: lease stays until the next start", "lease", l.ID, "error", err)
		}
	}, nil
}

// dropStaleLeases ends the leases of operations that died with an earlier process.
func (s *Store) dropStaleLeases(ctx context.Context) error {
	all, err := s.leases.List(ctx)
	if err != nil {
		return fmt.Errorf("image store: leases: %w", err)
	}
	for _, l := range all {
		if _, isHold := l.Labels[labelChain]; isHold {
			continue
		}
		if err := s.leases.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("image store: lease %s: %w", l.ID, err)
		}
	}
	return nil
}

// dropUnfinished removes content and layers that an earlier process was still writing.
func (s *Store) dropUnfinished(ctx context.Context, root string) error {
	contents := s.meta.ContentStore()
	all, err := contents.ListStatuses(ctx)
	if err != nil {
		return fmt.Errorf("image store: unfinished content: %w", err)
	}
	for _, st := range all {
		if err := contents.Abort(ctx, st.Ref); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("image store: unfinished content %s: %w", st.Ref, err)
		}
	}
	// A layer's directory that was made and not recorded stands in the way of the next of its number.
	if c, ok := s.backend.(snapshots.Cleaner); ok {
		// A new store has no record of layers at all: not found.
		if err := c.Cleanup(ctx); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("image store: unfinished layers: %w", err)
		}
	}
	// What was killed while it was being begun is in no list.
	dir := filepath.Join(root, "content", "ingest")
	begun, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("image store: unfinished content: %w", err)
	}
	for _, d := range begun {
		if err := os.RemoveAll(filepath.Join(dir, d.Name())); err != nil {
			return fmt.Errorf("image store: unfinished content: %w", err)
		}
	}
	return nil
}

// Sweep removes every blob and snapshot that no image, container or lease needs.
func (s *Store) Sweep(ctx context.Context) error {
	ctx = in(context.WithoutCancel(ctx))
	if err := s.layers.dropUnusedHolds(ctx); err != nil {
		return err
	}
	s.cache.clear()
	if _, err := s.meta.GarbageCollect(ctx); err != nil {
		return fmt.Errorf("image store: sweep: %w", err)
	}
	return nil
}

// Discard sweeps after a failed operation; it logs rather than fails.
func (s *Store) Discard(ctx context.Context) {
	if err := s.Sweep(ctx); err != nil {
		s.log.Warn("image store: sweep after a failed operation", "error", err)
	}
}
