// Package volume keeps named volumes: directories below one root, each with a
// record in the store, that live longer than the containers that use them.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"hoy/internal/durable"
	"hoy/internal/filter"
	"hoy/internal/space"
	"hoy/internal/store"
)

// AnonymousLabel marks volumes that nobody named.
const AnonymousLabel = "com.docker.volume.anonymous"

const (
	driverName = "local"
	dataDir    = "_data"
	// trashPrefix begins with a character that no volume's name begins with.
	trashPrefix = ".removed."
)

// Filters of List and of Prune.
var (
	FilterKeys      = []string{"dangling", "driver", "label", "name"}
	PruneFilterKeys = []string{"all", "label", "label!"}
)

// Options of Open.
type Options struct {
	// Root is the directory that volumes live in.
	Root  string
	Store *store.DB
	// Events takes volume events; nil drops them.
	Events func(events.Message)
	Log    *slog.Logger
	// Meter counts what volumes take; nil is one of its own.
	Meter *space.Meter
}

// record is what the store keeps of a volume.
type record struct {
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	Options map[string]string `json:"options,omitempty"`
}

// entry is a volume in memory. Its record does not change.
type entry struct {
	record
	users map[string]bool
}

// Service is the volumes of one engine. It is safe for concurrent use. mu guards
// maps and is never held across a system call; exclusion over those is per name.
type Service struct {
	opt    Options
	bucket *store.Bucket[record]

	mu      sync.Mutex
	volumes map[string]*entry
	busy    map[string]chan struct{}
}

// Open reads the records, finishes what a crash interrupted, and adopts
// directories with content that have no record: data is never thrown away
// because a record was lost.
func Open(opt Options) (*Service, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Meter == nil {
		opt.Meter = space.NewMeter("")
	}
	if err := os.MkdirAll(opt.Root, 0o701); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	bucket, err := store.NewBucket[record](opt.Store, "volumes")
	if err != nil {
		return nil, err
	}
	s := &Service{opt: opt, bucket: bucket, volumes: map[string]*entry{}, busy: map[string]chan struct{}{}}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	return s, nil
}

// recover makes records and directories agree.
func (s *Service) recover() error {
	records, damaged, err := s.bucket.All()
	if err != nil {
		return err
	}
	for _, d := range damaged {
		s.opt.Log.Error("a volume's record is damaged; labels and options are lost, its data is kept", "volume", d.ID, "error", d.Err)
	}
	dirs, err := os.ReadDir(s.opt.Root)
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for _, d := range dirs {
		name := d.Name()
		if rest, ok := strings.CutPrefix(name, trashPrefix); ok {
			s.finishRemoval(name, rest, records)
			continue
		}
		present[name] = d.IsDir()
		if _, known := records[name]; known || !d.IsDir() || checkName(name) != nil {
			continue
		}
		if err := s.adopt(name, records); err != nil {
			return err
		}
	}
	for name, r := range records {
		if checkName(name) != nil {
			s.opt.Log.Error("a volume's record has a name that no volume may have; it is left alone", "volume", name)
			continue
		}
		if !present[name] && s.opt.Store.Restored {
			// Removed in the moment before the store was lost.
			if err := s.bucket.Delete(name); err != nil {
				return err
			}
			continue
		}
		if !present[name] {
			s.opt.Log.Warn("a volume's directory is gone; it is made anew and is empty", "volume", name)
		}
		if err := s.makeDir(name); err != nil {
			return err
		}
		s.volumes[name] = &entry{record: r, users: map[string]bool{}}
	}
	return nil
}

// finishRemoval completes a removal that was cut off after its rename.
func (s *Service) finishRemoval(dir, rest string, records map[string]record) {
	if name, _, ok := strings.Cut(rest, "~"); ok {
		if _, err := os.Lstat(filepath.Join(s.opt.Root, name)); errors.Is(err, os.ErrNotExist) && checkName(name) == nil {
			if err := s.bucket.Delete(name); err != nil {
				s.opt.Log.Error("cannot finish the removal of a volume", "volume", name, "error", err)
			}
			delete(records, name)
		}
	}
	if err := s.discard(filepath.Join(s.opt.Root, dir)); err != nil {
		s.opt.Log.Error("cannot delete what is left of a removed volume", "error", err)
	}
}

