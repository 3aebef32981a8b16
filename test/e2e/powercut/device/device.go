// Package device is a disk that remembers every write and every flush, in
// order, so that the power can be cut at any moment afterwards. It is one file
// of a FUSE file system; a loop device on it gives the kernel's file systems
// something to write to, and hands every flush down as an fsync.
package device

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Sector is what a disk writes whole or not at all, in bytes. A write of more
// may be cut anywhere between.
const Sector = 4096

// write is one sector-aligned piece of what the kernel wrote; data is nil for a
// flush, which makes all before it durable.
type write struct {
	offset int64
	data   []byte
}

// Device is safe for concurrent use.
type Device struct {
	// Path is the file to put a loop device on.
	Path string

	server *fuse.Server
	dir    string

	mu    sync.Mutex
	now   []byte
	base  []byte
	log   []write
	taken bool
}

// New mounts a disk of size bytes at dir, which is made.
func New(dir string, size int64) (*Device, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	d := &Device{Path: filepath.Join(dir, "disk"), dir: dir, now: make([]byte, size)}
	server, err := fs.Mount(dir, &root{d: d}, &fs.Options{MountOptions: fuse.MountOptions{
		MaxWrite: 1 << 20, DirectMount: true, FsName: "powercut", Name: "powercut",
	}})
	if err != nil {
		return nil, fmt.Errorf("mount a disk at %s: %w", dir, err)
	}
	d.server = server
	return d, nil
}

// Close takes the disk away; nothing may use it any more.
func (d *Device) Close() error {
	if err := d.server.Unmount(); err != nil {
		return err
	}
	return os.Remove(d.dir)
}

// Record begins the log: what was written so far is durable.
func (d *Device) Record() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.base, d.log, d.taken = append([]byte(nil), d.now...), nil, true
}

// Position is a moment: how much of the log was written by now.
func (d *Device) Position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Flushes is how many of the log's entries before position at are flushes.
func (d *Device) Flushes(at int) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.log[:at] {
		if w.data == nil {
			n++
		}
	}
	return n
}

func (d *Device) write(data []byte, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.now[offset:], data)
	if !d.taken {
		return
	}
	for len(data) > 0 {
		n := min(len(data), int(Sector-offset%Sector))
		d.log = append(d.log, write{offset, append([]byte(nil), data[:n]...)})
		data, offset = data[n:], offset+int64(n)
	}
}

func (d *Device) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.log); d.taken && (n == 0 || d.log[n-1].data != nil) {
		d.log = append(d.log, write{})
	}
}

// Cut writes to path what the disk holds when the power goes at the position:
// all that was flushed, and of the rest each sector or not, by chance.
func (d *Device) Cut(path string, at int, chance *rand.Rand) error {
	d.mu.Lock()
	log, image := d.log[:at], append([]byte(nil), d.base...)
	d.mu.Unlock()
	flushed := 0
	for i, w := range log {
		if w.data == nil {
			flushed = i + 1
		}
	}
	// Few, half or most of what was in flight arrives.
	odds := chance.Float64()
	for i, w := range log {
		if w.data != nil && (i < flushed || chance.Float64() < odds) {
			copy(image[w.offset:], w.data)
		}
	}
	return writeSparse(path, image)
}

// writeSparse leaves holes where there are zeros.
func writeSparse(path string, image []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(image))); err != nil {
		return err
	}
	var zero [Sector]byte
	for off := 0; off < len(image); off += Sector {
		piece := image[off:min(off+Sector, len(image))]
		if string(piece) == string(zero[:len(piece)]) {
			continue
		}
		if _, err := f.WriteAt(piece, int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// root is the directory with the one file.
type root struct {
	fs.Inode
	d *Device
}

var _ fs.NodeOnAdder = (*root)(nil)

func (r *root) OnAdd(ctx context.Context) {
	node := r.NewPersistentInode(ctx, &file{d: r.d}, fs.StableAttr{Mode: syscall.S_IFREG})
	r.AddChild("disk", node, true)
}

type file struct {
	fs.Inode
	d *Device
}

var (
	_ fs.NodeGetattrer = (*file)(nil)
	_ fs.NodeSetattrer = (*file)(nil)
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeReader    = (*file)(nil)
	_ fs.NodeWriter    = (*file)(nil)
	_ fs.NodeFsyncer   = (*file)(nil)
)

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(len(f.d.now))
	return 0
}

// Setattr changes nothing: a disk has its size.
func (f *file) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

// Open keeps the host's page cache out of the way: each write arrives here
// before it is answered.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.d.now)) {
		return fuse.ReadResultData(nil), 0
	}
	n := copy(dest, f.d.now[off:])
	return fuse.ReadResultData(dest[:n]), 0
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if off+int64(len(data)) > int64(len(f.d.now)) {
		return 0, syscall.ENOSPC
	}
	f.d.write(data, off)
	return uint32(len(data)), 0
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.d.flush()
	return 0
}
