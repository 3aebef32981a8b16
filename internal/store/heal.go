package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"hoy/internal/durable"
	"hoy/internal/durable/boltfile"
	"hoy/internal/reconcile"
)

// copyDelay is how long a change waits for others before the copy is written.
const copyDelay = 500 * time.Millisecond

// copier keeps, beside the store, a copy of those records that are nowhere else.
type copier struct {
	mu    sync.Mutex
	apart map[string]bool
	timer *time.Timer
	dirty bool
	// writing is held while the file is written.
	writing sync.Mutex
}

// image is the copy: sealed records by bucket and id.
type image map[string]map[string][]byte

// mend puts a damaged file aside.
func mend(path string) (*boltfile.Damage, error) {
	d, err := boltfile.Mend(path)
	if d != nil || err != nil {
		return d, err
	}
	_, missing := os.Stat(path)
	if _, err := os.Stat(boltfile.CopyName(path)); err == nil && errors.Is(missing, fs.ErrNotExist) {
		return &boltfile.Damage{Path: path, Err: errors.New("the file is gone")}, nil
	}
	return nil, nil
}

// Apart says of a bucket that each of its records has a copy of its own elsewhere.
func (d *DB) Apart(bucket string) {
	d.copy.mu.Lock()
	defer d.copy.mu.Unlock()
	if d.copy.apart == nil {
		d.copy.apart = map[string]bool{}
	}
	d.copy.apart[bucket] = true
}

// heal takes what can be had of a lost file into the new one, and puts single
// records that are damaged right from the copy.
func (d *DB) heal(lost *boltfile.Damage, damages *reconcile.Damages) error {
	path := boltfile.CopyName(d.path)
	from, err := readImage(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		damages.Add("copy of the store", path, err, "it is written anew")
		d.copy.dirty = true
	}
	if lost == nil {
		return d.healRecords(from, damages)
	}
	found := image{}
	_, _ = boltfile.Walk(lost.Salvage, func(buckets []string, key, value []byte) {
		var v json.RawMessage
		if key == nil || len(buckets) != 1 || decode([]byte(buckets[0]), key, value, &v) != nil {
			return
		}
		if found[buckets[0]] == nil {
			found[buckets[0]] = map[string][]byte{}
		}
		found[buckets[0]][string(key)] = value
	})
	n := 0
	err = d.bolt.Update(func(tx *bolt.Tx) error {
		for _, part := range []image{from, found} { // the latter is newer
			for name, records := range part {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				for id, data := range records {
					if err := b.Put([]byte(id), data); err != nil {
						return err
					}
					n++
				}
			}
		}
		return nil
	})
	done := fmt.Sprintf("made again with %d records of it and of its copy; containers are read from their own files", n)
	if lost.Aside != "" {
		done += "; the damaged file is " + lost.Aside
	}
	damages.Add("store", d.path, lost.Err, done)
	return err
}

// healRecords looks at each record's seal.
func (d *DB) healRecords(from image, damages *reconcile.Damages) error {
	type fault struct {
		bucket, id string
		err        error
	}
	var bad []fault
	err := d.bolt.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, data []byte) error {
				var v json.RawMessage
				if err := decode(name, k, data, &v); err != nil {
					bad = append(bad, fault{string(name), string(k), err})
				}
				return nil
			})
		})
	})
	if err != nil || len(bad) == 0 {
		return err
	}
	return d.bolt.Update(func(tx *bolt.Tx) error {
		for _, f := range bad {
			object := fmt.Sprintf("record %q of %s", f.id, f.bucket)
			data, ok := from[f.bucket][f.id]
			if !ok {
				damages.Add(object, d.path, f.err, "none here; what has a file of its own is read from there")
				continue
			}
			damages.Add(object, d.path, f.err, "its copy was taken")
			if err := tx.Bucket([]byte(f.bucket)).Put([]byte(f.id), data); err != nil {
				return err
			}
		}
		return nil
	})
}

func readImage(path string) (image, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, durable.ErrDamaged
	}
	if text, err = durable.Unseal(filepath.Base(path), text); err != nil {
		return nil, err
	}
	var im image
	return im, json.Unmarshal(text, &im)
}

// changed is told of each change.
func (d *DB) changed(bucket []byte) {
	c := &d.copy
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.apart[string(bucket)] {
		return
	}
	c.dirty = true
	if c.timer == nil {
		c.timer = time.AfterFunc(copyDelay, func() { _ = d.writeCopy() }) // the next change, and the end, try again
	}
}

func (d *DB) finishCopy() error {
	d.copy.mu.Lock()
	if d.copy.timer != nil {
		d.copy.timer.Stop()
	}
	dirty := d.copy.dirty
	d.copy.mu.Unlock()
	if !dirty {
		return nil
	}
	return d.writeCopy()
}

func (d *DB) writeCopy() error {
	c := &d.copy
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	c.timer, c.dirty = nil, false
	apart := c.apart
	c.mu.Unlock()
	im := image{}
	err := d.bolt.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if apart[string(name)] {
				return nil
			}
			records := map[string][]byte{}
			im[string(name)] = records
			return b.ForEach(func(k, v []byte) error {
				records[string(k)] = append([]byte(nil), v...)
				return nil
			})
		})
	})
	if err == nil {
		var text []byte
		if text, err = json.Marshal(im); err == nil {
			name := boltfile.CopyName(d.path)
			err = durable.WriteFile(name, durable.Seal(filepath.Base(name), text), 0o600)
		}
	}
	if err != nil {
		c.mu.Lock()
		c.dirty = true
		c.mu.Unlock()
	}
	return err
}
