package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// fill makes a file with what a file can have: many pages, long values, nested
// and empty buckets, free pages, with and without a list of them.
func fill(t *testing.T, path string, o *bbolt.Options) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for round := range 3 {
		err = db.Update(func(tx *bbolt.Tx) error {
			for b := range 3 {
				bucket, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket%d", b))
				if err != nil {
					return err
				}
				for i := range 60 {
					if err := bucket.Put(fmt.Appendf(nil, "key%03d", i), bytes.Repeat([]byte{byte(i)}, 20+round+i*5)); err != nil {
						return err
					}
				}
				if err := bucket.Put([]byte("long"), make([]byte, 9000)); err != nil {
					return err
				}
				for i := 0; round > 0 && i < 20; i++ {
					if err := bucket.Delete(fmt.Appendf(nil, "key%03d", i*round)); err != nil {
						return err
					}
				}
				inner, err := bucket.CreateBucketIfNotExists([]byte("inner"))
				if err != nil {
					return err
				}
				if err := inner.Put([]byte("a"), []byte("b")); err != nil {
					return err
				}
			}
			_, err := tx.CreateBucketIfNotExists([]byte("empty"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// content is all that bbolt reads.
func content(t *testing.T, path string, o *bbolt.Options) map[string]string {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, o)
	if err != nil {
		t.Fatalf("bbolt refuses what was found to be sound: %v", err)
	}
	defer db.Close()
	all := map[string]string{}
	var read func(names []string, b *bbolt.Bucket) error
	read = func(names []string, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return read(append(names[:len(names):len(names)], string(k)), b.Bucket(k))
			}
			all[fmt.Sprint(names, string(k))] = string(v)
			return nil
		})
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error { return read([]string{string(name)}, b) })
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func walked(data []byte) (map[string]string, State, error) {
	all := map[string]string{}
	st, err := Walk(data, func(buckets []string, key, value []byte) {
		if key != nil {
			all[fmt.Sprint(buckets, string(key))] = string(value)
		}
	})
	return all, st, err
}

var variants = map[string]*bbolt.Options{
	"with a list of free pages": nil,
	"without one":               {NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
}

// TestFlippedBytes changes bytes all over a file. What Walk then calls sound,
// bbolt opens and reads without a panic; what reads otherwise than it was
// written has another hash.
func TestFlippedBytes(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "db")
			fill(t, path, o)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, state, err := walked(data)
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, path, o); !maps.Equal(got, want) {
				t.Fatalf("bbolt reads %d entries, Walk %d", len(got), len(want))
			}
			found, harmless, opened := 0, 0, 0
			rng := rand.New(rand.NewPCG(1, 2))
			for i := 0; i < len(data); i += 1 + rng.IntN(100) {
				bad := bytes.Clone(data)
				bad[i] ^= 1 << rng.IntN(8)
				got, st, err := walked(bad)
				switch {
				case err != nil || st.Hash != state.Hash:
					found++
				case !maps.Equal(got, want):
					t.Errorf("byte %d: read otherwise with the same hash", i)
				default:
					harmless++
				}
				if err == nil && (opened < 60 || i < 2*4096 && opened < 120) {
					opened++
					p := filepath.Join(dir, "bad")
					if err := os.WriteFile(p, bad, 0o600); err != nil {
						t.Fatal(err)
					}
					if read := content(t, p, o); !maps.Equal(read, got) {
						t.Errorf("byte %d: bbolt reads otherwise", i)
					}
				}
			}
			t.Logf("%d bytes: %d changes found, %d where nothing is kept, %d given to bbolt", len(data), found, harmless, opened)
		})
	}
}

// TestCutAndZeroed has any length, and holes, and noise.
func TestCutAndZeroed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	fill(t, path, nil)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, state, err := walked(data)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(data); n += 1531 {
		if _, st, err := walked(data[:n]); err == nil && st.Hash != state.Hash {
			t.Errorf("cut to %d bytes it is sound", n)
		}
		holed := bytes.Clone(data)
		clear(holed[n:min(n+4096, len(data))])
		if _, st, err := walked(holed); err == nil && st.Hash != state.Hash && n < 8192 {
			t.Errorf("with a hole at %d it is sound", n)
		}
	}
	if _, _, err := walked(make([]byte, len(data))); err == nil {
		t.Error("zeros are sound")
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(uint32(0), []byte{0xff})
	path := filepath.Join(f.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		f.Fatal(err)
	}
	_ = db.Update(func(tx *bbolt.Tx) error {
		b, _ := tx.CreateBucket([]byte("b"))
		return b.Put([]byte("k"), []byte("v"))
	})
	_ = db.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, at uint32, change []byte) {
		bad := bytes.Clone(data)
		copy(bad[int(at)%len(bad):], change)
		_, _ = Walk(bad, nil)
		_, _ = Walk(change, nil)
	})
}

func TestMend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if d, err := Mend(path); d != nil || err != nil {
		t.Fatalf("a new engine: %v, %v", d, err)
	}
	fill(t, path, nil)
	k := NewKeeper(path)
	if err := k.Keep(); err != nil {
		t.Fatal(err)
	}
	want := content(t, path, nil)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	at := bytes.Index(flipped, bytes.Repeat([]byte{7}, 20)) // in a value: no page is wrong
	flipped[at] ^= 1
	for name, bad := range map[string][]byte{
		"gone": nil, "empty": {}, "cut": good[:len(good)/2], "zeroed": make([]byte, len(good)), "flipped in a value": flipped,
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "gone" {
			_ = os.Remove(path)
		}
		d, err := Mend(path)
		if err != nil || d == nil || !d.Restored || d.Err == nil {
			t.Fatalf("%s: %+v, %v", name, d, err)
		}
		if name != "gone" {
			if was, err := os.ReadFile(d.Aside); err != nil || !bytes.Equal(was, bad) {
				t.Errorf("%s: the damaged file is not kept: %v", name, err)
			}
		}
		if got := content(t, path, nil); !maps.Equal(got, want) {
			t.Errorf("%s: the copy has %d entries, want %d", name, len(got), len(want))
		}
		if d, err := Mend(path); d != nil || err != nil {
			t.Errorf("%s: after it: %+v, %v", name, d, err)
		}
	}
	if old, _ := filepath.Glob(path + ".damaged-*"); len(old) != kept {
		t.Errorf("%d damaged files are kept", len(old))
	}
	// A copy that is damaged too is not used.
	if err := os.WriteFile(CopyName(path), flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := Mend(path); err != nil || d == nil || d.Restored {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged file is still in place: %v", err)
	}
}
