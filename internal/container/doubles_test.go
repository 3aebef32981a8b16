package container_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	hoy "hoy/internal/container"
	"hoy/internal/container/deps"
	"hoy/internal/log"
	"hoy/internal/monitor"
	"hoy/internal/request"
	"hoy/internal/runtime"
	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/runtime/userns"
	"hoy/internal/store"
)

// world is all rooms below a container's life, in memory. It outlives services,
// as kernel and monitor outlive the daemon.
type world struct {
	t    testing.TB
	root string
	db   *store.DB
	// duringCommit, where set, is called in each commit.
	duringCommit func()

	mu        sync.Mutex
	snapshots map[string]bool
	attached  map[string]bool
	volumes   map[string]map[string]bool
	groups    map[string]*group
	procs     map[monitor.ProcessID]*proc
	events    []events.Message
	exits     chan monitor.Exit
	nextPid   int
	clock     time.Time
	// faults fail the named step.
	faults map[string]error
	// ignores are signals that processes do not end by.
	ignores map[syscall.Signal]bool
}

type proc struct {
	state monitor.ProcessState
	req   monitor.StartRequest
}

type group struct {
	w      *world
	id     string
	frozen bool
	oom    uint64
}

func newWorld(t testing.TB) *world {
	root := t.TempDir()
	db, err := store.Open(filepath.Join(root, "hoy.db"))
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, root: root, db: db, snapshots: map[string]bool{}, attached: map[string]bool{},
		volumes: map[string]map[string]bool{}, groups: map[string]*group{}, procs: map[monitor.ProcessID]*proc{},
		exits: make(chan monitor.Exit, 4096), nextPid: 1000, clock: time.Now(),
		faults: map[string]error{}, ignores: map[syscall.Signal]bool{},
	}
}

func (w *world) close() {
	w.db.Close()
}

func (w *world) service() *hoy.Service {
	w.mu.Lock()
	w.exits = make(chan monitor.Exit, 4096)
	w.mu.Unlock()
	s, err := hoy.New(w.db, deps.Deps{
		Images: (*images)(w), Networks: (*networks)(w), Volumes: (*volumes)(w), Monitor: (*mon)(w), Cgroups: (*cgroups)(w),
		Seccomp: seccomp{}, Archive: archive{}, Logs: noLogs,
		Top: func(context.Context, []int, string) (container.TopResponse, error) {
			return container.TopResponse{}, nil
		},
		Events: w.event, Told: told, Log: slog.New(slog.DiscardHandler), Now: w.now,
	}, deps.Settings{Root: w.root, Runtime: "/usr/bin/hoy-run", CPUs: 2})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := s.Restore(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(time.Millisecond)
	return w.clock
}

func (w *world) fault(step string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults[step]
}

func (w *world) event(m events.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, m)
}

func (w *world) actions(id string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, m := range w.events {
		if m.Actor.ID == id {
			out = append(out, string(m.Action))
		}
	}
	return out
}

type images world

