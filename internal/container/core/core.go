// Package core is what every part of a container's life shares: the rooms
// below, the index, the ledger, and how a change is made known.
package core

import (
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/ledger"
	"hoy/internal/container/record"
)

// Core is built once and not changed afterwards.
type Core struct {
	deps.Deps
	deps.Settings
	Index  *index.Index
	Ledger *ledger.Ledger
	// BootID names this boot of the host.
	BootID string
	// LogDropped counts the records that the logs of ended processes could not keep.
	LogDropped atomic.Uint64
	// Changed, where not nil, is told of what Publish has published. It must not wait.
	Changed func(e *index.Entry, r *record.Record)
}

// Publish makes r the entry's record, for readers at once and on disk. Who
// calls it has the entry's turn. A disk that refuses is logged: what the kernel
// does is not undone for it.
func (c *Core) Publish(e *index.Entry, r *record.Record) {
	e.Publish(r)
	if c.Changed != nil {
		c.Changed(e, r)
	}
	if err := c.Ledger.Save(r); err != nil {
		c.Log.Error("container record not written", "container", r.ID, "error", err)
	}
}

// Event tells what happened to a container, with its image, name and labels.
func (c *Core) Event(r *record.Record, action events.Action, attrs map[string]string) {
	c.EventAt(r, action, c.Now(), attrs)
}

// EventAt is Event for what happened at a time that is past.
func (c *Core) EventAt(r *record.Record, action events.Action, at time.Time, attrs map[string]string) {
	all := make(map[string]string, len(r.Config.Labels)+len(attrs)+2)
	maps.Copy(all, r.Config.Labels)
	all["image"], all["name"] = r.Config.Image, r.Name
	maps.Copy(all, attrs)
	c.Events(events.Message{
		Type: events.ContainerEventType, Action: action, Scope: "local", Time: at.Unix(), TimeNano: at.UnixNano(),
		Actor: events.Actor{ID: r.ID, Attributes: all},
	})
}

// Died tells of the end that r has on record.
func (c *Core) Died(r *record.Record) {
	lasted := r.State.FinishedAt.Sub(r.State.StartedAt)
	c.EventAt(r, events.ActionDie, r.State.FinishedAt, map[string]string{
		"exitCode": strconv.Itoa(r.State.ExitCode), "execDuration": strconv.Itoa(int(lasted.Seconds())),
	})
}

// VolumesMounted tells, for each volume of a container, that it is in use now.
func (c *Core) VolumesMounted(r *record.Record) {
	c.volumes(r, events.ActionMount, func(m *record.Mount, attrs map[string]string) {
		attrs["destination"], attrs["propagation"] = m.Destination, string(m.Propagation)
		attrs["read/write"] = strconv.FormatBool(m.RW)
	})
}

// VolumesUnmounted tells that it is not any more.
func (c *Core) VolumesUnmounted(r *record.Record) {
	c.volumes(r, events.ActionUnmount, func(*record.Mount, map[string]string) {})
}

func (c *Core) volumes(r *record.Record, action events.Action, more func(*record.Mount, map[string]string)) {
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != mount.TypeVolume {
			continue
		}
		attrs := map[string]string{"container": r.ID, "driver": m.Driver}
		more(m, attrs)
		c.Events(events.Message{
			Type: events.VolumeEventType, Action: action, Scope: "local",
			Actor: events.Actor{ID: m.Name, Attributes: attrs},
		})
	}
}

// Short is an id as people see it.
func Short(id string) string {
	if len(id) > 12 && !strings.Contains(id, ":") {
		return id[:12]
	}
	return id
}
