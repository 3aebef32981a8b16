package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/durable"
	"hoy/internal/image/decompress"
	"hoy/internal/image/driver"
	"hoy/internal/image/tee"
	"hoy/internal/image/untar"
)

// unpacker makes the files of image layers out of their archives.
type unpacker struct {
	// removed is called after a snapshot was removed: its files go with a sweep alone.
	removed func()
	content content.Store
	leases  leases.Manager
	snaps   snapshots.Snapshotter
	driver  string
	log     *slog.Logger
	// making is how many layers are being made.
	making atomic.Int32
}

// busy notes that a layer is being made, until the end that it returns.
func (u *unpacker) busy() (end func()) {
	u.making.Add(1)
	return func() { u.making.Add(-1) }
}

// Settled says that no layer is being made: those that are there stay as they are.
func (u *unpacker) Settled() bool { return u.making.Load() == 0 }

// Unpack makes the files of every layer of a manifest, whose blobs are there,
// and ties them to the configuration blob so that they live as long. Each
// layer's content must have the uncompressed digest that the configuration
// names. ctx is from Lease. Wait, where not nil, returns once a layer's blob has
// arrived; report, where not nil, is told what is being done.
func (u *unpacker) Unpack(ctx context.Context, m *Manifest, wait func(layer ocispec.Descriptor) error, report func(layer ocispec.Descriptor, state UnpackState, done int64)) (digest.Digest, error) {
	if len(m.Layers) != len(m.Config.RootFS.DiffIDs) {
		return "", fmt.Errorf("image has %d layers but its configuration names %d: %w", len(m.Layers), len(m.Config.RootFS.DiffIDs), errdefs.ErrInvalidArgument)
	}
	if report == nil {
		report = func(ocispec.Descriptor, UnpackState, int64) {}
	}
	var parent digest.Digest
	for i, layer := range m.Layers {
		chain := identity.ChainID(m.Config.RootFS.DiffIDs[:i+1])
		if wait != nil {
			if err := wait(layer); err != nil {
				return "", err
			}
		}
		if err := u.unpackLayer(ctx, layer, m.Config.RootFS.DiffIDs[i], parent, chain, report); err != nil {
			return "", fmt.Errorf("unpack layer %s: %w", layer.Digest, err)
		}
		parent = chain
	}
	return parent, u.tie(ctx, m.ConfigDescriptor.Digest, parent)
}

// UnpackState is where the unpacking of a layer is.
type UnpackState int

// The states, in order.
const (
	UnpackRunning UnpackState = iota
	UnpackDone
	UnpackExists
)

func (u *unpacker) unpackLayer(ctx context.Context, layer ocispec.Descriptor, diffID, parent, chain digest.Digest, report func(ocispec.Descriptor, UnpackState, int64)) error {
	if has, err := u.take(ctx, chain); err != nil {
		return err
	} else if has {
		report(layer, UnpackExists, layer.Size)
		return nil
	}
	ra, err := u.content.ReaderAt(ctx, layer)
	if err != nil {
		return err
	}
	defer ra.Close()
	src := tee.Count(content.NewReader(ra), func(n int64) { report(layer, UnpackRunning, n) })
	plain, err := decompress.Stream(src)
	if err != nil {
		return err
	}
	defer plain.Close()
	digester := digest.Canonical.Digester()
	both := tee.New(plain, digester.Hash())
	err = u.apply(ctx, both, parent, func() (digest.Digest, error) {
		if err := both.Wait(); err != nil {
			return "", err
		}
		if got := digester.Digest(); got != diffID {
			return "", fmt.Errorf("content has digest %s, its configuration says %s: %w", got, diffID, errdefs.ErrInvalidArgument)
		}
		return chain, nil
	})
	_ = both.Wait() // ends its goroutine where the unpacking failed
	if err != nil {
		return err
	}
	report(layer, UnpackDone, layer.Size)
	return nil
}

