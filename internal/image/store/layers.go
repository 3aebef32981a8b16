package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"hoy/internal/image/driver"
	"hoy/internal/image/untar"
	"hoy/internal/reconcile"
	"hoy/internal/runtime"
	"hoy/internal/space"
)

// labelChain marks the lease that keeps a chain of layers for containers.
const labelChain = "hoy/chain"

// newPrefix marks a directory that is not finished yet; no key begins with a dot.
const newPrefix = ".new-"

// layers are the writable layers of containers: a directory each,
//
//	writable/<key>/parent   a link whose text is the chain id it stands on
//	writable/<key>/fs       the container's files (overlay: its changes)
//	writable/<key>/work     overlay's scratch directory
//
// They are not records of the snapshotter, so that making one costs a few
// mkdirs and no transaction. It survives the death of the process. Nothing is
// synced, as what a container writes is not either: a layer is all names, no
// file, so that the file system's journal has it before the record of its
// container, which is synced. The image layers below are
// kept by a hold: one lease with one read-only snapshot per chain, made when
// the first container needs the chain and dropped when Sweep finds no user.
type layers struct {
	root, dir string
	driver    string
	leases    leases.Manager
	snaps     snapshots.Snapshotter
	log       *slog.Logger
	// trash runs removals in the background; Close of the store waits for them.
	trash sync.WaitGroup

	mu sync.Mutex
	// busy notes that a layer of an image is being made, until the end that it returns.
	busy func() (end func())

	keys  map[string]digest.Digest // finished layers and the chain below
	pins  map[digest.Digest]int    // chains that a Prepare under way counts on
	holds map[digest.Digest]*hold
}

type hold struct {
	lease string
	lower []string
}

// open finds the layers that earlier processes made.
func (l *layers) open(ctx context.Context, damages *reconcile.Damages) error {
	l.dir = filepath.Join(l.root, "writable")
	l.keys, l.pins, l.holds = map[string]digest.Digest{}, map[digest.Digest]int{}, map[digest.Digest]*hold{}
	for _, dir := range []string{l.dir, l.trashDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("image store: %w", err)
		}
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) {
			l.discard(filepath.Join(l.dir, e.Name()))
			continue
		}
		parent, err := readParent(filepath.Join(l.dir, e.Name()))
		if err != nil {
			damages.Add("writable layer "+e.Name(), filepath.Join(l.dir, e.Name(), "parent"), err, "left alone; its container does not start")
			continue
		}
		l.keys[e.Name()] = parent
	}
	if err := l.loadHolds(ctx); err != nil {
		return err
	}
	l.emptyTrash()
	return nil
}

func (l *layers) loadHolds(ctx context.Context) error {
	all, err := l.leases.List(ctx)
	if err != nil {
		return fmt.Errorf("image store: leases: %w", err)
	}
	for _, lease := range all {
		chain, ok := lease.Labels[labelChain]
		if !ok {
			continue
		}
		mounts, err := l.snaps.Mounts(ctx, lease.ID)
		if err == nil && l.holds[digest.Digest(chain)] == nil {
			if _, lower, err := driver.Dirs(mounts); err == nil {
				l.holds[digest.Digest(chain)] = &hold{lease: lease.ID, lower: lower}
				continue
			}
		}
		// Died between the lease and its snapshot, or a second one for the chain.
		if err := l.leases.Delete(ctx, lease); err != nil && !errdefs.IsNotFound(err) && !space.IsFull(err) {
			return fmt.Errorf("image store: lease %s: %w", lease.ID, err)
		}
	}
	return nil
}

