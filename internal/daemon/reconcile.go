package daemon

import (
	"context"

	"hoy/internal/reconcile"
	"hoy/internal/undo"
)

// newLoop makes who compares store and machine; it looks until the daemon ends.
func (d *Daemon) newLoop(ctx context.Context, back *undo.Stack) *reconcile.Loop {
	loop := &reconcile.Loop{
		Checks: []reconcile.Check{
			d.containers.Check, d.volumes.Check,
			func(ctx context.Context) []reconcile.Finding { return d.networks.Check(ctx, d.containers.NetNS) },
		},
		Told: []reconcile.Check{d.damages.Check, d.images.Check},
		Deep: []reconcile.Check{d.images.CheckAll},
		Also: d.images.KeepCopies,
		Log:  d.log,
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, f := range d.images.Check(ctx) {
			d.log.Error("an image is damaged", "image", f.Object, "blob", f.Store, "error", f.Machine, "remedy", f.Repair)
		}
		loop.Run(ctx)
	}()
	back.Push("stop comparing", func(context.Context) error { cancel(); <-ended; return nil })
	return loop
}
