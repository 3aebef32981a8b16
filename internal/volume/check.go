package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"hoy/internal/reconcile"
)

// Check compares records with directories.
func (s *Service) Check(context.Context) (all []reconcile.Finding) {
	dirs, err := os.ReadDir(s.opt.Root)
	if err != nil {
		return []reconcile.Finding{{Kind: "volume", Object: "all", Store: "recorded", Machine: "cannot be listed: " + err.Error()}}
	}
	s.mu.Lock()
	known := make([]string, 0, len(s.volumes))
	for name := range s.volumes {
		if s.busy[name] == nil {
			known = append(known, name)
		}
	}
	s.mu.Unlock()
	slices.Sort(known)
	for _, name := range known {
		if _, err := os.Lstat(s.mountpoint(name)); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "volume", Object: name, Store: s.mountpoint(name), Machine: "not there", Repair: "make it anew, empty",
			Fix: func(ctx context.Context) error { return s.whileOurs(ctx, name, true, s.makeDir) },
		})
	}
	for _, d := range dirs {
		name := d.Name()
		if !d.IsDir() || checkName(name) != nil || s.knows(name) {
			continue
		}
		all = append(all, reconcile.Finding{
			Kind: "volume", Object: name, Store: "no record", Machine: filepath.Join(s.opt.Root, name), Repair: "take it as a volume, or remove it where it is empty",
			Fix: func(ctx context.Context) error { return s.whileOurs(ctx, name, false, s.takeBack) },
		})
	}
	return all
}

// knows says whether a name is a volume's or is being made or removed.
func (s *Service) knows(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.volumes[name] != nil || s.busy[name] != nil
}

// whileOurs calls do with sole right to a name that is or is not a volume's.
func (s *Service) whileOurs(ctx context.Context, name string, known bool, do func(name string) error) error {
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	is := s.volumes[name] != nil
	s.mu.Unlock()
	if is != known {
		return nil
	}
	return do(name)
}

// takeBack makes a volume of a directory that has no record.
func (s *Service) takeBack(name string) error {
	records := map[string]record{}
	if err := s.adopt(name, records); err != nil {
		return err
	}
	r, ok := records[name]
	if !ok {
		return nil // it was empty, and is gone
	}
	if err := s.makeDir(name); err != nil {
		return err
	}
	s.mu.Lock()
	s.volumes[name] = &entry{record: r, users: map[string]bool{}}
	s.mu.Unlock()
	return nil
}
