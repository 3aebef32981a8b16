package space

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a walk: how long it runs at full speed, for how long it then works
// and rests by turns, and how many directories it holds open.
const (
	sprint  = 200 * time.Millisecond
	turn    = 20 * time.Millisecond
	maxOpen = 64
)

// walker adds up the blocks of one tree on one file system, each file once
// however many links it has, as du(1) does. A container may swap directories
// for links meanwhile: it goes from descriptor to descriptor and follows none.
type walker struct {
	ctx   context.Context //nolint:containedctx // of one walk
	dev   uint64
	skip  string
	bytes int64
	seen  map[uint64]bool
	// rested is when it began or last rested.
	began, rested time.Time
	n             int
}

// walk counts a tree. One that is not there takes nothing.
func walk(ctx context.Context, t Tree) (int64, error) {
	dir, err := os.OpenFile(t.Dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	w := &walker{ctx: ctx, skip: t.Skip, seen: map[uint64]bool{}, began: time.Now()}
	w.rested = w.began
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return 0, errors.Join(err, dir.Close())
	}
	w.dev, w.bytes = st.Dev, st.Blocks*512
	err = w.dir(dir, 0)
	return w.bytes, err
}

// dir adds what is in d, and closes it.
func (w *walker) dir(d *os.File, depth int) error {
	defer d.Close()
	for {
		entries, err := d.ReadDir(512)
		for _, e := range entries {
			if depth == 0 && e.Name() == w.skip {
				continue
			}
			if err := w.entry(d, e.Name(), depth); err != nil {
				return err
			}
		}
		if err != nil || len(entries) == 0 {
			return nil //nolint:nilerr // the end; or it cannot be read, and is not counted
		}
	}
}

func (w *walker) entry(d *os.File, name string, depth int) error {
	if err := w.pace(); err != nil {
		return err
	}
	var st unix.Stat_t
	if unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != w.dev {
		return nil //nolint:nilerr // it went away meanwhile, or is on another file system
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isDir && st.Nlink > 1 {
		if w.seen[st.Ino] {
			return nil
		}
		w.seen[st.Ino] = true
	}
	w.bytes += st.Blocks * 512
	if !isDir {
		return nil
	}
	fd, err := unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil //nolint:nilerr // it vanished or was swapped
	}
	sub := os.NewFile(uintptr(fd), name)
	if depth+1 >= maxOpen {
		return w.deep(sub)
	}
	return w.dir(sub, depth+1)
}

// deep adds what is below d, and closes it, with few descriptors however deep it is.
func (w *walker) deep(d *os.File) error {
	defer d.Close()
	root, err := os.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(d.Fd())))
	if err != nil {
		return nil //nolint:nilerr // as in dir
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if path == "." || err != nil {
			return nil //nolint:nilerr // as in dir
		}
		if err := w.pace(); err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // as in dir
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Dev != w.dev {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !e.IsDir() && st.Nlink > 1 {
			if w.seen[st.Ino] {
				return nil
			}
			w.seen[st.Ino] = true
		}
		w.bytes += st.Blocks * 512
		return nil
	})
}

// pace lets a long walk rest as long as it works.
func (w *walker) pace() error {
	if w.n++; w.n%256 != 0 {
		return nil
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if time.Since(w.began) < sprint || time.Since(w.rested) < turn {
		return nil
	}
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-time.After(turn):
	}
	w.rested = time.Now()
	return nil
}

// Shallow is what a directory and the files in it take, without the
// directories in it, in bytes.
func Shallow(dir string) int64 {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil {
		return 0
	}
	bytes := st.Blocks * 512
	entries, err := os.ReadDir(dir)
	if err != nil {
		return bytes
	}
	for _, e := range entries {
		if !e.IsDir() && unix.Lstat(dir+"/"+e.Name(), &st) == nil {
			bytes += st.Blocks * 512
		}
	}
	return bytes
}
