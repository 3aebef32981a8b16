package boltfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/durable"
)

// maxFile bounds what is read into memory. A store of 10,000 containers has 60 MB.
const maxFile = 1 << 30

// kept is how many damaged files of one name are kept aside.
const kept = 3

// CopyName is the copy of the file at path; a seal with its state is beside it.
func CopyName(path string) string { return path + ".copy" }

func sealName(path string) string { return CopyName(path) + ".state" }

// Damage is what Mend found and did.
type Damage struct {
	Path string
	// Err says what is wrong with the file.
	Err error
	// Aside is where the file is now; empty where there was none.
	Aside string
	// Restored says that the copy took its place; else there is no file now.
	Restored bool
	// Copy says that the file is sound, and its copy at Path was not and is gone.
	Copy bool
	// Salvage is what could be read of the file, or nil.
	Salvage []byte
}

// Keeper keeps a copy of one file while bbolt writes it.
type Keeper struct {
	path string
	at   time.Time
	size int64
}

// NewKeeper is for the file at path.
func NewKeeper(path string) *Keeper { return &Keeper{path: path} }

// Keep makes the copy anew where the file has changed since the last. It is to
// be called while the file is not replaced.
func (k *Keeper) Keep() error {
	fi, err := os.Stat(k.path)
	if err != nil || fi.ModTime().Equal(k.at) && fi.Size() == k.size {
		return err
	}
	// bbolt never writes on a page that the last transaction's state has, so
	// what was read between two equal meta pages is whole.
	data, err := readFile(k.path)
	if err != nil {
		return err
	}
	st, err := Walk(data, nil)
	if err != nil {
		return fmt.Errorf("%s: no copy is made of a file that is damaged or being written: %w", k.path, err)
	}
	if again, err := lastTx(k.path); err != nil || again != st.TxID {
		return err // changed meanwhile: the next time
	}
	if old, err := readState(k.path); err != nil || old != st {
		if err := write(k.path, data, st); err != nil {
			return err
		}
	}
	k.at, k.size = fi.ModTime(), fi.Size()
	return nil
}

func write(path string, data []byte, st State) error {
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	// A crash in between leaves a copy that its state does not fit: it is not used.
	if err := durable.WriteFile(CopyName(path), data, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(sealName(path), durable.Seal(filepath.Base(path), text), 0o600)
}

func lastTx(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 128<<10)
	n, err := f.ReadAt(head, 0)
	if n == 0 {
		return 0, err
	}
	w := &walker{data: head[:n]}
	m, err := w.findMeta()
	return m.txid, err
}

func readState(path string) (st State, err error) {
	text, err := os.ReadFile(sealName(path))
	if err != nil {
		return st, err
	}
	if text, err = durable.Unseal(filepath.Base(path), text); err != nil {
		return st, err
	}
	if len(text) == 0 {
		return st, durable.ErrDamaged
	}
	return st, json.Unmarshal(text, &st)
}

// Mend looks at the file before it is opened. Where it is damaged, it is put
// aside and its copy takes its place. A file that is sound, or was never there,
// gives nil.
func Mend(path string) (*Damage, error) {
	unlock, ours := lock(path)
	if !ours {
		return nil, nil // its owner writes it at this moment; bbolt says so
	}
	defer unlock()
	data, err := readFile(path)
	copied, copyErr := readState(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && errors.Is(copyErr, fs.ErrNotExist):
		return nil, nil // a new engine
	case missing:
		err = errors.New("the file is gone")
	case err != nil:
		return nil, err
	case len(data) == 0:
		err = errors.New("the file is empty")
	default:
		var st State
		if st, err = Walk(data, nil); err == nil && copyErr == nil && st.TxID == copied.TxID && st.Hash != copied.Hash {
			err = errors.New("its content is not what was written")
		}
	}
	if err == nil {
		return mendCopy(path, copied, copyErr), nil
	}
	d := &Damage{Path: path, Err: err, Salvage: data}
	if !missing {
		if d.Aside, err = aside(path); err != nil {
			return nil, err
		}
	}
	d.Restored = copyErr == nil && restore(path, copied) == nil
	return d, nil
}

// mendCopy removes a copy that could not be used; the next Keep makes it anew.
func mendCopy(path string, want State, err error) *Damage {
	name := CopyName(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		name = sealName(path)
	default:
		if err = checkCopy(path, want, nil); err == nil {
			return nil
		}
	}
	_ = os.Remove(sealName(path))
	_ = os.Remove(CopyName(path))
	return &Damage{Path: name, Err: err, Copy: true}
}

// lock takes the lock that bbolt takes. A file that is not there has none.
func lock(path string) (unlock func(), ours bool) {
	f, err := os.Open(path)
	if err != nil {
		return func() {}, true
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		_ = f.Close()
		return nil, false
	}
	return func() { _ = f.Close() }, true
}

// restore puts the copy where the file was, if it is what its state says.
func restore(path string, want State) error {
	return checkCopy(path, want, func(data []byte) error { return durable.WriteFile(path, data, 0o600) })
}

func checkCopy(path string, want State, use func(data []byte) error) error {
	data, err := readFile(CopyName(path))
	if err != nil {
		return err
	}
	if st, err := Walk(data, nil); err != nil || st != want {
		return fmt.Errorf("the copy is damaged: %w", errors.Join(err, durable.ErrDamaged))
	}
	if use == nil {
		return nil
	}
	return use(data)
}

// aside renames a damaged file and drops the oldest of those before it.
func aside(path string) (string, error) {
	name := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000")
	if err := os.Rename(path, name); err != nil {
		return "", err
	}
	dir, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return name, nil //nolint:nilerr // older ones stay; that is no reason not to start
	}
	var old []string
	for _, e := range dir { // sorted by name, hence by time
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".damaged-") {
			old = append(old, e.Name())
		}
	}
	for _, n := range old[:max(0, len(old)-kept)] {
		_ = os.Remove(filepath.Join(filepath.Dir(path), n))
	}
	return name, nil
}

func readFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes are too many", path, fi.Size())
	}
	return os.ReadFile(path)
}
