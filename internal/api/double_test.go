package api

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/api/containers"
	"hoy/internal/api/execs"
	"hoy/internal/api/images"
	"hoy/internal/api/networks"
	apisystem "hoy/internal/api/system"
	"hoy/internal/api/volumes"
	"hoy/internal/filter"
	"hoy/internal/log"
	"hoy/internal/request"
)

// calls notes what reached the engine.
type calls struct {
	mu   sync.Mutex
	last string
	args []any
	fail error
}

func (c *calls) note(name string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.args = name, args
	return c.fail
}

// doubleContainers is a container room in memory: it knows one container, "web".
type doubleContainers struct {
	containers.Backend
	*calls
	tty     bool
	entries []log.Entry
	// process is the far side of an attachment.
	process func(net.Conn)
	waiting chan container.WaitResponse
}

func (d *doubleContainers) known(ref string) error {
	if ref != "web" {
		return errdefs.ErrNotFound.WithMessage("No such container: " + ref)
	}
	return nil
}

func (d *doubleContainers) Create(_ context.Context, req request.Create) (container.CreateResponse, error) {
	return container.CreateResponse{ID: "abc"}, d.note("create", req)
}

func (d *doubleContainers) Start(_ context.Context, ref string) error {
	if err := d.known(ref); err != nil {
		return err
	}
	return d.note("start", ref)
}

func (d *doubleContainers) Stop(_ context.Context, ref string, opt request.Stop) error {
	return d.note("stop", ref, opt)
}

func (d *doubleContainers) Kill(_ context.Context, ref, signal string) error {
	return d.note("kill", ref, signal)
}

func (d *doubleContainers) Rename(_ context.Context, ref, name string) error {
	return d.note("rename", ref, name)
}

func (d *doubleContainers) Resize(_ context.Context, ref string, h, w uint32) error {
	return d.note("resize", ref, h, w)
}

func (d *doubleContainers) Remove(_ context.Context, ref string, opt request.Remove) error {
	return d.note("remove", ref, opt)
}

func (d *doubleContainers) Update(_ context.Context, ref string, cfg container.UpdateConfig) (container.UpdateResponse, error) {
	return container.UpdateResponse{}, d.note("update", ref, cfg)
}

func (d *doubleContainers) Prune(_ context.Context, f filter.Args) (container.PruneReport, error) {
	return container.PruneReport{}, d.note("prune", f)
}

func (d *doubleContainers) List(_ context.Context, opt request.List) ([]container.Summary, error) {
	return nil, d.note("list", opt)
}

func (d *doubleContainers) Inspect(_ context.Context, ref string, _ bool) (container.InspectResponse, error) {
	if ref == "panic" {
		panic("a bug")
	}
	if err := d.known(ref); err != nil {
		return container.InspectResponse{}, err
	}
	return container.InspectResponse{
		ID: strings.Repeat("ab", 32), Name: "/web", Driver: "overlayfs",
		Config: &container.Config{Image: "x"}, HostConfig: &container.HostConfig{},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			"bridge": {IPAddress: mustAddr("10.1.2.3"), IPPrefixLen: 24, Gateway: mustAddr("10.1.2.1"), Aliases: []string{"w"}},
		}},
	}, nil
}

func (d *doubleContainers) Wait(_ context.Context, ref string, cond container.WaitCondition) (<-chan container.WaitResponse, error) {
	if err := d.known(ref); err != nil {
		return nil, err
	}
	return d.waiting, d.note("wait", cond)
}

func (d *doubleContainers) Stats(_ context.Context, _ string, opt request.Stats, emit func(*container.StatsResponse) error) error {
	if err := d.note("stats", opt); err != nil {
		return err
	}
	for range 2 {
		if err := emit(&container.StatsResponse{Name: "/web"}); err != nil {
			return err
		}
	}
	return nil
}

func (d *doubleContainers) Logs(_ context.Context, ref string, opt request.Logs) (bool, iter.Seq2[log.Entry, error], error) {
	if err := d.known(ref); err != nil {
		return false, nil, err
	}
	return d.tty, func(yield func(log.Entry, error) bool) {
		for _, e := range d.entries {
			if !yield(e, nil) {
				return
			}
		}
	}, d.note("logs", opt)
}

func (d *doubleContainers) Attach(_ context.Context, ref string, opt request.Attach) (*request.Stream, error) {
	if err := d.known(ref); err != nil {
		return nil, err
	}
	near, far := socketpair()
	go d.process(far)
	return &request.Stream{Conn: near, TTY: d.tty}, d.note("attach", opt)
}

func (d *doubleContainers) StatPath(_ context.Context, _, path string) (container.PathStat, error) {
	return container.PathStat{Name: path, Mode: 0o644}, d.note("stat", path)
}

func (d *doubleContainers) GetArchive(_ context.Context, _, path string) (container.PathStat, io.ReadCloser, error) {
	return container.PathStat{Name: path}, io.NopCloser(strings.NewReader("a tar")), d.note("get", path)
}

func (d *doubleContainers) PutArchive(_ context.Context, _, path string, opt request.PutArchive, content io.Reader) error {
	all, _ := io.ReadAll(content)
	return d.note("put", path, opt, string(all))
}

func (d *doubleContainers) Export(_ context.Context, ref string, w io.Writer) error {
	if ref == "half" {
		_, _ = io.WriteString(w, strings.Repeat("x", 100000))
		return fmt.Errorf("the disk broke")
	}
	return d.known(ref)
}

func (d *doubleContainers) Commit(_ context.Context, opt request.Commit) (string, error) {
	return "sha256:1", d.note("commit", opt)
}

type doubleExecs struct {
	execs.Backend
	*calls
	tty     bool
	process func(net.Conn)
	fail    error
}

