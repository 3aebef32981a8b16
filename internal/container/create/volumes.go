package create

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"

	"hoy/internal/container/core"
	"hoy/internal/container/mounts"
	"hoy/internal/container/record"
	"hoy/internal/runtime/source"
	"hoy/internal/store"
	"hoy/internal/undo"
	volumes "hoy/internal/volume"
)

// mount resolves all that is to be mounted: volumes are made and taken, sources
// are made or must be there, and a new volume gets what the image has in its place.
func (c *Creator) mount(ctx context.Context, r *record.Record, back *undo.Stack) error {
	wishes, err := mounts.Parse(r.Config, r.HostConfig)
	if err != nil {
		return err
	}
	var all []record.Mount
	for _, w := range wishes {
		all = append(all, w.Mount)
	}
	inherited, err := c.volumesFrom(r, covered(all))
	if err != nil {
		return err
	}
	all = append(all, inherited...)
	more, err := mounts.ImageVolumes(r.Config, covered(all))
	if err != nil {
		return err
	}
	wishes = append(wishes, more...)
	if err := c.intend(r, wishes); err != nil {
		return err
	}
	r.Mounts = nil
	for _, m := range inherited {
		if m.Type == mount.TypeVolume {
			if m.Source, err = c.acquire(ctx, m.Name, r.ID, back); err != nil {
				return err
			}
		}
		r.Mounts = append(r.Mounts, m)
	}
	for _, w := range wishes {
		m, err := c.resolve(ctx, w, r.ID, back)
		if err != nil {
			return err
		}
		r.Mounts = append(r.Mounts, m)
	}
	slices.SortFunc(r.Mounts, func(a, b record.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return c.copyUp(ctx, r)
}

// intend names the anonymous volumes and writes them down as those of a
// container that is being removed: where the daemon is killed before the
// container is whole, the next one removes them.
func (c *Creator) intend(r *record.Record, wishes []mounts.Wish) error {
	draft := r.With(func(n *record.Record) {
		n.State.Phase, n.RemoveVolumes, n.Mounts = record.Removing, true, nil
	})
	for i := range wishes {
		w := &wishes[i]
		if !w.Anonymous {
			continue
		}
		w.Name = store.NewID()
		labels := map[string]string{volumes.AnonymousLabel: ""}
		maps.Copy(labels, w.Labels)
		w.Labels = labels
		draft.Mounts = append(draft.Mounts, w.Mount)
	}
	if len(draft.Mounts) == 0 {
		return nil
	}
	r.Seq = draft.Seq + 1
	return c.Ledger.Save(draft)
}

// volumesFrom are the mounts of other containers ("ref" or "ref:ro") that nothing covers.
func (c *Creator) volumesFrom(r *record.Record, isCovered func(string) bool) ([]record.Mount, error) {
	var out []record.Mount
	for _, from := range r.HostConfig.VolumesFrom {
		ref, mode, _ := strings.Cut(from, ":")
		if ref == "" {
			return nil, core.Invalid("invalid volumes-from: %q", from)
		}
		readOnly := false
		for word := range strings.SplitSeq(mode, ",") {
			switch word {
			case "ro":
				readOnly = true
			case "", "rw", "z", "Z", "nocopy":
			default:
				return nil, core.Invalid("invalid mode for volumes-from: %s", mode)
			}
		}
		e, err := c.Index.Find(ref)
		if err != nil {
			return nil, err
		}
		for _, m := range e.Record().Mounts {
			if m.Type == mount.TypeTmpfs || isCovered(m.Destination) || covered(out)(m.Destination) {
				continue
			}
			m.CopyUp, m.RW = false, m.RW && !readOnly
			out = append(out, m)
		}
	}
	return out, nil
}

func (c *Creator) resolve(ctx context.Context, w mounts.Wish, id string, back *undo.Stack) (record.Mount, error) {
	m := w.Mount
	switch m.Type {
	case mount.TypeBind:
		return m, bindSource(m.Source, w.MakeSource)
	case mount.TypeVolume:
		if m.Name != "" && m.Subpath != "" {
			if _, err := c.Volumes.Inspect(ctx, m.Name); err != nil && !errdefs.IsNotFound(err) {
				return m, err
			}
		}
		v, err := c.Volumes.Create(ctx, volume.CreateRequest{Name: m.Name, Driver: w.Driver, DriverOpts: w.DriverOpts, Labels: w.Labels})
		if err != nil {
			return m, err
		}
		m.Name, m.Driver = v.Name, v.Driver
		if m.Anonymous {
			back.Push("anonymous volume", func(ctx context.Context) error { return c.Volumes.Remove(ctx, v.Name, true) })
		}
		m.Source, err = c.acquire(ctx, m.Name, id, back)
		return m, err
	}
	return m, nil
}

func bindSource(path string, make bool) error {
	_, err := source.IsDir(path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist) && make:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("error while creating mount source path '%s': %w", path, err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return core.Invalid("invalid mount config for type \"bind\": bind source path does not exist: %s", path)
	default:
		return core.Invalid("invalid mount config for type \"bind\": stat %s: %v", path, err)
	}
}

func (c *Creator) acquire(ctx context.Context, name, id string, back *undo.Stack) (string, error) {
	path, err := c.Volumes.Acquire(ctx, name, id)
	if err != nil {
		return "", err
	}
	back.Push("volume "+name, func(ctx context.Context) error { return c.Volumes.Release(ctx, name, id) })
	return path, nil
}

// copyUp fills new, empty volumes with what the image has at their destinations.
func (c *Creator) copyUp(ctx context.Context, r *record.Record) error {
	var root *os.File
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != mount.TypeVolume || !m.CopyUp {
			continue
		}
		m.CopyUp = false
		empty, err := isEmpty(m.Source)
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
		if !empty {
			continue
		}
		if root == nil {
			layers, err := c.Images.Mounts(ctx, r.ID)
			if err != nil {
				return err
			}
			if root, err = c.Archive.MountRoot(layers, true); err != nil {
				return fmt.Errorf("mount image to fill volume %s: %w", m.Name, err)
			}
			defer root.Close()
		}
		st, err := c.Archive.Stat(root, m.Destination)
		if err == nil && st.Mode.IsDir() {
			err = c.Archive.CopyUp(root, m.Destination, m.Source)
		}
		if err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("fill volume %s with what the image has at %s: %w", m.Name, m.Destination, err)
		}
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	entries, err := f.Readdirnames(1)
	if len(entries) > 0 {
		return false, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return true, nil
}