// take puts a layer that is there under the lease of ctx: nothing else may keep
// it, when its images are removed just now.
func (u *unpacker) take(ctx context.Context, chain digest.Digest) (bool, error) {
	has := func() (bool, error) {
		_, err := u.snaps.Stat(ctx, chain.String())
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}
	lease, leased := leases.FromContext(ctx)
	if there, err := has(); err != nil || !there || !leased {
		return there, err
	}
	r := leases.Resource{ID: chain.String(), Type: "snapshots/" + u.driver}
	if err := u.leases.AddResource(ctx, leases.Lease{ID: lease}, r); err != nil {
		return false, fmt.Errorf("image store: lease: %w", err)
	}
	return has()
}

// apply unpacks a tar stream onto parent, reads it to its end, and commits the
// result under the chain id that name gives then.
func (u *unpacker) apply(ctx context.Context, r io.Reader, parent digest.Digest, name func() (digest.Digest, error)) (err error) {
	defer u.busy()()
	key := "extract-" + rand.Text()
	mounts, err := u.snaps.Prepare(ctx, key, parent.String())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if rerr := u.snaps.Remove(context.WithoutCancel(ctx), key); rerr != nil && !errdefs.IsNotFound(rerr) {
				u.log.Warn("half an unpacked layer stays until the next sweep", "error", rerr)
			}
			u.removed()
		}
	}()
	upper, lower, err := driver.Dirs(mounts)
	if err != nil {
		return err
	}
	if len(lower) > 0 {
		if err := untar.CopyRootInfo(upper, lower[0]); err != nil {
			return err
		}
	}
	if err := untar.Apply(ctx, upper, lower, u.driver == driver.Overlay, r); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	chain, err := name()
	if err != nil {
		return err
	}
	// Before a record says that they are whole.
	if err := durable.SyncAll(upper); err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	if err := u.snaps.Commit(ctx, chain.String(), key); err != nil {
		if !errdefs.IsAlreadyExists(err) {
			return err
		}
		// Somebody else unpacked the same layer meanwhile.
		defer u.removed()
		if _, err := u.take(ctx, chain); err != nil {
			return err
		}
		return u.snaps.Remove(ctx, key)
	}
	return nil
}

// tie makes the configuration blob keep the unpacked chain.
func (u *unpacker) tie(ctx context.Context, config, chain digest.Digest) error {
	if chain == "" {
		return nil
	}
	label := "containerd.io/gc.ref.snapshot." + u.driver
	_, err := u.content.Update(ctx, content.Info{Digest: config, Labels: map[string]string{label: chain.String()}}, "labels."+label)
	if err != nil {
		return fmt.Errorf("image store: label of %s: %w", config, err)
	}
	return nil
}

// WriteLayer reads an uncompressed layer in one pass: it is stored as it comes,
// hashed, and unpacked onto parent. It returns the blob and the new chain.
// ctx is from Lease.
func (u *unpacker) WriteLayer(ctx context.Context, parentDiffs []digest.Digest, r io.Reader) (ocispec.Descriptor, digest.Digest, error) {
	fail := func(err error) (ocispec.Descriptor, digest.Digest, error) {
		return ocispec.Descriptor{}, "", err
	}
	ref := "layer-" + rand.Text()
	w, err := u.content.Writer(ctx, content.WithRef(ref))
	if err != nil {
		return fail(fmt.Errorf("image store: %w", err))
	}
	defer func() {
		w.Close()
		_ = u.content.Abort(context.WithoutCancel(ctx), ref)
	}()
	both := tee.New(r, w)
	var size int64
	var diffID, chain digest.Digest
	err = u.apply(ctx, both, identity.ChainID(parentDiffs), func() (digest.Digest, error) {
		if err := both.Wait(); err != nil {
			return "", err
		}
		st, err := w.Status()
		if err != nil {
			return "", err
		}
		size, diffID = st.Offset, w.Digest()
		diffs := append(append([]digest.Digest{}, parentDiffs...), diffID)
		chain = identity.ChainID(diffs)
		return chain, nil
	})
	if werr := both.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return fail(err)
	}
	labels := content.WithLabels(map[string]string{"containerd.io/uncompressed": diffID.String()})
	if err := w.Commit(ctx, size, diffID, labels); err != nil && !errdefs.IsAlreadyExists(err) {
		return fail(fmt.Errorf("image store: %w", err))
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}, chain, nil
}
