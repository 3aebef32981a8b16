package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/remote"
	"hoy/internal/image/store"
	"hoy/internal/space"
)

// maxAttempts bounds how often one blob is asked for before the pull fails.
const maxAttempts = 5

// fetch brings one blob into the store and checks its size and digest. What
// arrived of it stays for a day when the connection breaks, and is continued.
func (c *Client) fetch(ctx context.Context, s *store.Store, from remotes.Fetcher, desc ocispec.Descriptor, labels map[string]string, report func(n int64), retry func(wait time.Duration)) error {
	// Addresses in a manifest are not followed: they could be anybody's.
	desc.URLs = nil
	if err := desc.Digest.Validate(); err != nil {
		return remote.Said(errdefs.ErrInvalidArgument, err, "manifest names an invalid digest %q", string(desc.Digest[:min(len(desc.Digest), 128)]))
	}
	if desc.Size < 0 {
		return remote.Said(errdefs.ErrInvalidArgument, nil, "manifest gives %s a negative size", desc.Digest)
	}
	wait := c.RetryDelay
	for attempt := 1; ; attempt++ {
		err := fetchOnce(ctx, s, from, desc, labels, report)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, remote.ErrWrongContent) || space.IsFull(err) || attempt == maxAttempts || !temporary(err) {
			return err
		}
		if retry != nil {
			retry(wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// temporary says whether the same request may succeed later: not after an
// answer that was understood.
func temporary(err error) bool {
	if _, ok := errors.AsType[*remote.HTMLError](err); ok || errors.Is(err, docker.ErrInvalidAuthorization) {
		return false
	}
	_, answered := remote.ErrorStatus(err)
	return !answered && !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err)
}

// ingest is the name of a blob that is still coming in.
func ingest(desc ocispec.Descriptor) string { return "blob-" + desc.Digest.String() }

func fetchOnce(ctx context.Context, s *store.Store, from remotes.Fetcher, desc ocispec.Descriptor, labels map[string]string, report func(int64)) (err error) {
	ref := ingest(desc)
	w, err := content.OpenWriter(ctx, s.Content(), content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	defer func() {
		_ = w.Close()
		if space.IsFull(err) {
			// What was broken off by the network is continued; this would fill the disk for nothing.
			_ = s.Content().Abort(context.WithoutCancel(ctx), ref)
		}
	}()
	st, err := w.Status()
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	if st.Offset > desc.Size {
		if err := w.Truncate(0); err != nil {
			return fmt.Errorf("image store: %w", err)
		}
		st.Offset = 0
	}
	if st.Offset < desc.Size || desc.Size == 0 {
		if err := receive(ctx, from, desc, w, st.Offset, report); err != nil {
			if errors.Is(err, remote.ErrWrongContent) {
				_ = w.Truncate(0)
			}
			return err
		}
	}
	if err := w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(labels)); err != nil && !errdefs.IsAlreadyExists(err) {
		if errdefs.IsFailedPrecondition(err) {
			got := w.Digest()
			_ = w.Truncate(0)
			return remote.Said(errdefs.ErrInvalidArgument, remote.ErrWrongContent, "registry sent wrong content: digest is %s, the manifest says %s", got, desc.Digest)
		}
		return fmt.Errorf("image store: %w", err)
	}
	return nil
}

// receive copies the rest of a blob from offset.
func receive(ctx context.Context, from remotes.Fetcher, desc ocispec.Descriptor, w io.Writer, offset int64, report func(int64)) error {
	rc, err := from.Fetch(ctx, desc)
	if err != nil {
		return err
	}
	defer rc.Close()
	if offset > 0 {
		seeker, ok := rc.(io.Seeker)
		if !ok {
			return fmt.Errorf("cannot continue %s: %w", desc.Digest, errdefs.ErrInternal)
		}
		if _, err := seeker.Seek(offset, io.SeekStart); err != nil {
			return err
		}
	}
	buf := make([]byte, 256<<10)
	for n := offset; ; {
		got, err := rc.Read(buf)
		if n += int64(got); n > desc.Size {
			return remote.Said(errdefs.ErrInvalidArgument, remote.ErrWrongContent, "registry sent more than the %d bytes that the manifest says %s has", desc.Size, desc.Digest)
		}
		if got > 0 {
			if _, err := w.Write(buf[:got]); err != nil {
				return fmt.Errorf("image store: %w", err)
			}
			report(n)
		}
		switch {
		case errors.Is(err, io.EOF) && n < desc.Size:
			return &shortError{got: n, want: desc.Size, desc: desc}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// shortError is a stream that ended early, by a cut or because the manifest
// gives a wrong size.
type shortError struct {
	got, want int64
	desc      ocispec.Descriptor
}

func (e *shortError) Error() string {
	return fmt.Sprintf("registry sent %d of the %d bytes of %s and then ended", e.got, e.want, e.desc.Digest)
}