func (d *doubleExecs) ExecCreate(_ context.Context, ref string, req *container.ExecCreateRequest) (string, error) {
	return "e1", d.note("execCreate", ref, req)
}

func (d *doubleExecs) ExecInspect(_ context.Context, id string) (container.ExecInspectResponse, error) {
	if id != "e1" {
		return container.ExecInspectResponse{}, errdefs.ErrNotFound.WithMessage("No such exec instance: " + id)
	}
	return container.ExecInspectResponse{ID: id, OpenStdin: true}, nil
}

func (d *doubleExecs) ExecStart(_ context.Context, id string, opt request.ExecStart) (*request.Stream, error) {
	if err := d.note("execStart", id, opt); err != nil || d.fail != nil {
		return nil, d.fail
	}
	if opt.Detach {
		return nil, nil
	}
	near, far := socketpair()
	go d.process(far)
	return &request.Stream{Conn: near, TTY: d.tty}, nil
}

type doubleImages struct {
	images.Backend
	*calls
	steps []string
	late  error
}

func (d *doubleImages) List(_ context.Context, opt request.ImageList) ([]*image.Summary, error) {
	return []*image.Summary{{ID: "sha256:1", Size: 7, Containers: 3, Descriptor: &ocispec.Descriptor{}}}, d.note("images", opt)
}

func (d *doubleImages) Inspect(_ context.Context, ref string, p *ocispec.Platform, manifests bool) (*image.InspectResponse, error) {
	return &image.InspectResponse{ID: "sha256:1", Size: 7, Config: &dockerspec.DockerOCIImageConfig{}}, d.note("imageInspect", ref, p, manifests)
}

func (d *doubleImages) Tag(_ context.Context, source, repo, tag string) error {
	return d.note("tag", source, repo, tag)
}

func (d *doubleImages) Remove(_ context.Context, ref string, opt request.ImageRemove) ([]image.DeleteResponse, error) {
	return nil, d.note("imageRemove", ref, opt)
}

func (d *doubleImages) Pull(_ context.Context, ref string, opt request.ImageTransfer, progress request.Progress) error {
	if err := d.note("pull", ref, opt); err != nil {
		return err
	}
	for _, s := range d.steps {
		progress(jsonstream.Message{Status: s})
	}
	return d.late
}

func (d *doubleImages) Push(_ context.Context, ref string, opt request.ImageTransfer, _ request.Progress) error {
	return d.note("push", ref, opt)
}

func (d *doubleImages) Import(_ context.Context, content io.Reader, opt request.ImageImport, _ request.Progress) (string, error) {
	all, _ := io.ReadAll(content)
	return "sha256:2", d.note("import", string(all), opt)
}

func (d *doubleImages) Load(_ context.Context, content io.Reader, _ []ocispec.Platform, progress request.Progress) error {
	progress(jsonstream.Message{Status: "Loading layer"})
	progress(jsonstream.Message{Stream: "Loaded image: x:latest\n"})
	return d.note("load")
}

func (d *doubleImages) Save(_ context.Context, refs []string, _ []ocispec.Platform, w io.Writer) error {
	_, _ = io.WriteString(w, "a tar")
	return d.note("save", refs)
}

func (d *doubleImages) Login(_ context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	return registry.AuthResponse{Status: "Login Succeeded"}, d.note("login", auth)
}

type doubleVolumes struct {
	volumes.Backend
	*calls
}

func (d *doubleVolumes) List(_ context.Context, f filter.Args) (volume.ListResponse, error) {
	return volume.ListResponse{}, d.note("volumes", f)
}

func (d *doubleVolumes) Create(_ context.Context, req volume.CreateRequest) (*volume.Volume, error) {
	return &volume.Volume{Name: req.Name}, d.note("volumeCreate", req)
}

func (d *doubleVolumes) Prune(_ context.Context, f filter.Args) (volume.PruneReport, error) {
	return volume.PruneReport{}, d.note("volumePrune", f)
}

type doubleNetworks struct {
	networks.Backend
	*calls
}

func (d *doubleNetworks) List(_ context.Context, f filter.Args) ([]network.Inspect, error) {
	return []network.Inspect{{Network: network.Network{Name: "bridge"}, Containers: map[string]network.EndpointResource{"abc": {}}}}, d.note("networks", f)
}

func (d *doubleNetworks) Create(context.Context, network.CreateRequest) (network.CreateResponse, error) {
	return network.CreateResponse{}, errdefs.ErrNotImplemented.WithMessage("user-defined networks are not implemented in this engine yet")
}

type doubleSystem struct {
	apisystem.Backend
	*calls
}

func (d *doubleSystem) Info(context.Context) (*system.Info, error) {
	return &system.Info{Name: "host"}, d.note("info")
}

func (d *doubleSystem) Version(context.Context) (system.VersionResponse, error) {
	return system.VersionResponse{Version: "1"}, d.note("version")
}

func (d *doubleSystem) Space(context.Context) (*request.Space, error) {
	return &request.Space{Engine: 5}, d.note("space")
}

func (d *doubleSystem) DiskUsage(_ context.Context, opt request.Usage) (*system.DiskUsage, error) {
	return &system.DiskUsage{ImageUsage: &image.DiskUsage{TotalSize: 7, Items: []image.Summary{{ID: "sha256:1", Size: 7}}}}, d.note("df", opt)
}

func (d *doubleSystem) Events(_ context.Context, opt request.Events) iter.Seq[events.Message] {
	_ = d.note("events", opt)
	return func(yield func(events.Message) bool) {
		yield(events.Message{
			Type: events.ContainerEventType, Action: "start", Time: time.Now().Unix(),
			Actor: events.Actor{ID: "abc", Attributes: map[string]string{"image": "x"}},
		})
	}
}
