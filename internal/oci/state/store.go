package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/durable"
)

// The errors of a look-up, in the words that callers of OCI runtimes know.
var (
	ErrNotExist = errors.New("container does not exist")
	ErrExist    = errors.New("container with given ID already exists")
	ErrInvalid  = errors.New("invalid container ID format")
	ErrBusy     = errors.New("another command works on the container")
)

// Store is the directory of all containers.
type Store struct{ root string }

// New returns the store at root. Nothing is made yet.
func New(root string) *Store { return &Store{root} }

// Names of files in a container's directory.
const (
	recordFile = "state.json"
	specFile   = "config.json"
	lockFile   = "lock"
	// StartSocket is where the container waits to be started.
	StartSocket = "start.sock"
)

// aside begins the names of directories that are on their way in or out; no
// container's id can.
const aside = "#"

// maxID leaves room for what is put around an id in the name of a file.
const maxID = 240

// CheckID refuses what is not a container's id, paths first of all.
func CheckID(id string) error {
	if id == "" {
		return errors.New("container id cannot be empty")
	}
	if id == "." || id == ".." || len(id) > maxID {
		return ErrInvalid
	}
	for _, c := range []byte(id) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_+-.", c) >= 0) {
			return ErrInvalid
		}
	}
	return nil
}

// Container is one container's directory. Where it was locked, nobody else has
// it locked until Close.
type Container struct {
	Record
	store *Store
	dir   string
	lock  *os.File
}

// Dir is the container's directory.
func (c *Container) Dir() string { return c.dir }

// Close lets go of the lock.
func (c *Container) Close() {
	if c.lock != nil {
		_ = c.lock.Close()
		c.lock = nil
	}
}

// Create makes the directory of a new container, with its record and spec in
// it, and locks it. Either all of it is there, or nothing.
func (s *Store) Create(r Record, spec []byte) (_ *Container, err error) {
	if err := CheckID(r.ID); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return nil, err
	}
	c := &Container{Record: r, store: s, dir: filepath.Join(s.root, fmt.Sprintf("%s%s.%d", aside, r.ID, os.Getpid()))}
	if err := os.RemoveAll(c.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
			_ = os.RemoveAll(c.dir)
		}
	}()
	if c.lock, err = openLock(c.dir, os.O_CREATE); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(c.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(c.dir, specFile), spec, 0o600); err != nil {
		return nil, err
	}
	if err := c.Save(); err != nil {
		return nil, err
	}
	to := filepath.Join(s.root, r.ID)
	err = unix.Renameat2(unix.AT_FDCWD, c.dir, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return nil, ErrExist
	}
	if err != nil {
		return nil, &os.PathError{Op: "rename", Path: c.dir, Err: err}
	}
	c.dir = to
	return c, nil
}

func openLock(dir string, flags int) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
}

// Open reads a container's record and takes no lock: a hook may ask while a
// verb works.
func (s *Store) Open(id string) (*Container, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	c := &Container{store: s, dir: filepath.Join(s.root, id)}
	return c, c.load()
}

func (c *Container) load() error {
	data, err := readBounded(filepath.Join(c.dir, recordFile), maxRecord)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(c.dir); err == nil {
			return fmt.Errorf("%w: %s has none", ErrTorn, c.dir)
		}
		return ErrNotExist
	}
	if err != nil {
		return err
	}
	r, err := decode(data)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.dir, recordFile), err)
	}
	c.Record = *r
	return nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, err
}

// lockTime bounds the wait for another verb: a hook that never ends must not
// hold all that come after.
const lockTime = 10 * time.Second

// Lock opens a container for a change. The error is ErrBusy where another verb
// holds it for ten seconds on end. With damaged, the directory of a record
// that cannot be read is opened as well: the id alone is known then.
func (s *Store) Lock(id string, damaged bool) (*Container, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	c := &Container{store: s, dir: filepath.Join(s.root, id)}
	lock, err := openLock(c.dir, 0)
	if errors.Is(err, os.ErrNotExist) && damaged {
		if _, err := os.Lstat(c.dir); err == nil {
			lock, err = openLock(c.dir, os.O_CREATE)
			if err != nil {
				return nil, err
			}
		}
	}
	if lock == nil && errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotExist
	}
	if lock == nil {
		return nil, err
	}
	c.lock = lock
	if err := wait(c.lock); err != nil {
		// Not closed: the waiting thread still has its number.
		return nil, err
	}
	var now, held unix.Stat_t
	if err := errors.Join(unix.Fstat(int(lock.Fd()), &held), unix.Stat(filepath.Join(c.dir, lockFile), &now)); err != nil || now.Ino != held.Ino {
		c.Close()
		return nil, ErrNotExist // deleted while we waited
	}
	if err := c.load(); err != nil {
		if damaged && errors.Is(err, ErrTorn) {
			c.ID = id
			return c, err
		}
		c.Close()
		return nil, err
	}
	return c, nil
}

func wait(lock *os.File) error {
	err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	got := make(chan error, 1)
	fd := int(lock.Fd())
	go func() {
		for {
			if err := unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
				got <- err
				return
			}
		}
	}()
	select {
	case err := <-got:
		return err
	case <-time.After(lockTime):
		return ErrBusy
	}
}

// Held says whether a verb that changes the container is at work.
func (c *Container) Held() bool {
	lock, err := openLock(c.dir, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// Save writes the record.
func (c *Container) Save() error {
	data, err := encode(&c.Record)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(c.dir, recordFile), data, 0o600)
}

// Spec is the specification as it was when the container was made.
func (c *Container) Spec() ([]byte, error) {
	return readBounded(filepath.Join(c.dir, specFile), MaxSpec)
}

// MaxSpec bounds a specification.
const MaxSpec = 16 << 20

// Remove forgets the container: at once for all who look, then from the disk.
func (c *Container) Remove() error {
	gone := filepath.Join(c.store.root, aside+c.ID+".gone")
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(c.dir, gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}

// List gives the ids of all containers, sorted.
func (s *Store) List() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), aside) && CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, err
}

// WithSocket calls f with a short path of the start socket: one in a socket's
// address has 107 bytes at most.
func (c *Container) WithSocket(f func(path string) error) error {
	dir, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), StartSocket))
}
