// Package store keeps the engine's records in one transactional file (bbolt):
// one bucket a kind of record, JSON values, keyed by id. It also makes ids.
package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"hoy/internal/durable"
	"hoy/internal/reconcile"
)

// DB is the open file of records.
type DB struct {
	bolt *bolt.DB
	// full is told that the disk is full, and says whether it may be tried again.
	full func() bool
	path string
	copy copier
	// Restored says that the file was lost and made again: records of what was
	// removed a moment before may be back.
	Restored bool
}

// Open opens or creates the store at path. A store that another process holds
// is errdefs.ErrUnavailable.
func Open(path string) (*DB, error) { return OpenReporting(path, nil) }

// OpenReporting is Open that tells of what is damaged. A file that is damaged is
// put aside, and a new one made of what can be read of it and of its copy.
func OpenReporting(path string, damages *reconcile.Damages) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lost, err := mend(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// FreelistMapType and NoFreelistSync keep commits short; the list is rebuilt at open.
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("store %s is in use by another process: %w", path, errdefs.ErrUnavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// Callers that commit at the same moment share one fsync; a lone caller waits no longer than this.
	db.MaxBatchDelay = 200 * time.Microsecond
	d := &DB{bolt: db, path: path, Restored: lost != nil}
	if err := d.heal(lost, damages); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return d, nil
}

// SetFull sets what makes room for records on a full disk; call it before
// anything else uses the store.
func (d *DB) SetFull(makeRoom func() bool) { d.full = makeRoom }

// Relieve says whether what failed with err is worth another try: the disk was
// full, and there is room for a record now.
func (d *DB) Relieve(err error) bool {
	return d.full != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) && d.full()
}

// update runs f in a transaction that callers of the same moment share.
func (d *DB) update(f func(*bolt.Tx) error) error {
	err := d.bolt.Batch(f)
	if d.Relieve(err) {
		err = d.bolt.Batch(f)
	}
	return err
}

// Close ends all transactions and closes the file.
func (d *DB) Close() error {
	return errors.Join(d.finishCopy(), d.bolt.Close())
}

// Bucket holds all records of one kind.
type Bucket[T any] struct {
	db   *DB
	name []byte
}

// NewBucket makes sure the bucket exists and returns it.
func NewBucket[T any](db *DB, name string) (*Bucket[T], error) {
	b := &Bucket[T]{db: db, name: []byte(name)}
	there := false
	err := db.bolt.View(func(tx *bolt.Tx) error {
		there = tx.Bucket(b.name) != nil
		return nil
	})
	if err == nil && !there { // else a start would write, which a full disk has no room for
		err = db.update(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(b.name)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("store: bucket %s: %w", name, err)
	}
	return b, nil
}

// Relieve is that of the store.
func (b *Bucket[T]) Relieve(err error) bool { return b.db.Relieve(err) }

// Put writes the record under id, durably: it returns after the commit is on disk.
func (b *Bucket[T]) Put(id string, v T) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("store: encode %s %s: %w", b.name, id, err)
	}
	data = durable.Seal(sealOf(b.name, []byte(id)), data)
	err = b.change(id, func(in *bolt.Bucket) error { return in.Put([]byte(id), data) })
	if err != nil {
		return fmt.Errorf("store: put %s %s: %w", b.name, id, err)
	}
	b.db.changed(b.name)
	return nil
}

// change does something to one record. A commit that failed at its last sync may
// have happened all the same: what its caller takes for refused is put back.
func (b *Bucket[T]) change(id string, do func(*bolt.Bucket) error) error {
	var before []byte
	err := b.db.update(func(tx *bolt.Tx) error {
		in := tx.Bucket(b.name)
		before = bytes.Clone(in.Get([]byte(id)))
		return do(in)
	})
	if err == nil {
		return nil
	}
	_ = b.db.update(func(tx *bolt.Tx) error { // the failure above is the one to tell
		in := tx.Bucket(b.name)
		switch now := in.Get([]byte(id)); {
		case bytes.Equal(now, before):
			return nil
		case before == nil:
			return in.Delete([]byte(id))
		default:
			return in.Put([]byte(id), before)
		}
	})
	return err
}

// Delete removes the record. That it is absent is no error.
func (b *Bucket[T]) Delete(id string) error {
	err := b.change(id, func(in *bolt.Bucket) error { return in.Delete([]byte(id)) })
	if err != nil {
		return fmt.Errorf("store: delete %s %s: %w", b.name, id, err)
	}
	b.db.changed(b.name)
	return nil
}

// Get reads one record; an absent one is errdefs.ErrNotFound.
func (b *Bucket[T]) Get(id string) (T, error) {
	var v T
	err := b.db.bolt.View(func(tx *bolt.Tx) error {
		data := tx.Bucket(b.name).Get([]byte(id))
		if data == nil {
			return errdefs.ErrNotFound
		}
		return decode(b.name, []byte(id), data, &v)
	})
	if err != nil {
		return v, fmt.Errorf("store: get %s %s: %w", b.name, id, err)
	}
	return v, nil
}

// sealOf is what a record's seal covers besides the record.
func sealOf(bucket, id []byte) string { return string(bucket) + "/" + string(id) }

func decode(bucket, id, data []byte, v any) error {
	text, err := durable.Unseal(sealOf(bucket, id), data)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// Damaged is a record that could not be decoded. It stays in the file for
// repair by hand and costs nothing but itself.
type Damaged struct {
	ID  string
	Err error
}

// All reads every record. Those that do not decode come back apart.
func (b *Bucket[T]) All() (map[string]T, []Damaged, error) {
	all := map[string]T{}
	var bad []Damaged
	err := b.db.bolt.View(func(tx *bolt.Tx) error {
		return tx.Bucket(b.name).ForEach(func(k, data []byte) error {
			var v T
			if err := decode(b.name, k, data, &v); err != nil {
				bad = append(bad, Damaged{ID: string(k), Err: err})
			} else {
				all[string(k)] = v
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("store: read %s: %w", b.name, err)
	}
	return all, bad, nil
}

// NewID returns 32 random bytes as 64 lower-case hex digits. An id whose first
// twelve digits are all decimal is never returned: as a host name it would be
// taken for a number.
func NewID() string {
	var raw [32]byte
	for {
		_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
		id := hex.EncodeToString(raw[:])
		for _, c := range id[:12] {
			if c > '9' {
				return id
			}
		}
	}
}
