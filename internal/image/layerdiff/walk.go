// Package layerdiff finds what a writable layer changes and writes it as an
// image layer. A container that runs meanwhile may swap directories for links:
// every path is opened through os.Root and never leaves the layer.
package layerdiff

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	cfs "github.com/containerd/continuity/fs"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// maxDepth bounds how deep directories nest; a path of 4096 bytes has no more.
const maxDepth = 2048

// Emit takes one change. The path is absolute; info is nil for a deletion.
type Emit func(kind container.ChangeType, path string, info fs.FileInfo) error

// Overlay calls emit with what the overlay upper directory changes of the lower
// ones (nearest first): directories before what is in them, names in order. A
// directory is emitted where it differs itself or anything in it does. The
// places, absolute paths to mount on, are left out, see hiding.
func Overlay(ctx context.Context, upper *os.Root, lower, places []string, emit Emit) error {
	w := &walker{ctx: ctx, upper: upper, hide: newHiding(places), emit: emit}
	_, err := w.dir("/", lower, func() error { return nil }, 0)
	return err
}

// Trees calls emit with how the file system at dir differs from that at base,
// likewise directories first and without the places.
func Trees(ctx context.Context, base, dir string, places []string, emit Emit) error {
	hide := newHiding(places)
	later := map[string]fs.FileInfo{} // hidden directories, until something is in them
	kinds := map[cfs.ChangeKind]container.ChangeType{
		cfs.ChangeKindAdd: container.ChangeAdd, cfs.ChangeKindModify: container.ChangeModify, cfs.ChangeKindDelete: container.ChangeDelete,
	}
	emitted := map[string]bool{"/": true}
	var parents func(p string) error
	parents = func(p string) error {
		if p = path.Dir(p); emitted[p] {
			return nil
		}
		if err := parents(p); err != nil {
			return err
		}
		emitted[p] = true
		if info := later[p]; info != nil {
			return emit(container.ChangeAdd, p, info)
		}
		info, err := os.Lstat(filepath.Join(dir, p))
		if err != nil {
			return gone(err)
		}
		return emit(container.ChangeModify, p, info)
	}
	return cfs.Changes(ctx, base, dir, func(kind cfs.ChangeKind, p string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		k, ok := kinds[kind]
		if !ok || emitted[p] {
			return nil
		}
		if k == container.ChangeAdd && hide.hides(p, info) {
			if info.IsDir() {
				later[p] = info
			}
			return nil
		}
		if err := parents(p); err != nil {
			return err
		}
		emitted[p] = true
		return emit(k, p, info)
	})
}

type walker struct {
	ctx   context.Context
	upper *os.Root
	hide  hiding
	emit  Emit
}

// dir walks one directory. Lower are the same directory in the layers below;
// self emits the directory itself, once. It tells whether anything was hidden.
func (w *walker) dir(name string, lower []string, self func() error, depth int) (hid bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, err
	}
	if depth > maxDepth {
		return false, &fs.PathError{Op: "walk", Path: name, Err: syscall.ENAMETOOLONG}
	}
	f, err := w.upper.Open(rel(name))
	if err != nil {
		return false, gone(err)
	}
	entries, err := f.ReadDir(-1)
	opaque := isOpaque(f)
	_ = f.Close()
	if err != nil {
		return false, gone(err)
	}
	names := map[string]fs.DirEntry{}
	var order []string
	for _, e := range entries {
		names[e.Name()] = e
		order = append(order, e.Name())
	}
	below := lower
	if opaque {
		hidden, err := readLower(lower)
		if err != nil {
			return hid, err
		}
		for _, n := range hidden {
			if names[n] == nil {
				order = append(order, n)
			}
		}
		below = nil
	}
	slices.Sort(order)
	for _, n := range order {
		p := path.Join(name, n)
		if names[n] == nil {
			if err := errors.Join(self(), w.emit(container.ChangeDelete, p, nil)); err != nil {
				return hid, err
			}
			continue
		}
		h, err := w.entry(p, lower, below, self, depth)
		if err != nil {
			return hid, err
		}
		hid = hid || h
	}
	return hid, nil
}

