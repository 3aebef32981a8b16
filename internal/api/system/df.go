package system

import (
	"fmt"
	"net/http"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

// newUsage and oldUsage are the versions between which GET /system/df speaks both shapes.
const (
	newUsage = 52
	oldUsage = 53
)

// space is not Docker's: what the data root takes beside what df lists.
func (rt router) space(w http.ResponseWriter, r *http.Request) error {
	s, err := rt.b.Space(r.Context())
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, s)
}

func (rt router) diskUsage(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	var opt request.Usage
	if !edge.Before(r, 42) {
		for _, kind := range q.Values["type"] {
			switch system.DiskUsageObject(kind) {
			case system.ContainerObject:
				opt.Containers = true
			case system.ImageObject:
				opt.Images = true
			case system.VolumeObject:
				opt.Volumes = true
			case system.BuildCacheObject:
				opt.BuildCache = true
			default:
				return edge.Invalid(fmt.Sprintf("unknown object type: %s", kind))
			}
		}
	}
	verbose := !edge.Before(r, newUsage) && q.Bool("verbose")
	legacy := edge.Before(r, oldUsage) && !verbose
	opt.Verbose = verbose || legacy
	usage, err := rt.b.DiskUsage(r.Context(), opt)
	if err != nil {
		return err
	}
	if !legacy {
		return edge.Answer(w, http.StatusOK, usage)
	}
	old := ageUsage(r, usage)
	if edge.Before(r, newUsage) {
		return edge.Answer(w, http.StatusOK, old)
	}
	return edge.Answer(w, http.StatusOK, struct {
		*legacyUsage
		*system.DiskUsage
	}{old, brief(usage)})
}

// legacyUsage is GET /system/df up to API 1.51: everything in full.
type legacyUsage struct {
	LayersSize int64
	Images     []any                `json:",omitzero"`
	Containers []container.Summary  `json:",omitzero"`
	Volumes    []volume.Volume      `json:",omitzero"`
	BuildCache []*build.CacheRecord `json:",omitzero"`
	// BuilderSize was never other than 0 outside experiments, until 1.41.
	BuilderSize *int64 `json:",omitempty"`
}

func ageUsage(r *http.Request, u *system.DiskUsage) *legacyUsage {
	old := &legacyUsage{}
	if u.ImageUsage != nil {
		old.LayersSize = u.ImageUsage.TotalSize
		old.Images = make([]any, len(u.ImageUsage.Items))
		for i, s := range u.ImageUsage.Items {
			if edge.Before(r, 44) {
				old.Images[i] = struct {
					image.Summary
					VirtualSize int64
				}{s, s.Size}
				continue
			}
			old.Images[i] = s
		}
	}
	if u.ContainerUsage != nil {
		old.Containers = edge.List(u.ContainerUsage.Items)
	}
	if u.VolumeUsage != nil {
		old.Volumes = edge.List(u.VolumeUsage.Items)
	}
	if u.BuildCacheUsage != nil {
		old.BuildCache = make([]*build.CacheRecord, len(u.BuildCacheUsage.Items))
		for i := range u.BuildCacheUsage.Items {
			old.BuildCache[i] = &u.BuildCacheUsage.Items[i]
		}
	}
	if edge.Before(r, 42) {
		old.BuilderSize = new(int64)
	}
	return old
}

// brief is the usage without its lists.
func brief(u *system.DiskUsage) *system.DiskUsage {
	var b system.DiskUsage
	if u.ImageUsage != nil {
		c := *u.ImageUsage
		c.Items, b.ImageUsage = nil, &c
	}
	if u.ContainerUsage != nil {
		c := *u.ContainerUsage
		c.Items, b.ContainerUsage = nil, &c
	}
	if u.VolumeUsage != nil {
		c := *u.VolumeUsage
		c.Items, b.VolumeUsage = nil, &c
	}
	if u.BuildCacheUsage != nil {
		c := *u.BuildCacheUsage
		c.Items, b.BuildCacheUsage = nil, &c
	}
	return &b
}
