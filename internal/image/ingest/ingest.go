// Package ingest keeps the names under which content is written from being lost.
//
// Containerd's metadata opens the writer below inside its transaction. Where that
// cannot be committed it returns an error and leaves the writer open, and with
// it the lock on its name: whoever writes the same content next waits for ever.
// The two stores here, one above metadata and one below, close such a writer.
package ingest

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
)

type openedKey struct{}

// Below wraps the store that metadata is given.
func Below(s content.Store) content.Store { return below{s} }

type below struct{ content.Store }

// Writer notes the writer that it opens where the caller asked for that.
func (b below) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := b.Store.Writer(ctx, opts...)
	if err != nil && !errdefs.IsUnavailable(err) && !errdefs.IsAlreadyExists(err) {
		b.abort(ctx, opts)
	}
	if opened, ok := ctx.Value(openedKey{}).(*content.Writer); ok && err == nil {
		*opened = w
	}
	return w, err
}

// abort removes what a writer that could not begin has begun, where nothing was
// written to it yet.
func (b below) abort(ctx context.Context, opts []content.WriterOpt) {
	var w content.WriterOpts
	for _, opt := range opts {
		if opt(&w) != nil {
			return
		}
	}
	if s, err := b.Status(ctx, w.Ref); w.Ref != "" && (err != nil || s.Offset == 0) {
		_ = b.Abort(context.WithoutCancel(ctx), w.Ref)
	}
}

// Above wraps the store that metadata gives.
func Above(s content.Store) content.Store { return above{s} }

type above struct{ content.Store }

func (a above) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var opened content.Writer
	w, err := a.Store.Writer(context.WithValue(ctx, openedKey{}, &opened), opts...)
	if err != nil && opened != nil {
		_ = opened.Close() // gives the name back; what was begun is swept
	}
	return w, err
}
