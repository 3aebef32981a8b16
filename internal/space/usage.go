package space

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Usage is what all below a data root takes on disk, in bytes. Its parts add
// up to what du(1) says of the root.
type Usage struct {
	// Images are blobs and unpacked layers.
	Images int64
	// Writable are the containers' changes, by id; Own is what else there is of
	// them: logs, records, the directories around their layers.
	Writable, Own map[string]int64
	// Volumes are the volumes' files, by name.
	Volumes map[string]int64
	// Engine is all else: the stores, the events, the reserve, what is being removed.
	Engine int64
	// Stale is how many trees could not be counted in time; AsOf is when the
	// oldest of those was, zero where one never was.
	Stale int
	AsOf  time.Time
}

// Total is the sum.
func (u *Usage) Total() int64 { return u.Images + u.Containers() + sum(u.Volumes) + u.Engine }

// Containers is the sum over containers.
func (u *Usage) Containers() int64 { return sum(u.Writable) + sum(u.Own) }

func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// survey collects the trees of a data root and where their bytes go.
type survey struct {
	usage  Usage
	trees  []Tree
	adders []func(int64)
}

func (s *survey) tree(t Tree, add func(int64)) {
	s.trees, s.adders = append(s.trees, t), append(s.adders, add)
}

func (s *survey) engine(n int64) { s.usage.Engine += n }

func into(m map[string]int64, key string) func(int64) { return func(n int64) { m[key] += n } }

// Usage counts all below root, within about budget. Settled says that no layer
// is being unpacked at the moment: those that are there stay as they are.
func (m *Meter) Usage(ctx context.Context, root string, budget time.Duration, settled func() bool) *Usage {
	s := &survey{usage: Usage{Writable: map[string]int64{}, Own: map[string]int64{}, Volumes: map[string]int64{}}}
	s.engine(Shallow(root))
	for _, name := range dirs(root) {
		dir := filepath.Join(root, name)
		switch name {
		case "image":
			s.images(dir, settled)
		case "containers":
			s.engine(Shallow(dir))
			for _, id := range dirs(dir) {
				s.tree(Tree{Dir: filepath.Join(dir, id)}, into(s.usage.Own, id))
			}
		case "volumes":
			s.volumes(dir)
		default:
			s.tree(Tree{Dir: dir}, s.engine)
		}
	}
	for i, sample := range m.Count(ctx, budget, s.trees...) {
		s.adders[i](sample.Bytes)
		if sample.Current {
			continue
		}
		if s.usage.Stale++; s.usage.Stale == 1 || sample.At.Before(s.usage.AsOf) {
			s.usage.AsOf = sample.At
		}
	}
	known := map[string]bool{}
	for _, t := range s.trees {
		known[t.Dir] = true
	}
	m.Forget(func(dir string) bool { return known[dir] })
	return &s.usage
}

func (s *survey) images(root string, settled func() bool) {
	s.engine(Shallow(root))
	add := func(n int64) { s.usage.Images += n }
	for _, name := range dirs(root) {
		dir := filepath.Join(root, name)
		switch name {
		case "content":
			s.tree(Tree{Dir: dir}, add)
		case "writable":
			s.engine(Shallow(dir))
			for _, id := range dirs(dir) {
				layer := filepath.Join(dir, id)
				s.tree(Tree{Dir: filepath.Join(layer, "fs")}, into(s.usage.Writable, id))
				s.tree(Tree{Dir: layer, Skip: "fs"}, into(s.usage.Own, id))
			}
		case "overlayfs", "native":
			s.engine(Shallow(dir))
			snapshots := filepath.Join(dir, "snapshots")
			s.engine(Shallow(snapshots))
			numbers := dirs(snapshots)
			fixed := settled() // after the list: what is unpacked from now on is not on it
			for _, n := range numbers {
				s.tree(Tree{Dir: filepath.Join(snapshots, n), Fixed: fixed && !strings.HasPrefix(n, "new-")}, add)
			}
		default:
			s.tree(Tree{Dir: dir}, s.engine)
		}
	}
}

func (s *survey) volumes(root string) {
	s.engine(Shallow(root))
	for _, name := range dirs(root) {
		dir := filepath.Join(root, name)
		if strings.HasPrefix(name, ".") {
			s.tree(Tree{Dir: dir}, s.engine) // being removed
			continue
		}
		s.tree(Tree{Dir: dir, Skip: "_data"}, s.engine)
		s.tree(Tree{Dir: filepath.Join(dir, "_data")}, into(s.usage.Volumes, name))
	}
}

// dirs are the names of the directories in one.
func dirs(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}