// entry handles one name of the upper directory. Lower decides whether it is
// new; below is what shines through, where it is a directory. It tells whether
// the name was hidden.
func (w *walker) entry(p string, lower, below []string, parent func() error, depth int) (hid bool, err error) {
	info, err := w.upper.Lstat(rel(p))
	if err != nil {
		return false, gone(err)
	}
	old, err := lookup(lower, path.Base(p))
	if err != nil {
		return false, err
	}
	if isWhiteout(info) {
		if old == nil {
			return false, nil
		}
		return false, errors.Join(parent(), w.emit(container.ChangeDelete, p, nil))
	}
	kind := container.ChangeAdd
	if old != nil {
		kind = container.ChangeModify
	}
	hidden := old == nil && w.hide.hides(p, info)
	if hidden && !info.IsDir() {
		return true, nil
	}
	emitted := false
	self := func() error {
		if emitted {
			return nil
		}
		emitted = true
		return errors.Join(parent(), w.emit(kind, p, info))
	}
	if !info.IsDir() {
		return false, self()
	}
	next, err := descend(below, path.Base(p))
	if err != nil {
		return false, err
	}
	switch {
	case hidden:
		// Emitted only where something that is not hidden is in it.
		_, err := w.dir(p, next, self, depth+1)
		return !emitted, err
	case old != nil && w.hide.parents[p] && sameButTime(old, info):
		// Its time may be that of what was put there to mount on.
		hid, err := w.dir(p, next, self, depth+1)
		if err == nil && !hid && !sameDir(old, info) {
			err = self()
		}
		return false, err
	case old == nil || !sameDir(old, info):
		if err := self(); err != nil {
			return false, err
		}
	}
	_, err = w.dir(p, next, self, depth+1)
	return false, err
}

func rel(p string) string {
	if p == "/" {
		return "."
	}
	return p[1:]
}

// gone forgives what vanished while we looked.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func sameDir(a, b fs.FileInfo) bool { return sameButTime(a, b) && a.ModTime().Equal(b.ModTime()) }

func sameButTime(a, b fs.FileInfo) bool {
	x, ok1 := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && a.IsDir() && b.IsDir() && a.Mode() == b.Mode() && x.Uid == y.Uid && x.Gid == y.Gid
}

// isWhiteout: overlay records a deletion as a character device 0/0.
func isWhiteout(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0
}

// isOpaque: an attribute says that nothing of the layers below shines through.
func isOpaque(f *os.File) bool {
	var v [1]byte
	n, err := unix.Fgetxattr(int(f.Fd()), "trusted.overlay.opaque", v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

func opaqueAt(dir string) bool {
	var v [1]byte
	n, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

// lookup finds a name in a directory as the lower layers show it; nil is not there.
// The lower layers are ours alone and do not change.
func lookup(lower []string, name string) (fs.FileInfo, error) {
	for _, dir := range lower {
		info, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if isWhiteout(info) {
			return nil, nil
		}
		return info, nil
	}
	return nil, nil
}

// descend gives the directories that make up a subdirectory of the lower layers.
func descend(lower []string, name string) ([]string, error) {
	var out []string
	for _, dir := range lower {
		child := filepath.Join(dir, name)
		info, err := os.Lstat(child)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			break
		}
		out = append(out, child)
		if opaqueAt(child) {
			break
		}
	}
	return out, nil
}

// readLower lists a directory as the lower layers show it.
func readLower(lower []string) ([]string, error) {
	seen := map[string]bool{}
	var names []string
	for _, dir := range lower {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if seen[e.Name()] {
				continue
			}
			seen[e.Name()] = true
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			if !isWhiteout(info) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}
