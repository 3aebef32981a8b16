package volume

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"hoy/internal/space"
)

// DiskUsage lists all volumes with the bytes they occupy and the number of
// containers that use them.
func (s *Service) DiskUsage(ctx context.Context) (volume.DiskUsage, error) {
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.volumes))
	s.mu.Unlock()
	var du volume.DiskUsage
	sizes := s.measure(ctx, names...)
	if err := ctx.Err(); err != nil {
		return du, err
	}
	for i, name := range names {
		size := sizes[i]
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

// measure counts the bytes on disk; those of a large volume may be some time old.
func (s *Service) measure(ctx context.Context, names ...string) []int64 {
	trees := make([]space.Tree, len(names))
	for i, name := range names {
		trees[i].Dir = filepath.Join(s.opt.Root, name, dataDir)
	}
	sizes := make([]int64, len(names))
	for i, sample := range s.opt.Meter.Count(ctx, space.Budget, trees...) {
		sizes[i] = sample.Bytes
	}
	return sizes
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
