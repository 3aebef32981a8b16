package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"testing"

	"hoy/internal/durable/boltfile"
	"hoy/internal/reconcile"
)

// TestDamagedFile harms the file of a store in every way between two opens: all
// records are there, and what was wrong is named.
func TestDamagedFile(t *testing.T) {
	db, b, path := open(t)
	want := map[string]record{}
	for i := range 50 {
		id := fmt.Sprintf("id%02d", i)
		want[id] = record{1000 + i}
		if err := b.Put(id, want[id]); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete("id00"); err != nil {
		t.Fatal(err)
	}
	delete(want, "id00")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The last one: before it are pages of former transactions.
	at := bytes.LastIndex(good, []byte(`{"N":1007}`))
	flip := func(at int) []byte { b := bytes.Clone(good); b[at] ^= 4; return b }
	for name, bad := range map[string][]byte{
		"gone": nil, "empty": {}, "cut": good[:len(good)/2], "zeroed": make([]byte, len(good)),
		"a record": flip(at + 6), "a page": flip(at/4096*4096 + 8), "a meta page": flip(16 + 50),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "gone" {
				_ = os.Remove(path)
			}
			damages := reconcile.NewDamages(slog.New(slog.DiscardHandler))
			db, err := OpenReporting(path, damages)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			b, err := NewBucket[record](db, "things")
			if err != nil {
				t.Fatal(err)
			}
			if all, faulty, err := b.All(); err != nil || len(faulty) != 0 || !maps.Equal(all, want) {
				t.Errorf("%d records, %v, %v", len(all), faulty, err)
			}
			if all := damages.Check(t.Context()); len(all) != 1 {
				t.Errorf("named: %+v", all)
			}
		})
	}
	t.Run("the copy", func(t *testing.T) {
		for _, bad := range [][]byte{{}, []byte("{}x")} {
			if err := os.WriteFile(boltfile.CopyName(path), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			damages := reconcile.NewDamages(slog.New(slog.DiscardHandler))
			db, err := OpenReporting(path, damages)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if len(damages.Check(t.Context())) != 1 {
				t.Error("a damaged copy is not named")
			}
			if im, err := readImage(boltfile.CopyName(path)); err != nil || len(im["things"]) != len(want) {
				t.Errorf("the copy afterwards: %v", err)
			}
		}
	})
}
