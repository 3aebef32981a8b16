package system

import (
	"context"
	"time"

	"hoy/internal/request"
)

// prunableTime bounds how long it may take to say what a prune would free.
const prunableTime = 2 * time.Second

// Prunable is about how many bytes system prune would free: stopped containers
// and images without a name that no container uses.
func (s *Service) Prunable() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), prunableTime)
	defer cancel()
	usage, err := s.DiskUsage(ctx, request.Usage{Containers: true, Images: true, Verbose: true})
	if err != nil {
		return 0
	}
	n := usage.ContainerUsage.Reclaimable
	for _, img := range usage.ImageUsage.Items {
		if len(img.RepoTags) == 0 && img.Containers == 0 && img.SharedSize >= 0 {
			n += img.Size - img.SharedSize
		}
	}
	return n
}
