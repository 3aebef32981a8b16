// Package ledger keeps containers' records on disk. A change is written to the
// container's own file at once, which survives any death of the daemon, and to
// the store soon after, which survives a power cut; what must survive one
// before it is answered is written to the store at once.
package ledger

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hoy/internal/container/record"
	"hoy/internal/durable"
	"hoy/internal/reconcile"
	"hoy/internal/store"
)

// delay is how long a change may wait for others before it goes to the store.
const delay = 200 * time.Millisecond

const fileName = "record.json"

// goneName begins the name of a directory that is being removed.
const goneName = "gone-"

// Ledger is safe for concurrent use.
type Ledger struct {
	bucket *store.Bucket[*record.Record]
	root   string
	log    *slog.Logger

	// mu guards what waits to be written, in memory only.
	mu      sync.Mutex
	pending map[string]*record.Record
	stored  map[string]bool
	timer   *time.Timer
	// gone are containers whose copy in the store is to be deleted.
	gone map[string]bool
	// damaged are containers of which no copy can be read.
	damaged map[string]bool
	// Damages is told of damaged files; nil is not.
	Damages *reconcile.Damages
	// writing is held by a flush alone, and shared by those that write one record at once.
	writing sync.RWMutex
}

// Open uses the bucket "containers" of db, and files below root/ID.
func Open(db *store.DB, root string, log *slog.Logger) (*Ledger, error) {
	b, err := store.NewBucket[*record.Record](db, "containers")
	if err != nil {
		return nil, err
	}
	db.Apart("containers")
	if err := os.MkdirAll(root, 0o710); err != nil {
		return nil, fmt.Errorf("containers directory: %w", err)
	}
	return &Ledger{bucket: b, root: root, log: log, pending: map[string]*record.Record{}, stored: map[string]bool{}, gone: map[string]bool{}, damaged: map[string]bool{}}, nil
}

// Dir is where a container's own files live.
func (l *Ledger) Dir(id string) string { return filepath.Join(l.root, id) }

