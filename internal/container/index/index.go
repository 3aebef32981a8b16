// Package index holds all containers of the engine by id and name. Reads are
// immutable snapshots that wait for nobody; changes of one container exclude
// each other and no other container's.
package index

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"hoy/internal/container/record"
)

// Index is the set of containers. The zero value is not usable: see New.
type Index struct {
	// mu guards the two maps only and is never held across anything that blocks.
	mu    sync.RWMutex
	byID  map[string]*Entry
	names map[string]string
}

// New returns an empty index.
func New() *Index { return &Index{byID: map[string]*Entry{}, names: map[string]string{}} }

// Reserve takes a name for id. A name that is taken is errdefs.ErrConflict in Docker's words.
func (x *Index) Reserve(name, id string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if holder, taken := x.names[name]; taken && holder != id {
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf(
			"Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.",
			"/"+name, holder))
	}
	x.names[name] = id
	return nil
}

// Free gives a name back where id holds it.
func (x *Index) Free(name, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names[name] == id {
		delete(x.names, name)
	}
}

// Add publishes a container. Its name must have been reserved.
func (x *Index) Add(r *record.Record) *Entry {
	e := newEntry(r)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[r.ID] = e
	return e
}

// Drop removes a container and frees its name.
func (x *Index) Drop(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.byID[id]
	if !ok {
		return
	}
	delete(x.byID, id)
	if name := e.Record().Name; x.names[name] == id {
		delete(x.names, name)
	}
}

// Get finds a container by its full id.
func (x *Index) Get(id string) (*Entry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e, ok := x.byID[id]
	return e, ok
}

// Find resolves a full id, a name or an unambiguous beginning of an id.
func (x *Index) Find(ref string) (*Entry, error) {
	name := strings.TrimPrefix(ref, "/")
	if name == "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("container name or ID must not be empty")
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if e, ok := x.byID[name]; ok {
		return e, nil
	}
	if e, ok := x.byID[x.names[name]]; ok {
		return e, nil
	}
	var found *Entry
	for id, e := range x.byID {
		if !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage("multiple IDs found with provided prefix: " + ref)
		}
		found = e
	}
	if found == nil {
		return nil, errdefs.ErrNotFound.WithMessage("No such container: " + ref)
	}
	return found, nil
}

// All lists the containers, newest first.
func (x *Index) All() []*Entry {
	x.mu.RLock()
	all := make([]*Entry, 0, len(x.byID))
	for _, e := range x.byID {
		all = append(all, e)
	}
	x.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Entry) int {
		if c := b.Record().Created.Compare(a.Record().Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// Reserved says whether an id holds a name: so does one whose container is being made.
func (x *Index) Reserved(id string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, holder := range x.names {
		if holder == id {
			return true
		}
	}
	return false
}

// Taken says whether a name is taken.
func (x *Index) Taken(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, taken := x.names[name]
	return taken
}