// Prepare makes the writable layer key on top of the chain, which is unpacked
// already; an empty chain is an empty file system. A key that exists is
// errdefs.ErrAlreadyExists, a chain that is not there errdefs.ErrNotFound.
func (l *layers) Prepare(ctx context.Context, key string, chain digest.Digest) (err error) {
	if err := checkKey(key); err != nil {
		return err
	}
	l.pin(chain)
	defer l.unpin(chain)
	h, err := l.hold(in(ctx), chain)
	if err != nil {
		return err
	}
	tmp := filepath.Join(l.dir, newPrefix+key)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("writable layer %s is being made: %w", key, errdefs.ErrAlreadyExists)
		}
		return fmt.Errorf("writable layer: %w", err)
	}
	defer func() {
		if err != nil {
			l.discard(tmp)
		}
	}()
	if err := l.fill(tmp, chain, h); err != nil {
		return fmt.Errorf("writable layer %s: %w", key, err)
	}
	final := filepath.Join(l.dir, key)
	// Not replaced where it exists: it is a directory that is not empty.
	if err := os.Rename(tmp, final); err != nil {
		if _, serr := os.Lstat(final); serr == nil {
			return fmt.Errorf("writable layer %s: %w", key, errdefs.ErrAlreadyExists)
		}
		return fmt.Errorf("writable layer %s: %w", key, err)
	}
	l.mu.Lock()
	l.keys[key] = chain
	l.mu.Unlock()
	return nil
}

// fill makes the files of one layer. The root directory gets the owner and mode
// of the image's own.
func (l *layers) fill(dir string, chain digest.Digest, h *hold) error {
	// A file's content would need a sync; a link's text comes with its name.
	if err := os.Symlink(cmp.Or(chain.String(), noParent), filepath.Join(dir, "parent")); err != nil {
		return err
	}
	root := filepath.Join(dir, "fs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if l.driver == driver.Native {
		if h == nil {
			return nil
		}
		return fs.CopyDir(root, h.lower[0])
	}
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o711); err != nil {
		return err
	}
	if h == nil {
		return nil
	}
	return untar.CopyRootInfo(root, h.lower[0])
}

// noParent is the link's text of a layer that stands on nothing; a link cannot be empty.
const noParent = "none"

// readParent reads the chain id that a layer stands on. Earlier versions wrote
// it into a file.
func readParent(dir string) (digest.Digest, error) {
	path := filepath.Join(dir, "parent")
	text, err := os.Readlink(path)
	if errors.Is(err, unix.EINVAL) {
		data, rerr := os.ReadFile(path)
		text, err = string(data), rerr
	}
	if err != nil || text == noParent || text == "" {
		return "", err
	}
	chain := digest.Digest(text)
	return chain, chain.Validate()
}

func (l *layers) pin(chain digest.Digest) {
	l.mu.Lock()
	l.pins[chain]++
	l.mu.Unlock()
}

func (l *layers) unpin(chain digest.Digest) {
	l.mu.Lock()
	if l.pins[chain]--; l.pins[chain] == 0 {
		delete(l.pins, chain)
	}
	l.mu.Unlock()
}

// hold gives the chain's hold and makes it where there is none; nil for the
// empty chain. The caller has pinned the chain.
func (l *layers) hold(ctx context.Context, chain digest.Digest) (*hold, error) {
	if chain == "" {
		return nil, nil
	}
	l.mu.Lock()
	h := l.holds[chain]
	l.mu.Unlock()
	if h != nil {
		return h, nil
	}
	defer l.busy()()
	// The id is never used twice, so that Sweep, ending an older hold of this
	// chain, cannot end this one.
	lease, err := l.leases.Create(ctx, leases.WithID("hold-"+rand.Text()), leases.WithLabel(labelChain, chain.String()))
	if err != nil {
		return nil, fmt.Errorf("image store: hold: %w", err)
	}
	mounts, err := l.snaps.View(leases.WithLease(ctx, lease.ID), lease.ID, chain.String())
	if err == nil {
		h = &hold{lease: lease.ID}
		_, h.lower, err = driver.Dirs(mounts)
	}
	if err != nil {
		_ = l.leases.Delete(ctx, lease)
		return nil, fmt.Errorf("image layers %s: %w", chain, err)
	}
	l.mu.Lock()
	other := l.holds[chain]
	if other == nil {
		l.holds[chain] = h
	}
	l.mu.Unlock()
	if other != nil { // two first containers at once
		_ = l.leases.Delete(ctx, lease)
		return other, nil
	}
	return h, nil
}

