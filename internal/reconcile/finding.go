// Package reconcile keeps what the store says and what the machine has in
// agreement: the rooms of the engine find the differences, this looks again, so
// that what is under way is not taken for one, repairs, and reports.
package reconcile

import (
	"context"
	"log/slog"
	"sync"
)

// Finding is one difference.
type Finding struct {
	// Kind is that of the object: container, cgroup, link, rule, address,
	// directory, volume, image, file, …
	Kind   string `json:"kind"`
	Object string `json:"object"`
	// Store is what the store says of it, Machine what the machine has.
	Store   string `json:"store"`
	Machine string `json:"machine"`
	// Repair is what a repair does; without Fix it is advice.
	Repair string `json:"repair"`
	// Repaired says that it was done, Error why it was not.
	Repaired bool   `json:"repaired"`
	Error    string `json:"error,omitempty"`

	// Fix does it. It looks again before it changes anything, and undoes no
	// work that is under way. nil is what only a person can repair.
	Fix func(ctx context.Context) error `json:"-"`
}

// same is what two looks at one difference have in common.
type same struct{ kind, object, store, machine string }

func (f *Finding) same() same { return same{f.Kind, f.Object, f.Store, f.Machine} }

// Damages are the files that were found damaged, for as long as the engine
// runs. A nil one forgets.
type Damages struct {
	log *slog.Logger

	mu   sync.Mutex
	list []Finding
}

// maxDamages bounds the list; the log has all.
const maxDamages = 1000

// NewDamages returns a list that also logs.
func NewDamages(log *slog.Logger) *Damages { return &Damages{log: log} }

// Add tells of a damaged file: whose it is, what is wrong, and what was done or
// is to be done.
func (d *Damages) Add(object, path string, wrong error, done string) {
	if d == nil {
		return
	}
	d.log.Error("a file is damaged", "object", object, "path", path, "error", wrong, "done", done)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) < maxDamages {
		d.list = append(d.list, Finding{Kind: "file", Object: object, Store: path, Machine: "damaged: " + wrong.Error(), Repair: done})
	}
}

// Check lists them.
func (d *Damages) Check(context.Context) []Finding {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Finding(nil), d.list...)
}
