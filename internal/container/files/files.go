// Package files reads and writes the file systems of containers, running or
// not, and makes images of them. Every path is resolved inside the container's root.
package files

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/request"
	"hoy/internal/runtime/source"
	"hoy/internal/runtime/userns"
)

// Files is the part of a container's life that concerns its files.
type Files struct {
	*core.Core
	// WhilePaused freezes a running container for the time of do.
	WhilePaused func(ctx context.Context, e *index.Entry, do func() error) error
}

// Changes of api/containers.
func (f *Files) Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	e, err := f.Index.Find(ref)
	if err != nil {
		return nil, err
	}
	all, err := f.Images.SnapshotChanges(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	return withoutFurniture(all), nil
}

// Export of api/containers.
func (f *Files) Export(ctx context.Context, ref string, w io.Writer) error {
	e, err := f.Index.Find(ref)
	if err != nil {
		return err
	}
	r := e.Record()
	if r.State.Phase == record.Removing || r.State.Phase == record.Dead {
		return core.Conflict("You cannot export container %s which is being removed", r.ID)
	}
	root, err := f.root(ctx, e)
	if err != nil {
		return err
	}
	defer root.Close()
	files, err := f.archive(r)
	if err != nil {
		return err
	}
	if err := files.Export(root, w); err != nil {
		return fmt.Errorf("export of container %s: %w", r.ID, err)
	}
	f.Event(r, events.ActionExport, nil)
	return nil
}

// root is the container's whole root, for reading. That of a running container
// is its process's: an overlay must not be mounted twice.
func (f *Files) root(ctx context.Context, e *index.Entry) (*os.File, error) {
	r := e.Record()
	if !r.State.Phase.HasProcess() {
		return f.detached(ctx, r, true)
	}
	root, err := processRoot(r.State.Pid)
	if now := e.Record(); now.State.Pid != r.State.Pid {
		// It ended meanwhile; the number may be another process's.
		if err == nil {
			root.Close()
		}
		return f.root(ctx, e)
	}
	return root, err
}

// archive reads and writes files of a running container with the ids that they
// have inside. What does not run is seen as it is on disk: with the same ids.
func (f *Files) archive(r *record.Record) (deps.Archive, error) {
	if !r.State.Phase.HasProcess() {
		return f.Archive, nil
	}
	ns, m, err := userns.Of(r.State.Pid)
	if err != nil || ns == nil {
		return f.Archive, err
	}
	return f.Archive.In(&m), ns.Close()
}

func (f *Files) detached(ctx context.Context, r *record.Record, readOnly bool) (*os.File, error) {
	layers, err := f.Images.Mounts(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("root file system of container %s: %w", r.ID, err)
	}
	return f.Archive.MountRoot(layers, readOnly)
}

// place is a directory to resolve a path in, and the path in it.
type place struct {
	root *os.File
	path string
	// refusal says why nothing may be written there.
	refusal error
}

// locate finds where the files at p are: below the root of the running process,
// where all mounts are in place, or in the stopped container's own root or the
// source of the mount that covers p.
func (f *Files) locate(ctx context.Context, ref, p string, write bool) (*index.Entry, *place, error) {
	e, err := f.Index.Find(ref)
	if err != nil {
		return nil, nil, err
	}
	r := e.Record()
	if r.State.Phase == record.Removing || r.State.Phase == record.Dead {
		return nil, nil, core.Conflict("container %s is being removed", r.ID)
	}
	pl := &place{path: p}
	m, below := covering(r, p)
	switch {
	case m != nil && !m.RW:
		pl.refusal = core.Invalid("mounted volume is marked read-only")
	case m == nil && r.HostConfig.ReadonlyRootfs:
		pl.refusal = core.Invalid("container rootfs is marked read-only")
	}
	if write && pl.refusal != nil {
		return nil, nil, pl.refusal
	}
	switch {
	case r.State.Phase.HasProcess():
		pl.root, err = f.root(ctx, e)
	case m != nil && m.Type != mount.TypeTmpfs:
		pl.root, pl.path, err = mountSource(m, below)
	default:
		pl.root, err = f.detached(ctx, r, !write)
	}
	if err != nil {
		return nil, nil, err
	}
	return e, pl, nil
}

