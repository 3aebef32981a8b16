package ledger

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/record"
	"hoy/internal/store"
)

func open(t *testing.T, root string) (*Ledger, *store.DB) {
	t.Helper()
	db, err := store.Open(filepath.Join(root, "db"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(db, filepath.Join(root, "containers"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l, db
}

func rec(t *testing.T, l *Ledger, id string, seq uint64) *record.Record {
	t.Helper()
	if err := os.MkdirAll(l.Dir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	return &record.Record{ID: id, Seq: seq, Config: &container.Config{}, HostConfig: &container.HostConfig{}}
}

func seqs(t *testing.T, l *Ledger) map[string]uint64 {
	t.Helper()
	all, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for id, r := range all {
		out[id] = r.Seq
	}
	return out
}

func TestTheNewerCopyIsTheTruthAndADamagedOneCostsNothingElse(t *testing.T) {
	root := t.TempDir()
	l, db := open(t, root)
	if err := l.SaveNow(rec(t, l, "both", 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.SaveNow(rec(t, l, "torn", 1)); err != nil {
		t.Fatal(err)
	}
	// Written to the file alone, as by a daemon that is killed right after.
	if err := l.Save(rec(t, l, "both", 2)); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(rec(t, l, "young", 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.Dir("torn"), fileName), []byte(`{"id":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	db.Close()
	l, db = open(t, root)
	defer db.Close()
	if got := seqs(t, l); len(got) != 3 || got["both"] != 2 || got["torn"] != 1 || got["young"] != 1 {
		t.Errorf("loaded %v", got)
	}
	// The store follows: a power cut later on must not take these changes back.
	l.Flush()
	if stored, _, err := l.bucket.All(); err != nil || stored["both"].Seq != 2 || stored["young"] == nil {
		t.Errorf("in the store: %v, %v", stored, err)
	}
}

func TestADeletedContainerStaysDeleted(t *testing.T) {
	root := t.TempDir()
	l, db := open(t, root)
	if err := l.SaveNow(rec(t, l, "gone", 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(rec(t, l, "gone", 2)); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete("gone"); err != nil {
		t.Fatal(err)
	}
	// The daemon dies before the store hears of it.
	if got := seqs(t, l); len(got) != 0 {
		t.Errorf("loaded %v", got)
	}
	l.Flush()
	db.Close()
	l, db = open(t, root)
	defer db.Close()
	if got := seqs(t, l); len(got) != 0 {
		t.Errorf("loaded %v after the store was told", got)
	}
	orphans, err := l.Orphans(func(string) bool { return false })
	if err != nil || len(orphans) != 0 {
		t.Errorf("orphans %v, %v", orphans, err)
	}
}