// adopt records a directory that has none, or deletes it where it is empty.
func (s *Service) adopt(name string, records map[string]record) error {
	dir := filepath.Join(s.opt.Root, name)
	content, err := os.ReadDir(filepath.Join(dir, dataDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(content) == 0 && !s.opt.Store.Restored {
		// Remove takes only empty directories: nothing of value can go.
		_ = os.Remove(filepath.Join(dir, dataDir))
		if os.Remove(dir) == nil {
			return nil
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	s.opt.Log.Warn("a volume's directory has no record; it is taken back without labels", "volume", name)
	records[name] = record{Created: info.ModTime().UTC()}
	return s.bucket.Put(name, records[name])
}

func (s *Service) makeDir(name string) error {
	dir := filepath.Join(s.opt.Root, name)
	if err := os.Mkdir(dir, 0o701); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, dataDir), 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	// The modes hold whatever the daemon's umask.
	return errors.Join(os.Chmod(dir, 0o701), os.Chmod(filepath.Join(dir, dataDir), 0o755))
}

var nameShape = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// checkName keeps names to one plain path component.
func checkName(name string) error {
	switch {
	case len(name) == 1:
		return errdefs.ErrInvalidArgument.WithMessage("volume name is too short, names should be at least two alphanumeric characters")
	case len(name) > 255:
		return errdefs.ErrInvalidArgument.WithMessage("volume name is too long, names should be at most 255 characters")
	case !nameShape.MatchString(name):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name))
	}
	return nil
}

// lock gives the caller sole right to what is on disk under a name, until unlock is called.
func (s *Service) lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		s.mu.Lock()
		wait, taken := s.busy[name]
		if !taken {
			mine := make(chan struct{})
			s.busy[name] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.busy, name)
				s.mu.Unlock()
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Create makes a volume. Where the name exists, it returns that volume as it is.
// An empty name makes an anonymous one.
func (s *Service) Create(ctx context.Context, req volume.CreateRequest) (*volume.Volume, error) {
	if req.ClusterVolumeSpec != nil {
		return nil, errdefs.ErrUnavailable.WithMessage("This node is not a swarm manager. Cluster volumes need one.")
	}
	if req.Driver != "" && req.Driver != driverName {
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("error looking up volume plugin %s: plugin %q not found", req.Driver, req.Driver))
	}
	labels := maps.Clone(req.Labels)
	if req.Name == "" {
		req.Name = store.NewID()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[AnonymousLabel] = ""
	}
	if err := checkName(req.Name); err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("create %s: %v", req.Name, err))
	}
	if _, err := parseMount(req.DriverOpts); err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("create %s: %v", req.Name, err))
	}
	unlock, err := s.lock(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if v, err := s.Inspect(ctx, req.Name); err == nil {
		return v, nil
	}
	r := record{Created: time.Now().UTC(), Labels: labels, Options: maps.Clone(req.DriverOpts)}
	err = s.makeDir(req.Name)
	if err == nil {
		err = s.bucket.Put(req.Name, r)
	}
	if err != nil {
		_ = os.Remove(filepath.Join(s.opt.Root, req.Name, dataDir))
		_ = os.Remove(filepath.Join(s.opt.Root, req.Name))
		return nil, fmt.Errorf("create %s: %w", req.Name, err)
	}
	s.mu.Lock()
	s.volumes[req.Name] = &entry{record: r, users: map[string]bool{}}
	s.mu.Unlock()
	s.publish(events.ActionCreate, req.Name, map[string]string{"driver": driverName})
	return s.render(req.Name, r), nil
}

func (s *Service) render(name string, r record) *volume.Volume {
	return &volume.Volume{
		Name: name, Driver: driverName, Scope: "local", Mountpoint: s.mountpoint(name),
		CreatedAt: r.Created.Format(time.RFC3339), Labels: maps.Clone(r.Labels), Options: maps.Clone(r.Options),
	}
}

func (s *Service) mountpoint(name string) string {
	return filepath.Join(s.opt.Root, name, dataDir)
}

// Inspect returns the volume; an absent one is errdefs.ErrNotFound.
func (s *Service) Inspect(_ context.Context, name string) (*volume.Volume, error) {
	s.mu.Lock()
	e := s.volumes[name]
	s.mu.Unlock()
	if e == nil {
		return nil, noSuch(name)
	}
	return s.render(name, e.record), nil
}

func noSuch(name string) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("get %s: no such volume", name))
}

// List gives the volumes that the filters let through, by name.
func (s *Service) List(_ context.Context, f filter.Args) (volume.ListResponse, error) {
	dangling, err := f.Bool("dangling", false)
	if err != nil {
		return volume.ListResponse{}, err
	}
	resp := volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.volumes)) {
		e := s.volumes[name]
		if !f.MatchPattern("name", name) || !f.Match("driver", driverName) || !f.MatchLabels("label", e.Labels) ||
			(f.Has("dangling") && dangling != (len(e.users) == 0)) {
			continue
		}
		resp.Volumes = append(resp.Volumes, *s.render(name, e.record))
	}
	return resp, nil
}

// Remove deletes a volume and its data. One in use is errdefs.ErrConflict; force only forgives an absent one.
func (s *Service) Remove(ctx context.Context, name string, force bool) error {
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	e := s.volumes[name]
	var users []string
	if e != nil {
		users = slices.Sorted(maps.Keys(e.users))
	}
	s.mu.Unlock()
	switch {
	case e == nil && force:
		return nil
	case e == nil:
		return noSuch(name)
	case len(users) > 0:
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("remove %s: volume is in use - [%s]", name, strings.Join(users, ", ")))
	}
	return s.remove(name)
}