// dropUnusedHolds ends the holds of chains that no layer stands on.
func (l *layers) dropUnusedHolds(ctx context.Context) error {
	l.mu.Lock()
	used := map[digest.Digest]bool{}
	for _, chain := range l.keys {
		used[chain] = true
	}
	var stale []string
	for chain, h := range l.holds {
		if !used[chain] && l.pins[chain] == 0 {
			stale = append(stale, h.lease)
			delete(l.holds, chain)
		}
	}
	l.mu.Unlock()
	for _, id := range stale {
		if err := l.leases.Delete(ctx, leases.Lease{ID: id}); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("image store: lease %s: %w", id, err)
		}
	}
	return nil
}

// Layer is where a writable layer's files are. Upper is the whole file system
// where Lower is empty; else Lower are the image's layers, nearest first.
type Layer struct {
	Upper, Work string
	Lower       []string
	Chain       digest.Digest
}

// Layer finds the writable layer key; an unknown one is errdefs.ErrNotFound.
func (l *layers) Layer(ctx context.Context, key string) (*Layer, error) {
	l.mu.Lock()
	chain, ok := l.keys[key]
	if ok {
		l.pins[chain]++
	}
	l.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("writable layer %s: %w", key, errdefs.ErrNotFound)
	}
	defer l.unpin(chain)
	h, err := l.hold(in(ctx), chain)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(l.dir, key)
	layer := &Layer{Upper: filepath.Join(dir, "fs"), Work: filepath.Join(dir, "work"), Chain: chain}
	if h != nil {
		layer.Lower = slices.Clone(h.lower)
	}
	return layer, nil
}

// Mounts says how the file system of key is mounted.
func (l *layers) Mounts(ctx context.Context, key string) ([]runtime.RootMount, error) {
	layer, err := l.Layer(ctx, key)
	if err != nil {
		return nil, err
	}
	if l.driver == driver.Native || len(layer.Lower) == 0 {
		return []runtime.RootMount{{Type: "bind", Source: layer.Upper, Options: []string{"rbind", "rw"}}}, nil
	}
	options := append(driver.OverlayOptions(), "workdir="+layer.Work, "upperdir="+layer.Upper, "lowerdir="+strings.Join(layer.Lower, ":"))
	return []runtime.RootMount{{Type: "overlay", Source: "overlay", Options: options}}, nil
}

// Files is where the files are that the writable layer key adds to its image.
func (l *layers) Files(key string) string { return filepath.Join(l.dir, key, "fs") }

// Layers lists the keys of the writable layers.
func (l *layers) Layers() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := make([]string, 0, len(l.keys))
	for key := range l.keys {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// RemoveLayer removes the writable layer key and returns the chain that it stood
// on. The name is free at once; the files go in the background. An unknown key
// is errdefs.ErrNotFound.
func (l *layers) RemoveLayer(key string) (digest.Digest, error) {
	l.mu.Lock()
	chain, ok := l.keys[key]
	delete(l.keys, key)
	l.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("writable layer %s: %w", key, errdefs.ErrNotFound)
	}
	l.discard(filepath.Join(l.dir, key))
	return chain, nil
}

// Background runs f beside the caller; Close waits for it.
func (l *layers) Background(f func()) { l.trash.Go(f) }

func (l *layers) trashDir() string { return filepath.Join(l.root, "trash") }

// discard moves dir out of sight and removes it in the background.
func (l *layers) discard(dir string) {
	target := filepath.Join(l.trashDir(), rand.Text())
	if err := os.Rename(dir, target); err != nil {
		l.log.Warn("writable layer cannot be moved aside; removing it in place", "dir", dir, "error", err)
		target = dir
	}
	l.trash.Go(func() {
		if err := os.RemoveAll(target); err != nil {
			l.log.Warn("removed layer's files stay until the next start", "dir", target, "error", err)
		}
	})
}

func (l *layers) emptyTrash() {
	entries, err := os.ReadDir(l.trashDir())
	if err != nil {
		l.log.Warn("trash cannot be read", "error", err)
	}
	for _, e := range entries {
		l.trash.Go(func() { _ = os.RemoveAll(filepath.Join(l.trashDir(), e.Name())) })
	}
}

func checkKey(key string) error {
	if key == "" || strings.HasPrefix(key, ".") || strings.ContainsAny(key, "/\x00") {
		return fmt.Errorf("writable layer: bad key %q: %w", key, errdefs.ErrInvalidArgument)
	}
	return nil
}