func (i *images) Resolve(_ context.Context, ref string, _ *ocispec.Platform) (*deps.Image, error) {
	if ref != "busybox" && ref != "volumes" && ref != "sha256:b" {
		return nil, errdefs.ErrNotFound.WithMessage("No such image: " + ref + ":latest")
	}
	img := &deps.Image{ID: "sha256:b", Name: ref, Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	img.Config.Config.Cmd = []string{"sh"}
	img.Config.Config.Env = []string{"PATH=/bin", "FROM=image"}
	if ref == "volumes" {
		img.Config.Config.Volumes = map[string]struct{}{"/data": {}}
	}
	return img, nil
}

func (i *images) Prepare(_ context.Context, key string, _ *deps.Image) error {
	w := (*world)(i)
	if err := w.fault("prepare"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshots[key] = true
	return nil
}

func (i *images) Mounts(_ context.Context, key string) ([]runtime.RootMount, error) {
	w := (*world)(i)
	if err := w.fault("mounts"); err != nil {
		return nil, err
	}
	return []runtime.RootMount{{Type: "bind", Source: key}}, nil
}

func (i *images) RemoveSnapshot(_ context.Context, key string) error {
	w := (*world)(i)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.snapshots, key)
	return nil
}

func (i *images) SnapshotUsage(_ context.Context, keys ...string) []int64 {
	return slices.Repeat([]int64{10}, len(keys))
}
func (i *images) ImageSize(context.Context, *deps.Image) (int64, error) {
	return 100, nil
}
func (i *images) Snapshots(context.Context) ([]string, error) {
	w := (*world)(i)
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for k := range w.snapshots {
		keys = append(keys, k)
	}
	return keys, nil
}
func (i *images) SnapshotChanges(context.Context, string) ([]container.FilesystemChange, error) {
	return nil, nil
}
func (i *images) Commit(context.Context, string, *deps.Image, deps.CommitOptions) (string, error) {
	if during := (*world)(i).duringCommit; during != nil {
		during()
	}
	return "sha256:c", (*world)(i).fault("commit")
}
func (i *images) Driver() string { return "overlayfs" }

type networks world

func (n *networks) Validate(deps.NetRequest) error { return (*world)(n).fault("validate") }

func (n *networks) Attach(_ context.Context, r deps.NetRequest) (*deps.Attachment, error) {
	w := (*world)(n)
	if err := w.fault("attach"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.attached[r.ContainerID] {
		return nil, fmt.Errorf("%s is attached already", r.ContainerID)
	}
	w.attached[r.ContainerID] = true
	return &deps.Attachment{Networks: map[string]*network.EndpointSettings{"bridge": {}}}, nil
}

func (n *networks) Detach(_ context.Context, id string) error {
	w := (*world)(n)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.attached, id)
	return nil
}

func (n *networks) Find(ref string) (string, error) { return ref, nil }

func (n *networks) Unplug(ctx context.Context, r deps.NetRequest) error {
	return n.Detach(ctx, r.ContainerID)
}

func (n *networks) Restore(_ context.Context, held []deps.Held) error {
	w := (*world)(n)
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.attached)
	for _, h := range held {
		w.attached[h.ContainerID] = true
	}
	return nil
}

type volumes world

