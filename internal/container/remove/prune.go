package remove

import (
	"context"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/record"
	"hoy/internal/filter"
	"hoy/internal/request"
)

// Prune of api/containers: removes what does not run and meets the filters
// until, label and label!.
func (x *Remover) Prune(ctx context.Context, filters filter.Args) (container.PruneReport, error) {
	rep := container.PruneReport{ContainersDeleted: []string{}}
	until, err := Until(filters, x.Now())
	if err != nil {
		return rep, err
	}
	for _, e := range x.Index.All() {
		if ctx.Err() != nil {
			return rep, context.Cause(ctx)
		}
		r := e.Record()
		if p := r.State.Phase; p != record.Created && p != record.Exited && p != record.Dead {
			continue
		}
		if !until.IsZero() && !r.Created.Before(until) || !MatchLabels(filters, r.Config.Labels) {
			continue
		}
		size := x.Images.SnapshotUsage(ctx, r.ID)[0]
		if err := x.remove(ctx, e, request.Remove{}); err != nil {
			if !errdefs.IsConflict(err) {
				x.Log.Warn("container not pruned", "container", r.ID, "error", err)
			}
			continue
		}
		rep.SpaceReclaimed += uint64(max(0, size))
		rep.ContainersDeleted = append(rep.ContainersDeleted, r.ID)
	}
	x.Events(events.Message{
		Type: events.ContainerEventType, Action: events.ActionPrune, Scope: "local",
		Actor: events.Actor{Attributes: map[string]string{"reclaimed": strconv.FormatUint(rep.SpaceReclaimed, 10)}},
	})
	return rep, nil
}

// MatchLabels says whether labels meet the filters label and label!.
func MatchLabels(filters filter.Args, labels map[string]string) bool {
	if !filters.MatchLabels("label", labels) {
		return false
	}
	for _, not := range filters["label!"] {
		if (filter.Args{"l": {not}}).MatchLabels("l", labels) {
			return false
		}
	}
	return true
}

// Until reads the filter until: a duration before now, an RFC 3339 time, or
// seconds since 1970. Zero means that it is not set.
func Until(filters filter.Args, now time.Time) (time.Time, error) {
	if !filters.Has("until") {
		return time.Time{}, nil
	}
	if len(filters["until"]) > 1 {
		return time.Time{}, core.Invalid("more than one until filter specified")
	}
	v := filters["until"][0]
	if d, err := time.ParseDuration(v); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
			return t, nil
		}
	}
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		return time.Unix(0, int64(f*1e9)), nil
	}
	return time.Time{}, core.Invalid("invalid until filter: %q: give a duration, a time or seconds since 1970", v)
}
