// Package request is the vocabulary between the HTTP edge and the engine: what a
// client asks for, decoded and checked for form, in Go types.
package request

import (
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/filter"
)

// Create is a decoded POST /containers/create.
type Create struct {
	// Name as asked for, without a slash; empty lets the backend choose one.
	Name       string
	Platform   *ocispec.Platform
	Config     *container.Config
	HostConfig *container.HostConfig
	Networking *network.NetworkingConfig
}

// Stop: an empty signal and a nil timeout (seconds, negative is for
// ever) mean the container's own.
type Stop struct {
	Signal  string
	Timeout *int
}

// Remove of DELETE /containers/{id}.
type Remove struct{ Force, Volumes, Link bool }

// List of GET /containers/json. Limit 0 is no limit.
type List struct {
	All, Size bool
	Limit     int
	Filters   filter.Args
}

// Attach of POST /containers/{id}/attach.
type Attach struct{ Stdin, Stdout, Stderr, Logs, Stream bool }

// Logs of GET /containers/{id}/logs. Tail is the number of last entries; negative is all.
type Logs struct {
	Stdout, Stderr, Follow bool
	Since, Until           time.Time
	Tail                   int
}

// Stats of GET /containers/{id}/stats. OneShot gives one sample at once
// with no previous one; neither waits for a second and gives both.
type Stats struct{ Stream, OneShot bool }

// PutArchive of PUT /containers/{id}/archive.
type PutArchive struct{ NoOverwriteDirNonDir, CopyUIDGID bool }

// Commit of POST /commit. Config, where not nil, replaces the container's own.
type Commit struct {
	Container, Repo, Tag, Comment, Author string
	Pause                                 bool
	Changes                               []string
	Config                                *container.Config
}

// ExecStart of POST /exec/{id}/start. ConsoleSize is height, width.
type ExecStart struct {
	Detach, TTY bool
	ConsoleSize *[2]uint
}