// covering is the innermost mount that p lies in, by name, and p's rest below it.
func covering(r *record.Record, p string) (*record.Mount, string) {
	clean := path.Clean("/" + p)
	var best *record.Mount
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if (clean == m.Destination || strings.HasPrefix(clean, m.Destination+"/")) &&
			(best == nil || len(m.Destination) > len(best.Destination)) {
			best = m
		}
	}
	if best == nil {
		return nil, p
	}
	rest := strings.TrimPrefix(clean, best.Destination)
	if rest == "" {
		rest = "/"
	}
	// How a path ends says whether the link itself or its content is meant.
	if strings.HasSuffix(p, "/.") {
		rest = strings.TrimSuffix(rest, "/") + "/."
	} else if strings.HasSuffix(p, "/") && !strings.HasSuffix(rest, "/") {
		rest += "/"
	}
	return best, rest
}

// processRoot opens the root directory of a running container's first process.
func processRoot(pid int) (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("root of the running container: %w", err)
	}
	return f, nil
}

// mountSource opens what m mounts. Where that is a single file, its directory
// is the root and its name the path.
func mountSource(m *record.Mount, below string) (*os.File, string, error) {
	dir, rest := m.Source, below
	if isDir, err := source.IsDir(m.Source); err == nil && !isDir {
		dir, rest = path.Split(m.Source)
		rest = "/" + rest
	}
	src, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("mount source %s: %w", m.Source, err)
	}
	if m.Subpath == "" {
		return src, rest, nil
	}
	defer src.Close()
	fd, err := unix.Openat2(int(src.Fd()), m.Subpath, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, "", fmt.Errorf("volume %s: path %s: %w", m.Name, m.Subpath, err)
	}
	return os.NewFile(uintptr(fd), m.Source), below, nil
}

// StatPath of api/containers.
func (f *Files) StatPath(ctx context.Context, ref, p string) (container.PathStat, error) {
	_, pl, err := f.locate(ctx, ref, p, false)
	if err != nil {
		return container.PathStat{}, err
	}
	defer pl.root.Close()
	st, err := f.Archive.Stat(pl.root, pl.path)
	if err == nil && pl.path != p {
		st.Name = path.Base(path.Clean("/" + p))
	}
	return st, absent(err, ref, p)
}

// absent says, in Docker's words, which file of which container is not there.
func absent(err error, ref, p string) error {
	if !errdefs.IsNotFound(err) {
		return err
	}
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("Could not find the file %s in container %s", p, ref))
}

// GetArchive of api/containers.
func (f *Files) GetArchive(ctx context.Context, ref, p string) (container.PathStat, io.ReadCloser, error) {
	e, pl, err := f.locate(ctx, ref, p, false)
	if err != nil {
		return container.PathStat{}, nil, err
	}
	files, err := f.archive(e.Record())
	if err != nil {
		pl.root.Close()
		return container.PathStat{}, nil, err
	}
	st, content, err := files.Get(pl.root, pl.path)
	if err != nil {
		pl.root.Close()
		return st, nil, absent(err, ref, p)
	}
	f.Event(e.Record(), events.ActionArchivePath, nil)
	return st, &closing{ReadCloser: content, root: pl.root}, nil
}

// closing keeps the root open as long as it is read from.
type closing struct {
	io.ReadCloser
	root *os.File
}

func (c *closing) Close() error {
	err := c.ReadCloser.Close()
	_ = c.root.Close()
	return err
}

// PutArchive of api/containers.
func (f *Files) PutArchive(ctx context.Context, ref, p string, opt request.PutArchive, content io.Reader) error {
	e, pl, err := f.locate(ctx, ref, p, true)
	if err != nil {
		return err
	}
	defer pl.root.Close()
	owner, err := f.owner(ctx, e, opt)
	if err != nil {
		return err
	}
	files, err := f.archive(e.Record())
	if err != nil {
		return err
	}
	if err := files.Put(pl.root, pl.path, opt, owner, content); err != nil {
		return absent(err, ref, p)
	}
	f.Event(e.Record(), events.ActionExtractToDir, nil)
	return nil
}

// owner is the container's user where what is put in is to be that user's.
func (f *Files) owner(ctx context.Context, e *index.Entry, opt request.PutArchive) (*deps.Owner, error) {
	if !opt.CopyUIDGID {
		return nil, nil
	}
	root, err := f.root(ctx, e)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return f.Archive.Owner(root, e.Record().Config.User)
}
