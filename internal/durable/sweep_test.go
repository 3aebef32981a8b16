package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSweepTakesTheUnfinishedAlone(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFile(filepath.Join(dir, "whole"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(dir, ".whole.*") // as WriteFile does
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	for _, other := range []string{".hidden", "plain.1", ".trash.x1"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".dir.7"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".dir.7", ".hidden", ".trash.x1", "plain.1", "whole"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
	if err := Sweep(filepath.Join(dir, "absent")); err != nil {
		t.Errorf("of a directory that there is not: %v", err)
	}
}