func (v *volumes) Create(_ context.Context, opt volume.CreateRequest) (*volume.Volume, error) {
	w := (*world)(v)
	if err := w.fault("volume"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if opt.Name == "" {
		opt.Name = store.NewID()
	}
	if w.volumes[opt.Name] == nil {
		w.volumes[opt.Name] = map[string]bool{}
	}
	return &volume.Volume{Name: opt.Name, Driver: "local"}, nil
}

func (v *volumes) Inspect(_ context.Context, name string) (*volume.Volume, error) {
	return &volume.Volume{Name: name}, nil
}

func (v *volumes) Acquire(_ context.Context, name, id string) (string, error) {
	w := (*world)(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.volumes[name] == nil {
		return "", errdefs.ErrNotFound
	}
	w.volumes[name][id] = true
	dir := filepath.Join(w.root, "volumes", name)
	return dir, os.MkdirAll(dir, 0o755)
}

func (v *volumes) Release(_ context.Context, name, id string) error {
	w := (*world)(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.volumes[name], id)
	return nil
}

func (v *volumes) Remove(_ context.Context, name string, _ bool) error {
	w := (*world)(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.volumes[name]) > 0 {
		return errdefs.ErrConflict
	}
	delete(w.volumes, name)
	return nil
}

type mon world

func (m *mon) Start(_ context.Context, req monitor.StartRequest) (monitor.Started, error) {
	w := (*world)(m)
	if err := w.fault("start"); err != nil {
		return monitor.Started{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.procs[req.ID]; p != nil && p.state.Exit == nil {
		return monitor.Started{}, fmt.Errorf("%v runs already", req.ID)
	}
	w.nextPid++
	st := monitor.Started{Pid: w.nextPid, StartTime: uint64(w.nextPid), At: w.clock}
	w.procs[req.ID] = &proc{state: monitor.ProcessState{ID: req.ID, Started: st}, req: req}
	return st, nil
}

// exit ends a process, as the kernel would.
func (w *world) exit(id monitor.ProcessID, code int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.procs[id]
	if p == nil || p.state.Exit != nil {
		return false
	}
	x := monitor.Exit{ID: id, Code: code, At: w.clock}
	p.state.Exit = &x
	w.exits <- x
	return true
}

func (m *mon) Signal(_ context.Context, id monitor.ProcessID, sig syscall.Signal) error {
	w := (*world)(m)
	w.mu.Lock()
	p, ignored := w.procs[id], w.ignores[sig]
	w.mu.Unlock()
	if p == nil || p.state.Exit != nil {
		return errdefs.ErrNotFound
	}
	if sig != 0 && !ignored && sig != syscall.SIGUSR1 && sig != syscall.SIGWINCH {
		w.exit(id, 128+int(sig))
	}
	return nil
}

func (m *mon) Resize(context.Context, monitor.ProcessID, uint32, uint32) error { return nil }

func (m *mon) Attach(context.Context, monitor.AttachRequest) (net.Conn, error) {
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

func (m *mon) List(context.Context) ([]monitor.ProcessState, error) {
	w := (*world)(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []monitor.ProcessState
	for _, p := range w.procs {
		all = append(all, p.state)
	}
	return all, nil
}

func (m *mon) Exits() <-chan monitor.Exit { return m.exits }

func (m *mon) Forget(_ context.Context, id monitor.ProcessID) error {
	w := (*world)(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.procs[id]; p == nil || p.state.Exit == nil {
		return errdefs.ErrNotFound
	}
	delete(w.procs, id)
	return nil
}

type cgroups world

func (c *cgroups) Create(_, id string, _ *specs.LinuxResources) (deps.Group, error) {
	w := (*world)(c)
	if err := w.fault("cgroup"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.groups[id] != nil {
		return nil, errdefs.ErrAlreadyExists
	}
	w.groups[id] = &group{w: w, id: id}
	return w.groups[id], nil
}

func (c *cgroups) Open(_, id string) (deps.Group, error) {
	w := (*world)(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.groups[id]; g != nil {
		return g, nil
	}
	return nil, errdefs.ErrNotFound
}

func (c *cgroups) List() ([]string, error) {
	w := (*world)(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for id := range w.groups {
		ids = append(ids, id)
	}
	return ids, nil
}
func (c *cgroups) Check(string) error     { return nil }
func (c *cgroups) Support() *tree.Support { return nil }
func (c *cgroups) Driver() string         { return "cgroupfs" }
func (c *cgroups) Version() string        { return "1" }

func (g *group) Procs() []string                    { return []string{"/cg/" + g.id} }
func (g *group) Joined()                            {}
func (g *group) Path() string                       { return g.id }
func (g *group) Update(*specs.LinuxResources) error { return g.w.fault("update") }
func (g *group) set(frozen bool) error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.frozen = frozen
	return nil
}
func (g *group) Freeze() error        { return g.set(true) }
func (g *group) Thaw() error          { return g.set(false) }
func (g *group) Pids() ([]int, error) { return nil, nil }
func (g *group) Frozen() (bool, error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.frozen, nil
}
func (g *group) OOMKills() (uint64, error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.oom, nil
}
func (g *group) Kill() error {
	g.w.exit(monitor.ProcessID{Container: g.id}, 137)
	return nil
}
func (g *group) Remove() error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	delete(g.w.groups, g.id)
	return nil
}
func (g *group) Sample(int) (*container.StatsResponse, error) {
	return &container.StatsResponse{}, nil
}

type seccomp struct{}

func (seccomp) Default([]string) (*specs.LinuxSeccomp, error) { return &specs.LinuxSeccomp{}, nil }
func (seccomp) Parse(p string, _ []string) (*specs.LinuxSeccomp, error) {
	if p[0] != '{' {
		return nil, errors.New("not JSON")
	}
	return &specs.LinuxSeccomp{}, nil
}
func (seccomp) Compile(*specs.LinuxSeccomp) ([]byte, error) { return []byte{1}, nil }

type archive struct{}

func (archive) Stat(*os.File, string) (container.PathStat, error) {
	return container.PathStat{}, errdefs.ErrNotFound
}
func (archive) Get(*os.File, string) (container.PathStat, io.ReadCloser, error) {
	return container.PathStat{}, nil, errdefs.ErrNotFound
}
func (archive) Put(*os.File, string, request.PutArchive, *deps.Owner, io.Reader) error { return nil }
func (archive) Owner(*os.File, string) (*deps.Owner, error)                            { return &deps.Owner{}, nil }
func (archive) Export(*os.File, io.Writer) error                                       { return nil }
func (archive) CopyUp(*os.File, string, string) error                                  { return nil }
func (a archive) In(*userns.Map) deps.Archive                                          { return a }
func (archive) MountRoot([]runtime.RootMount, bool) (*os.File, error)                  { return os.Open("/") }

func noLogs(context.Context, log.Config, deps.LogOptions, <-chan struct{}) iter.Seq2[log.Entry, error] {
	return func(func(log.Entry, error) bool) {}
}

// eventually polls for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// check holds what must be true of the world when nothing is under way.
func (w *world) check(t testing.TB, s *hoy.Service) {
	t.Helper()
	list, err := s.List(context.Background(), request.List{All: true})
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known, names := map[string]bool{}, map[string]bool{}
	for _, c := range list {
		known[c.ID] = true
		if names[c.Names[0]] {
			t.Fatalf("two containers are called %s", c.Names[0])
		}
		names[c.Names[0]] = true
		p := w.procs[monitor.ProcessID{Container: c.ID}]
		alive := p != nil && p.state.Exit == nil
		up := c.State == container.StateRunning || c.State == container.StatePaused
		if up != alive || up != w.attached[c.ID] || up != (w.groups[c.ID] != nil) {
			t.Fatalf("container %s is %s; process %v, network %v, cgroup %v", c.Names[0], c.State, alive, w.attached[c.ID], w.groups[c.ID] != nil)
		}
		if up && w.groups[c.ID].frozen != (c.State == container.StatePaused) {
			t.Fatalf("container %s is %s; frozen %v", c.Names[0], c.State, w.groups[c.ID].frozen)
		}
		if !w.snapshots[c.ID] {
			t.Fatalf("container %s has no snapshot", c.Names[0])
		}
	}
	for id := range w.snapshots {
		if !known[id] {
			t.Fatalf("snapshot %s belongs to nobody", id)
		}
	}
	for id := range w.attached {
		if !known[id] {
			t.Fatalf("network attachment %s belongs to nobody", id)
		}
	}
	for id := range w.groups {
		if !known[id] {
			t.Fatalf("cgroup %s belongs to nobody", id)
		}
	}
	dirs, err := os.ReadDir(filepath.Join(w.root, "containers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !known[d.Name()] {
			t.Fatalf("directory %s belongs to nobody", d.Name())
		}
	}
	for name, users := range w.volumes {
		for id := range users {
			if !known[id] {
				t.Fatalf("volume %s is used by %s, which is gone", name, id)
			}
		}
	}
}

func contains(list []string, want ...string) bool {
	i := 0
	for _, have := range list {
		if i < len(want) && have == want[i] {
			i++
		}
	}
	return i == len(want) || slices.Equal(list, want)
}

// told is of a former daemon that told everything.
func told() func(string, events.Action, time.Time) bool {
	return func(string, events.Action, time.Time) bool { return true }
}
