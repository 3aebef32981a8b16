package reconcile

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Every is how often the loop looks.
const Every = 5 * time.Second

// settle is how long a check by hand waits before it looks again: what a
// container's start, end or removal leaves half done for a moment is gone then.
const settle = 2500 * time.Millisecond

// Check finds differences of one kind. It is called every few seconds, so it
// asks the kernel and reads single directories, never a tree.
type Check func(ctx context.Context) []Finding

// Loop looks at all kinds, and repairs. It is safe for concurrent use.
type Loop struct {
	// Checks are the rooms'. Told are what is only said, such as damaged files.
	Checks, Told []Check
	// Deep are checks that read much, called on demand alone.
	Deep []Check
	// Also is done with each look of the loop.
	Also func()
	Log  *slog.Logger

	// turn is held while it looks or repairs.
	turn sync.Mutex
	// last are the differences of the look before.
	last map[same]bool
	// failed are those whose repair failed and was logged.
	failed map[same]bool
}

// Run looks every few seconds until ctx ends.
func (l *Loop) Run(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.look(ctx)
		if l.Also != nil {
			l.Also()
		}
	}
}

func find(ctx context.Context, checks []Check) (all []Finding) {
	for _, c := range checks {
		if ctx.Err() != nil {
			return all
		}
		all = append(all, c(ctx)...)
	}
	return all
}

func keys(all []Finding) map[same]bool {
	set := make(map[same]bool, len(all))
	for i := range all {
		set[all[i].same()] = true
	}
	return set
}

// look repairs what was found both now and the time before.
func (l *Loop) look(ctx context.Context) {
	l.turn.Lock()
	defer l.turn.Unlock()
	found := find(ctx, l.Checks)
	stay := slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return !l.last[f.same()] || f.Fix == nil })
	l.last = keys(found)
	l.repair(ctx, stay)
	for k := range l.failed {
		if !l.last[k] {
			delete(l.failed, k)
		}
	}
}

func (l *Loop) repair(ctx context.Context, all []Finding) {
	for i := range all {
		f := &all[i]
		if f.Fix == nil || ctx.Err() != nil {
			continue
		}
		if err := f.Fix(ctx); err != nil {
			f.Error = err.Error()
			if !l.failed[f.same()] {
				l.Log.Warn("a difference is not repaired", "kind", f.Kind, "object", f.Object, "store", f.Store, "machine", f.Machine, "error", err)
			}
			if l.failed == nil {
				l.failed = map[same]bool{}
			}
			l.failed[f.same()] = true
			continue
		}
		f.Repaired = true
		l.Log.Info("a difference is repaired", "kind", f.Kind, "object", f.Object, "store", f.Store, "machine", f.Machine, "done", f.Repair)
	}
}

// Options of Check.
type Options struct {
	// Repair what can be.
	Repair bool `json:"repair"`
	// Deep reads the content of images too.
	Deep bool `json:"deep"`
}

// Check lists the differences that are there now and stay. The result is never nil.
func (l *Loop) Check(ctx context.Context, opt Options) []Finding {
	l.turn.Lock()
	defer l.turn.Unlock()
	all := find(ctx, l.Checks)
	if len(all) > 0 {
		before := keys(all)
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return []Finding{}
		}
		all = slices.DeleteFunc(find(ctx, l.Checks), func(f Finding) bool { return !before[f.same()] })
	}
	if opt.Deep {
		all = append(all, find(ctx, l.Deep)...)
	}
	if opt.Repair {
		l.repair(ctx, all)
	}
	seen := keys(all)
	for _, f := range find(ctx, l.Told) {
		if !seen[f.same()] { // a deep look finds what a quick one does
			all = append(all, f)
		}
	}
	if all == nil {
		all = []Finding{}
	}
	return all
}
