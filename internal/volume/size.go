package volume

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"
)

// DiskUsage lists all volumes with the bytes they occupy and the number of
// containers that use them.
func (s *Service) DiskUsage(ctx context.Context) (volume.DiskUsage, error) {
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.volumes))
	s.mu.Unlock()
	var du volume.DiskUsage
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return du, err
		}
		size := s.measure(name)
		s.mu.Lock()
		e := s.volumes[name]
		if e == nil {
			s.mu.Unlock()
			continue
		}
		users := len(e.users)
		v := s.render(name, e.record)
		s.mu.Unlock()
		v.UsageData = &volume.UsageData{RefCount: int64(users), Size: size}
		du.Items = append(du.Items, *v)
		du.TotalCount++
		du.TotalSize += size
		if users > 0 {
			du.ActiveCount++
		} else {
			du.Reclaimable += size
		}
	}
	return du, nil
}

// measure counts the bytes on disk. The count is kept while no container uses
// the volume, for then nothing changes it.
func (s *Service) measure(name string) int64 {
	s.mu.Lock()
	e := s.volumes[name]
	if e == nil {
		s.mu.Unlock()
		return 0
	}
	if size := e.size; size >= 0 && len(e.users) == 0 {
		s.mu.Unlock()
		return size
	}
	s.mu.Unlock()
	size := treeSize(filepath.Join(s.opt.Root, name, dataDir))
	s.mu.Lock()
	if len(e.users) == 0 {
		e.size = size
	}
	s.mu.Unlock()
	return size
}

// treeSize adds up the blocks of a tree on one file system, each file once
// however many links it has. What vanishes meanwhile is not counted. A container
// may swap directories for links while it runs: os.Root does not follow them out.
func treeSize(dir string) int64 {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0
	}
	defer root.Close()
	var total int64
	var dev uint64
	seen := map[uint64]bool{}
	_ = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		st := statOf(d)
		if st == nil {
			return nil
		}
		if path == "." {
			dev = st.Dev
		}
		if st.Dev != dev {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.IsDir() && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total
}

// statOf is nil where the file has gone meanwhile.
func statOf(d fs.DirEntry) *syscall.Stat_t {
	info, err := d.Info()
	if err != nil {
		return nil
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	return st
}

// FS_IMMUTABLE_FL and FS_APPEND_FL of include/uapi/linux/fs.h.
const (
	immutableFlag = 0x10
	appendFlag    = 0x20
)

// clearFlags takes the immutable and append-only marks off all below dir, which
// no container has mounted any more.
func clearFlags(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || (!d.IsDir() && !d.Type().IsRegular()) {
			return nil
		}
		f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil
		}
		defer f.Close()
		flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if marks := immutableFlag | appendFlag; err == nil && flags&marks != 0 {
			_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^marks)
		}
		return nil
	})
}
