package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"hoy/internal/filter"
	"hoy/internal/store"
)

type fixture struct {
	t      *testing.T
	root   string
	db     *store.DB
	mu     sync.Mutex
	events []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "hoy.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &fixture{t: t, root: filepath.Join(t.TempDir(), "volumes"), db: db}
}

func (f *fixture) open() *Service {
	f.t.Helper()
	s, err := Open(Options{Root: f.root, Store: f.db, Events: func(m events.Message) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, string(m.Action)+" "+m.Actor.ID)
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *fixture) create(s *Service, req volume.CreateRequest) *volume.Volume {
	f.t.Helper()
	v, err := s.Create(f.t.Context(), req)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// dirs lists what is in the root.
func (f *fixture) dirs() []string {
	f.t.Helper()
	list, err := os.ReadDir(f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	var names []string
	for _, d := range list {
		names = append(names, d.Name())
	}
	return names
}

func TestLife(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	v := f.create(s, volume.CreateRequest{Name: "data", Labels: map[string]string{"a": "b"}})
	if v.Driver != "local" || v.Scope != "local" || v.Mountpoint != filepath.Join(f.root, "data/_data") || v.CreatedAt == "" {
		t.Errorf("%+v", v)
	}
	if info, err := os.Stat(v.Mountpoint); err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("mount point: %v, %v", info, err)
	}
	again := f.create(s, volume.CreateRequest{Name: "data", Labels: map[string]string{"other": ""}})
	if again.Labels["a"] != "b" || len(again.Labels) != 1 {
		t.Errorf("a second create changed labels: %v", again.Labels)
	}
	anonymous := f.create(s, volume.CreateRequest{})
	if _, ok := anonymous.Labels[AnonymousLabel]; len(anonymous.Name) != 64 || !ok {
		t.Errorf("anonymous: %+v", anonymous)
	}
	if err := s.Remove(t.Context(), "data", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Inspect(t.Context(), "data"); !errdefs.IsNotFound(err) || err.Error() != "get data: no such volume" {
		t.Errorf("after removal: %v", err)
	}
	if err := s.Remove(t.Context(), "data", false); !errdefs.IsNotFound(err) {
		t.Errorf("removal of an absent one: %v", err)
	}
	if err := s.Remove(t.Context(), "data", true); err != nil {
		t.Errorf("forced: %v", err)
	}
	if got := f.dirs(); !slices.Equal(got, []string{anonymous.Name}) {
		t.Errorf("left on disk: %v", got)
	}
	if want := []string{"create data", "create " + anonymous.Name, "destroy data"}; !slices.Equal(f.events, want) {
		t.Errorf("events %v, want %v", f.events, want)
	}
}

func TestNamesNeverEscape(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	for _, name := range []string{"..", "../x", "/x", "a/b", ".hidden", "a\x00b", "x", "-a", "a b", "é!", strings.Repeat("a", 256)} {
		if _, err := s.Create(t.Context(), volume.CreateRequest{Name: name}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(f.dirs()) != 0 {
		t.Errorf("left on disk: %v", f.dirs())
	}
	f.create(s, volume.CreateRequest{Name: strings.Repeat("a", 255)})
	if err := s.Remove(t.Context(), strings.Repeat("a", 255), false); err != nil {
		t.Error(err)
	}
	if _, err := s.Create(t.Context(), volume.CreateRequest{Name: "ab", Driver: "nfs"}); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), `plugin "nfs" not found`) {
		t.Errorf("other driver: %v", err)
	}
}

func TestUse(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	v := f.create(s, volume.CreateRequest{Name: "data"})
	for _, id := range []string{"c2", "c1", "c1"} {
		if dir, err := s.Acquire(t.Context(), "data", id); err != nil || dir != v.Mountpoint {
			t.Fatal(dir, err)
		}
	}
	if err := s.Remove(t.Context(), "data", true); !errdefs.IsConflict(err) || err.Error() != "remove data: volume is in use - [c1, c2]" {
		t.Errorf("removal in use: %v", err)
	}
	dangling := func(v string) int {
		r, err := s.List(t.Context(), filter.Args{"dangling": {v}})
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Volumes)
	}
	if dangling("true") != 0 || dangling("false") != 1 {
		t.Error("dangling is wrong for a volume in use")
	}
	for range 2 {
		for _, id := range []string{"c1", "c2"} {
			if err := s.Release(t.Context(), "data", id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if dangling("true") != 1 || dangling("false") != 0 {
		t.Error("dangling is wrong for a volume not in use")
	}
	if err := s.Remove(t.Context(), "data", false); err != nil {
		t.Error(err)
	}
	if _, err := s.Acquire(t.Context(), "data", "c1"); !errdefs.IsNotFound(err) {
		t.Errorf("use of an absent one: %v", err)
	}
}

func TestPrune(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	anonymous := f.create(s, volume.CreateRequest{})
	used := f.create(s, volume.CreateRequest{})
	f.create(s, volume.CreateRequest{Name: "named", Labels: map[string]string{"keep": "yes"}})
	f.create(s, volume.CreateRequest{Name: "plain"})
	if _, err := s.Acquire(t.Context(), used.Name, "c"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(anonymous.Mountpoint, "f"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args filter.Args
		want []string
	}{
		{filter.Args{"label": {"no"}}, []string{}},
		{nil, []string{anonymous.Name}},
		{filter.Args{"all": {"true"}, "label!": {"keep=yes"}}, []string{"plain"}},
		{filter.Args{"all": {"1"}}, []string{"named"}},
	} {
		r, err := s.Prune(t.Context(), c.args)
		if err != nil || !slices.Equal(r.VolumesDeleted, c.want) {
			t.Errorf("%v: %v, %v; want %v", c.args, r.VolumesDeleted, err, c.want)
		}
		if c.args == nil && r.SpaceReclaimed < 1<<20 {
			t.Errorf("reclaimed %d", r.SpaceReclaimed)
		}
	}
	if got := f.dirs(); !slices.Equal(got, []string{used.Name}) {
		t.Errorf("left: %v", got)
	}
}

func TestDiskUsageCountsEachFileOnce(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	v := f.create(s, volume.CreateRequest{Name: "data"})
	file := filepath.Join(v.Mountpoint, "f")
	if err := errors.Join(os.WriteFile(file, make([]byte, 1<<20), 0o600), os.Link(file, file+"2"), os.Symlink("/", file+"3")); err != nil {
		t.Fatal(err)
	}
	du, err := s.DiskUsage(t.Context())
	if err != nil || du.TotalCount != 1 || du.TotalSize < 1<<20 || du.TotalSize > 1<<20+64<<10 || du.Reclaimable != du.TotalSize {
		t.Errorf("%+v, %v", du, err)
	}
	if _, err := s.Acquire(t.Context(), "data", "c"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"4", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	du2, err := s.DiskUsage(t.Context())
	if err != nil || du2.TotalSize < 2<<20 || du2.ActiveCount != 1 || du2.Items[0].UsageData.RefCount != 1 || du2.Reclaimable != 0 {
		t.Errorf("%+v, %v", du2, err)
	}
}

func TestTornStates(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	f.create(s, volume.CreateRequest{Name: "whole", Labels: map[string]string{"a": "b"}})
	f.create(s, volume.CreateRequest{Name: "nodir"})
	f.create(s, volume.CreateRequest{Name: "halfremoved"})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.RemoveAll(filepath.Join(f.root, "nodir")))
	check(os.Rename(filepath.Join(f.root, "halfremoved"), filepath.Join(f.root, trashName("halfremoved"))))
	check(os.MkdirAll(filepath.Join(f.root, "halfmade/_data"), 0o755))
	check(os.MkdirAll(filepath.Join(f.root, "norecord/_data/sub"), 0o755))
	check(os.WriteFile(filepath.Join(f.root, "stray"), nil, 0o644))

	s = f.open()
	list, err := s.List(t.Context(), nil)
	check(err)
	var names []string
	for _, v := range list.Volumes {
		names = append(names, v.Name)
		if info, err := os.Stat(v.Mountpoint); err != nil || !info.IsDir() {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	if want := []string{"nodir", "norecord", "whole"}; !slices.Equal(names, want) {
		t.Errorf("volumes %v, want %v", names, want)
	}
	if want := []string{"nodir", "norecord", "stray", "whole"}; !slices.Equal(f.dirs(), want) {
		t.Errorf("on disk %v, want %v", f.dirs(), want)
	}
	if v, _ := s.Inspect(t.Context(), "whole"); v.Labels["a"] != "b" {
		t.Errorf("labels lost: %+v", v)
	}
	if _, err := os.Stat(filepath.Join(f.root, "norecord/_data/sub")); err != nil {
		t.Error("data without a record was thrown away")
	}
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		opts map[string]string
		want string
	}{
		"unknown":       {map[string]string{"colour": "red"}, `invalid option: "colour"`},
		"no device":     {map[string]string{"type": "tmpfs"}, `missing required option: "device"`},
		"no type":       {map[string]string{"device": "/x"}, `missing required option: "type"`},
		"quota":         {map[string]string{"size": "1g"}, "no quota support"},
		"relative bind": {map[string]string{"type": "none", "o": "bind", "device": "x"}, "must be an absolute path"},
		"bind option":   {map[string]string{"type": "none", "o": "bind,size=1", "device": "/x"}, "invalid option for a bind mount"},
	} {
		if _, err := parseMount(c.opts); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	m, err := parseMount(map[string]string{"type": "nfs", "device": ":/export", "o": "addr=192.0.2.1,rw,nolock,noexec"})
	if err != nil || m.flags != unix.MS_NOEXEC || !slices.Equal(m.data, []string{"addr=192.0.2.1", "nolock"}) {
		t.Errorf("nfs: %+v, %v", m, err)
	}
}

func TestMountedVolumes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	f := newFixture(t)
	s := f.open()
	tmp := f.create(s, volume.CreateRequest{Name: "ram", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,noexec"}})
	t.Cleanup(func() { _ = unmount(tmp.Mountpoint) })
	isTmpfs := func() bool {
		var st unix.Statfs_t
		return unix.Statfs(tmp.Mountpoint, &st) == nil && st.Type == unix.TMPFS_MAGIC && st.Flags&unix.ST_NOEXEC != 0 && int64(st.Blocks)*st.Bsize == 1<<20
	}
	for _, id := range []string{"c1", "c2"} {
		if _, err := s.Acquire(t.Context(), "ram", id); err != nil {
			t.Fatal(err)
		}
	}
	if !isTmpfs() {
		t.Error("not mounted as asked")
	}
	s = f.open() // the engine is restarted and takes its users back
	for _, id := range []string{"c1", "c2"} {
		if _, err := s.Acquire(t.Context(), "ram", id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Release(t.Context(), "ram", "c1"); err != nil || !isTmpfs() {
		t.Errorf("unmounted while in use: %v", err)
	}
	if err := s.Release(t.Context(), "ram", "c2"); err != nil || isTmpfs() {
		t.Errorf("mounted after the last use: %v", err)
	}

	src := t.TempDir()
	f.create(s, volume.CreateRequest{Name: "bound", DriverOpts: map[string]string{"type": "none", "device": src, "o": "bind"}})
	if dir, err := s.Acquire(t.Context(), "bound", "c"); err != nil || dir != src {
		t.Errorf("bind: %s, %v", dir, err)
	}
	bad := f.create(s, volume.CreateRequest{Name: "bad", DriverOpts: map[string]string{"type": "nosuchfs", "device": "x"}})
	if _, err := s.Acquire(t.Context(), "bad", "c"); err == nil || !strings.Contains(err.Error(), "error while mounting volume '"+bad.Mountpoint) {
		t.Errorf("bad file system: %v", err)
	}
	if err := s.Remove(t.Context(), "bad", false); err != nil {
		t.Errorf("a failed use holds the volume: %v", err)
	}
}

func TestParallelCreateAndRemove(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			name := fmt.Sprintf("v%d", i%4)
			if _, err := s.Create(t.Context(), volume.CreateRequest{Name: name}); err != nil {
				t.Error(err)
			}
			if err := s.Remove(t.Context(), name, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(f.dirs()) != 0 {
		t.Errorf("left: %v", f.dirs())
	}
}
