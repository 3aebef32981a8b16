package system

import (
	"context"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	"hoy/internal/request"
	"hoy/internal/space"
)

// DiskUsage counts what is asked for; the lists are there where Verbose is set.
// The totals are what is on disk: together with Space's they are what du(1)
// says of the data root.
func (s *Service) DiskUsage(ctx context.Context, opt request.Usage) (*system.DiskUsage, error) {
	all := !opt.Containers && !opt.Images && !opt.Volumes && !opt.BuildCache
	var usage system.DiskUsage
	var err error
	disk := s.d.Usage(ctx)
	if all || opt.Images {
		if usage.ImageUsage, err = s.d.Images.DiskUsage(ctx, opt.Verbose); err != nil {
			return nil, err
		}
		usage.ImageUsage.TotalSize = disk.Images
		usage.ImageUsage.Reclaimable = min(usage.ImageUsage.Reclaimable, disk.Images)
	}
	if all || opt.Containers {
		if usage.ContainerUsage, err = s.containerUsage(ctx, disk, opt.Verbose); err != nil {
			return nil, err
		}
	}
	if all || opt.Volumes {
		v, err := s.d.Volumes.DiskUsage(ctx)
		if err != nil {
			return nil, err
		}
		if !opt.Verbose {
			v.Items = nil
		}
		usage.VolumeUsage = &v
	}
	if all || opt.BuildCache {
		// Nothing is built here yet, so nothing is kept for building.
		usage.BuildCacheUsage = &build.DiskUsage{}
	}
	return &usage, nil
}

// containerUsage counts layers, logs and all else that is a container's.
func (s *Service) containerUsage(ctx context.Context, disk *space.Usage, verbose bool) (*container.DiskUsage, error) {
	all, err := s.d.Containers.List(ctx, request.List{All: true, Size: verbose})
	if err != nil {
		return nil, err
	}
	u := &container.DiskUsage{TotalCount: int64(len(all)), TotalSize: disk.Containers()}
	for _, c := range all {
		switch c.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
			u.ActiveCount++
		default:
			u.Reclaimable += disk.Writable[c.ID] + disk.Own[c.ID]
		}
	}
	if verbose {
		u.Items = all
	}
	return u, nil
}

// Space counts.
func (s *Service) Space(ctx context.Context) (*request.Space, error) {
	room, reserve, err := s.d.Room()
	if err != nil {
		return nil, err
	}
	disk := s.d.Usage(ctx)
	out := &request.Space{
		DataRoot: s.d.Settings().DataRoot, Engine: disk.Engine, Reserve: reserve, Total: disk.Total(),
		Size: room.Total, Free: room.Free, Stale: disk.Stale, AsOf: disk.AsOf,
	}
	for _, n := range disk.Own {
		out.Logs += n
	}
	return out, nil
}