// remove runs with the name locked. The rename takes the volume away at once;
// what a crash leaves of it afterwards is known by its name and swept at Open.
func (s *Service) remove(name string) error {
	if err := unmount(s.mountpoint(name)); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	dir := filepath.Join(s.opt.Root, name)
	trash := filepath.Join(s.opt.Root, trashName(name))
	if err := os.Rename(dir, trash); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	// Without its record, a directory that a power cut brings back is adopted.
	err := durable.SyncDir(s.opt.Root)
	if err == nil {
		err = s.bucket.Delete(name)
	}
	if err != nil {
		_ = os.Rename(trash, dir)
		return fmt.Errorf("remove %s: %w", name, err)
	}
	s.mu.Lock()
	delete(s.volumes, name)
	s.mu.Unlock()
	s.publish(events.ActionDestroy, name, map[string]string{"driver": driverName})
	if err := s.discard(trash); err != nil {
		s.opt.Log.Error("a removed volume's data is not all deleted; the next start of the engine goes on with it", "volume", name, "error", err)
	}
	return nil
}

// trashName keeps the volume's name readable as far as a file name's 255 bytes allow.
func trashName(name string) string {
	suffix := "~" + store.NewID()[:12]
	return trashPrefix + name[:min(len(name), 255-len(trashPrefix)-len(suffix))] + suffix
}

// discard deletes a tree. A file marked immutable or append-only is unmarked first.
func (s *Service) discard(dir string) error {
	err := os.RemoveAll(dir)
	if errors.Is(err, unix.EPERM) {
		clearFlags(dir)
		err = os.RemoveAll(dir)
	}
	return err
}

// Prune deletes volumes that no container uses: the anonymous ones, or with the filter all=true any.
func (s *Service) Prune(ctx context.Context, f filter.Args) (volume.PruneReport, error) {
	all, err := f.Bool("all", false)
	if err != nil {
		return volume.PruneReport{}, err
	}
	report := volume.PruneReport{VolumesDeleted: []string{}}
	s.mu.Lock()
	var names []string
	for name, e := range s.volumes {
		_, anonymous := e.Labels[AnonymousLabel]
		if len(e.users) == 0 && (all || anonymous) && f.MatchLabels("label", e.Labels) && !excluded(f, e.Labels) {
			names = append(names, name)
		}
	}
	s.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		size := s.measure(ctx, name)[0]
		switch err := s.Remove(ctx, name, false); {
		case errdefs.IsConflict(err) || errdefs.IsNotFound(err):
			continue // taken or removed since it was chosen
		case err != nil:
			s.opt.Log.Warn("cannot prune a volume", "volume", name, "error", err)
			continue
		}
		report.VolumesDeleted = append(report.VolumesDeleted, name)
		report.SpaceReclaimed += uint64(size)
	}
	s.publish(events.ActionPrune, "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)})
	return report, nil
}

// excluded says whether any of the values under "label!" holds of labels.
func excluded(f filter.Args, labels map[string]string) bool {
	return slices.ContainsFunc(f["label!"], func(v string) bool {
		return filter.Args{"label": {v}}.MatchLabels("label", labels)
	})
}

// Acquire notes that a container uses the volume and returns the host directory
// to bind. It may be called again for the same pair. Where the volume's options
// ask for a mount, it is there when Acquire returns; where that fails the
// container does not become a user.
func (s *Service) Acquire(ctx context.Context, name, containerID string) (string, error) {
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	s.mu.Lock()
	e := s.volumes[name]
	s.mu.Unlock()
	if e == nil {
		return "", noSuch(name)
	}
	dir := s.mountpoint(name)
	m, err := parseMount(e.Options)
	if err != nil {
		return "", fmt.Errorf("volume %s: %w", name, err)
	}
	switch {
	case m == nil:
	case m.plainBind():
		dir = m.device
	default:
		if err := m.mount(ctx, dir); err != nil {
			return "", fmt.Errorf("error while mounting volume '%s': %w", dir, err)
		}
	}
	s.mu.Lock()
	e.users[containerID] = true
	s.mu.Unlock()
	return dir, nil
}

// Release ends a container's use. That it was no user is no error. With the last
// user goes the volume's mount.
func (s *Service) Release(ctx context.Context, name, containerID string) error {
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	e := s.volumes[name]
	last := false
	if e != nil {
		delete(e.users, containerID)
		last = len(e.users) == 0 && len(e.Options) > 0
	}
	s.mu.Unlock()
	if !last {
		return nil
	}
	return unmount(s.mountpoint(name))
}

func (s *Service) publish(action events.Action, name string, attributes map[string]string) {
	if s.opt.Events != nil {
		s.opt.Events(events.Message{Type: events.VolumeEventType, Action: action, Scope: "local",
			Actor: events.Actor{ID: name, Attributes: attributes}})
	}
}
