// Package containers is the HTTP edge of /containers: it decodes and checks
// requests, calls the Backend and shapes answers by API version.
package containers

import (
	"context"
	"io"
	"iter"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/filter"
	"hoy/internal/log"
	"hoy/internal/request"
)

// Backend is what this edge needs of the engine. A ref is a name, an id or an
// unambiguous beginning of one. Errors carry errdefs classes.
type Backend interface {
	Lifecycle
	Reader
	Files
	// Commit makes an image of a container's changes and returns its id.
	Commit(ctx context.Context, opt request.Commit) (string, error)
}

// Lifecycle changes what a container is. Start of a running container and Stop
// of a stopped one are errdefs.ErrNotModified.
type Lifecycle interface {
	Create(ctx context.Context, req request.Create) (container.CreateResponse, error)
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, opt request.Stop) error
	Restart(ctx context.Context, ref string, opt request.Stop) error
	Kill(ctx context.Context, ref, signal string) error
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	Remove(ctx context.Context, ref string, opt request.Remove) error
	Rename(ctx context.Context, ref, name string) error
	Update(ctx context.Context, ref string, cfg container.UpdateConfig) (container.UpdateResponse, error)
	Prune(ctx context.Context, filters filter.Args) (container.PruneReport, error)
	// Resize takes the terminal's size in characters.
	Resize(ctx context.Context, ref string, height, width uint32) error
	// Attach gives the container's streams; the caller closes the result.
	Attach(ctx context.Context, ref string, opt request.Attach) (*request.Stream, error)
}

// Reader tells what a container is and does.
type Reader interface {
	List(ctx context.Context, opt request.List) ([]container.Summary, error)
	Inspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error)
	// Wait returns at once; the channel gives one answer when the condition holds.
	Wait(ctx context.Context, ref string, cond container.WaitCondition) (<-chan container.WaitResponse, error)
	Top(ctx context.Context, ref, psArgs string) (container.TopResponse, error)
	// Stats calls emit with each sample until it fails or ctx ends.
	Stats(ctx context.Context, ref string, opt request.Stats, emit func(*container.StatsResponse) error) error
	// Logs says whether the container has a terminal and yields its entries.
	Logs(ctx context.Context, ref string, opt request.Logs) (tty bool, entries iter.Seq2[log.Entry, error], err error)
}

// Files reads and writes a container's file system.
type Files interface {
	Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error)
	// Export writes the whole file system as a tar stream.
	Export(ctx context.Context, ref string, w io.Writer) error
	StatPath(ctx context.Context, ref, path string) (container.PathStat, error)
	// GetArchive returns what path is, and a tar stream of it that the caller closes.
	GetArchive(ctx context.Context, ref, path string) (container.PathStat, io.ReadCloser, error)
	// PutArchive unpacks a tar stream, compressed or not, into the directory at path.
	PutArchive(ctx context.Context, ref, path string, opt request.PutArchive, content io.Reader) error
}
