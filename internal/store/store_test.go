package store

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

type record struct{ N int }

func open(t *testing.T) (*DB, *Bucket[record], string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s", "hoy.db")
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b, err := NewBucket[record](db, "things")
	if err != nil {
		t.Fatal(err)
	}
	return db, b, path
}

func TestPutGetDelete(t *testing.T) {
	_, b, _ := open(t)
	if err := b.Put("a", record{7}); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Get("a"); err != nil || v.N != 7 {
		t.Fatalf("Get = %v, %v", v, err)
	}
	if err := b.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete("a"); err != nil {
		t.Fatalf("a second Delete: %v", err)
	}
	if _, err := b.Get("a"); !errdefs.IsNotFound(err) {
		t.Fatalf("Get of an absent record = %v, want not found", err)
	}
}

func TestADamagedRecordCostsOnlyItself(t *testing.T) {
	db, b, _ := open(t)
	if err := b.Put("good", record{1}); err != nil {
		t.Fatal(err)
	}
	if err := db.bolt.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("things")).Put([]byte("torn"), []byte(`{"N":`))
	}); err != nil {
		t.Fatal(err)
	}
	all, bad, err := b.All()
	if err != nil || len(all) != 1 || len(bad) != 1 || bad[0].ID != "torn" {
		t.Fatalf("All = %v, %v, %v", all, bad, err)
	}
}

func TestASecondOpenIsRefused(t *testing.T) {
	_, _, path := open(t)
	if _, err := Open(path); !errdefs.IsUnavailable(err) {
		t.Fatalf("second Open = %v, want unavailable", err)
	}
}

func TestParallelPutsAllArrive(t *testing.T) {
	_, b, _ := open(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := b.Put(NewID(), record{i}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, _, err := b.All(); err != nil || len(all) != 50 {
		t.Fatalf("%d records, %v; want 50", len(all), err)
	}
}

func TestNewIDIsNeverANumber(t *testing.T) {
	seen := map[string]bool{}
	for range 20000 {
		id := NewID()
		if len(id) != 64 || seen[id] || !strings.ContainsAny(id[:12], "abcdef") {
			t.Fatalf("bad id %q", id)
		}
		seen[id] = true
	}
}
