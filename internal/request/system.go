package request

import (
	"time"

	"hoy/internal/filter"
)

// Usage says which kinds GET /system/df counts; none set means all.
type Usage struct{ Containers, Images, Volumes, BuildCache, Verbose bool }

// Events of GET /events. A zero Until follows until ctx ends.
type Events struct {
	Since, Until time.Time
	Filters      filter.Args
}

// Space is what there is on the data root's disk beside images, containers and
// volumes, in bytes.
type Space struct {
	DataRoot string
	// Engine is what the engine's own files take, the reserve among them; Logs
	// are the containers' files that are not layers: logs and records.
	Engine, Reserve, Logs int64
	// Total is what all below the data root takes.
	Total int64
	// Size and Free are the file system's.
	Size, Free int64
	// Stale trees were too large to be counted for this answer; the oldest count
	// is of AsOf, which is zero where one is not counted yet.
	Stale int
	AsOf  time.Time
}
