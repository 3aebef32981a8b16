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