// Save writes r to the container's directory, which must exist, and to the store soon.
func (l *Ledger) Save(r *record.Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	path := filepath.Join(l.Dir(r.ID), fileName)
	data = durable.Seal(r.ID, data)
	err = writeRecord(path, data)
	if l.bucket.Relieve(err) {
		err = writeRecord(path, data)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && !l.stored[r.ID] {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	// Where the disk is full, the store has it as soon as there is room.
	l.pending[r.ID] = r
	l.schedule()
	if err != nil {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	return nil
}

func writeRecord(path string, data []byte) error {
	// No sync and no rename in the way of a start: what a power cut tears does
	// not decode, and the store's copy is taken.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil { //nolint:forbidigo // a torn one is found and the store's copy taken
		return err
	}
	return os.Rename(path+".new", path)
}

// schedule is called with mu held.
func (l *Ledger) schedule() {
	if l.timer == nil {
		l.timer = time.AfterFunc(delay, l.flush)
	}
}

// SaveNow returns after the record is in the store, on disk.
func (l *Ledger) SaveNow(r *record.Record) error {
	if err := l.Save(r); err != nil {
		return err
	}
	l.writing.RLock()
	defer l.writing.RUnlock()
	if err := l.put(r); err != nil {
		return err
	}
	// Load takes a record without its directory for a removed container.
	return syncDir(l.root)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Delete forgets a container. Its directory goes at once, and with it the
// container; the store's copy follows.
func (l *Ledger) Delete(id string) error {
	// In one step: a directory that lost its record first would be taken for
	// one that a power cut tore, and the store's copy would bring it back.
	aside := filepath.Join(l.root, goneName+id)
	if err := os.Rename(l.Dir(id), aside); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove container directory: %w", err)
	}
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, id)
	if l.stored[id] {
		delete(l.stored, id)
		l.gone[id] = true
		l.schedule()
	}
	return nil
}

// Flush writes all that waits.
func (l *Ledger) Flush() { l.flush() }

func (l *Ledger) flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch, gone := l.pending, l.gone
	l.pending, l.gone, l.timer = map[string]*record.Record{}, map[string]bool{}, nil
	for id := range batch {
		l.stored[id] = true // for a Delete from now on, which the write below must not outlive
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, r := range batch {
		// Side by side, so that they share one commit.
		wg.Go(func() {
			if err := l.put(r); err != nil {
				l.log.Error("container record not stored; it is tried again", "container", r.ID, "error", err)
				l.again(func() {
					if p := l.pending[r.ID]; !l.gone[r.ID] && l.stored[r.ID] && (p == nil || p.Seq < r.Seq) {
						l.pending[r.ID] = r
					}
				})
			}
		})
	}
	for id := range gone {
		wg.Go(func() {
			if err := l.bucket.Delete(id); err != nil {
				l.log.Error("container record not deleted; it is tried again", "container", id, "error", err)
				l.again(func() { l.gone[id] = true })
			}
		})
	}
	wg.Wait()
}

// retry is how long after a write that failed the next comes.
const retry = 2 * time.Second

// again lets put write down what is to be tried later.
func (l *Ledger) again(put func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	put()
	if l.timer == nil {
		l.timer = time.AfterFunc(retry, l.flush)
	}
}

func (l *Ledger) put(r *record.Record) error {
	l.mu.Lock()
	if p := l.pending[r.ID]; p != nil && p.Seq <= r.Seq {
		delete(l.pending, r.ID)
	}
	l.stored[r.ID] = true
	l.mu.Unlock()
	return l.bucket.Put(r.ID, r)
}

// Load reads all records: of each container the newer of its two copies. One
// that has no directory was removed.
// Damaged copies are logged, set aside and cost at most their own container.
func (l *Ledger) Load() (map[string]*record.Record, error) {
	all, bad, err := l.bucket.All()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	for _, d := range bad {
		l.stored[d.ID] = true
	}
	for id := range all {
		l.stored[id] = true
	}
	l.mu.Unlock()
	dirs, err := os.ReadDir(l.root)
	if err != nil {
		return nil, fmt.Errorf("containers directory: %w", err)
	}
	present := map[string]bool{}
	for _, d := range dirs {
		if strings.HasPrefix(d.Name(), goneName) {
			if err := os.RemoveAll(filepath.Join(l.root, d.Name())); err != nil {
				return nil, fmt.Errorf("remove container directory: %w", err)
			}
			continue
		}
		present[d.Name()] = true
		l.compare(d.Name(), all)
	}
	var behind []*record.Record
	for _, d := range bad {
		switch r := all[d.ID]; {
		case !present[d.ID]:
			all[d.ID] = nil // of a removed container, or a name that is damaged
		case r != nil:
			behind = append(behind, r)
		}
	}
	for _, r := range behind {
		l.behind(r)
	}
	for id := range all {
		if !present[id] {
			delete(all, id)
			if err := l.Delete(id); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// behind brings the store up to a file whose last change a former daemon did
// not live to store: a power cut must not take back more than the last moment.
func (l *Ledger) behind(r *record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending[r.ID] = r
	l.schedule()
}

// compare takes the newer of a container's two copies. One that cannot be read
// is written anew from the other.
func (l *Ledger) compare(id string, all map[string]*record.Record) {
	r, err := l.read(id)
	old := all[id]
	switch {
	case err == nil && (old == nil || old.Seq < r.Seq):
		all[id] = r
		l.behind(r)
	case err == nil:
	case old != nil:
		l.Damages.Add("container "+old.Name, filepath.Join(l.Dir(id), fileName), err, "the store's copy was taken")
		if err := l.Save(old); err != nil {
			l.log.Error("container record not written", "container", id, "error", err)
		}
	case !os.IsNotExist(err):
		l.damaged[id] = true
		l.Damages.Add("container "+id, filepath.Join(l.Dir(id), fileName), err,
			"there is no other copy; its files are kept: put a sound "+fileName+" in its place and start the engine again, or remove its directory")
	}
}

// Damaged says whether a container exists of which no record can be read.
func (l *Ledger) Damaged(id string) bool { return l.damaged[id] }

func (l *Ledger) read(id string) (*record.Record, error) {
	data, err := os.ReadFile(filepath.Join(l.Dir(id), fileName))
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, durable.ErrDamaged
	}
	if data, err = durable.Unseal(id, data); err != nil {
		return nil, err
	}
	r := new(record.Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if r.ID != id || r.Config == nil || r.HostConfig == nil {
		return nil, fmt.Errorf("%s: not a record of this container", fileName)
	}
	return r, nil
}

// Orphans lists directories below the root that no id in known owns.
func (l *Ledger) Orphans(known func(id string) bool) ([]string, error) {
	dirs, err := os.ReadDir(l.root)
	if err != nil {
		return nil, err
	}
	var orphans []string
	for _, d := range dirs {
		if !known(d.Name()) {
			orphans = append(orphans, d.Name())
		}
	}
	return orphans, nil
}
