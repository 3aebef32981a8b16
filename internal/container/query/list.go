// Package query answers what containers are and do, from snapshots: it never
// waits for an operation on a container.
package query

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/container/remove"
	"hoy/internal/filter"
	"hoy/internal/request"
)

// FilterKeys are the filters of List.
var FilterKeys = []string{
	"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
	"publish", "since", "status", "volume",
}

// Query reads containers.
type Query struct{ *core.Core }

// List of api/containers.
func (q *Query) List(ctx context.Context, opt request.List) ([]container.Summary, error) {
	m, err := q.matcher(ctx, opt)
	if err != nil {
		return nil, err
	}
	out := []container.Summary{}
	for _, e := range q.Index.All() {
		r := e.Record()
		if !m.match(e, r) {
			continue
		}
		out = append(out, q.summary(e, r))
		if opt.Limit > 0 && len(out) == opt.Limit {
			break
		}
	}
	if opt.Size {
		q.setSizes(ctx, out)
	}
	return out, nil
}

// setSizes fills the sizes of all at once: they are counted side by side.
func (q *Query) setSizes(ctx context.Context, all []container.Summary) {
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	layers := q.Images.SnapshotUsage(ctx, ids...)
	for i := range all {
		s := &all[i]
		s.SizeRw, s.SizeRootFs = layers[i], layers[i]
		e, ok := q.Index.Get(s.ID)
		if !ok {
			continue
		}
		size, err := q.imageSize(ctx, e.Record())
		if err != nil {
			q.Log.Warn("size of a container's image unknown", "container", s.ID, "error", err)
		}
		s.SizeRootFs += size
	}
}

func (q *Query) summary(e *index.Entry, r *record.Record) container.Summary {
	s := container.Summary{
		ID: r.ID, Names: []string{r.Ref()}, Image: r.Config.Image, ImageID: r.Image.ID,
		Command: commandLine(config.Command(r.Config)), Created: r.Created.Unix(),
		Ports: ports(r), Labels: r.Config.Labels, State: r.Visible(), Status: r.Status(q.Now()),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: networks(r)},
		Mounts:          mountPoints(r),
	}
	s.Health = health(e)
	if s.State == container.StateRunning {
		s.Status += healthWords[s.Health.Status]
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if r.Image.Manifest.Digest != "" {
		d := r.Image.Manifest
		s.ImageManifestDescriptor = &d
	}
	s.HostConfig.NetworkMode, s.HostConfig.Annotations = string(r.HostConfig.NetworkMode), r.HostConfig.Annotations
	return s
}

// healthWords are what ps shows behind the time.
var healthWords = map[container.HealthStatus]string{
	container.Starting: " (health: starting)", container.Healthy: " (healthy)", container.Unhealthy: " (unhealthy)",
}

func health(e *index.Entry) *container.HealthSummary {
	h := e.Health()
	if h == nil {
		return &container.HealthSummary{Status: container.NoHealthcheck}
	}
	return &container.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
}

// commandLine quotes arguments that hold spaces, as Docker does.
func commandLine(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	out := slices.Clone(argv)
	for i, a := range out[1:] {
		if strings.Contains(a, " ") {
			out[i+1] = "'" + a + "'"
		}
	}
	return strings.Join(out, " ")
}

func ports(r *record.Record) []container.PortSummary {
	out := []container.PortSummary{}
	if !r.State.Phase.HasProcess() {
		return out
	}
	for p, bindings := range r.Net.Ports {
		if len(bindings) == 0 {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range bindings {
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				continue
			}
			out = append(out, container.PortSummary{IP: b.HostIP, PrivatePort: p.Num(), PublicPort: uint16(n), Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int {
		if a.PrivatePort != b.PrivatePort {
			return int(a.PrivatePort) - int(b.PrivatePort)
		}
		if a.Type != b.Type {
			return strings.Compare(a.Type, b.Type)
		}
		if a.PublicPort != b.PublicPort {
			return int(a.PublicPort) - int(b.PublicPort)
		}
		return a.IP.Compare(b.IP)
	})
	return out
}

// networks are the container's endpoints: live ones while it runs, else what was asked for.
func networks(r *record.Record) map[string]*network.EndpointSettings {
	if len(r.Net.Networks) > 0 {
		return r.Net.Networks
	}
	mode := r.Network()
	if mode == "" || mode.IsContainer() {
		return map[string]*network.EndpointSettings{}
	}
	name := string(mode)
	ep := r.Endpoints[name]
	if ep == nil {
		ep = &network.EndpointSettings{}
	}
	return map[string]*network.EndpointSettings{name: ep}
}

func mountPoints(r *record.Record) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range r.Mounts {
		// What --tmpfs asks for is in the host configuration only, as with Docker.
		if m.Type != mount.TypeTmpfs || m.Spec != nil {
			out = append(out, m.MountPoint)
		}
	}
	return out
}

// matcher is a list request with its filters resolved.
type matcher struct {
	opt           request.List
	f             filter.Args
	before, since *record.Record
	images        []string
	exited        []int
	all           bool
}

func (q *Query) matcher(ctx context.Context, opt request.List) (*matcher, error) {
	f := opt.Filters
	m := &matcher{opt: opt, f: f, all: opt.All || opt.Limit > 0 || f.Has("status") || f.Has("exited") || f.Has("before") || f.Has("since")}
	for key, to := range map[string]**record.Record{"before": &m.before, "since": &m.since} {
		for _, ref := range f[key] {
			e, err := q.Index.Find(ref)
			if err != nil {
				return nil, err
			}
			*to = e.Record()
		}
	}
	for _, s := range f["status"] {
		if err := container.ValidateContainerState(container.ContainerState(s)); err != nil {
			return nil, core.Invalid("%v", err)
		}
	}
	for _, s := range f["health"] {
		if err := container.ValidateHealthStatus(container.HealthStatus(s)); err != nil {
			return nil, core.Invalid("%v", err)
		}
	}
	for _, s := range f["exited"] {
		code, err := strconv.Atoi(s)
		if err != nil {
			return nil, core.Invalid("invalid filter 'exited=%s'", s)
		}
		m.exited = append(m.exited, code)
	}
	if _, err := f.Bool("is-task", false); err != nil {
		return nil, err
	}
	for _, key := range []string{"publish", "expose"} {
		for _, s := range f[key] {
			if _, err := network.ParsePortRange(s); err != nil {
				return nil, core.Invalid("invalid filter '%s=%s': %v", key, s, err)
			}
		}
	}
	for _, ref := range f["ancestor"] {
		m.images = append(m.images, ref)
		if img, err := q.Images.Resolve(ctx, ref, nil); err == nil {
			m.images = append(m.images, img.ID)
		}
	}
	return m, nil
}

func (m *matcher) match(e *index.Entry, r *record.Record) bool {
	f := m.f
	status := r.Visible()
	task, _ := f.Bool("is-task", false)
	switch {
	case !m.all && !r.State.Phase.Active():
	case m.before != nil && !r.Created.Before(m.before.Created):
	case m.since != nil && !r.Created.After(m.since.Created):
	case !f.MatchFunc("status", func(v string) bool { return v == string(status) }):
	case m.exited != nil && (status != container.StateExited || !slices.Contains(m.exited, r.State.ExitCode)):
	case task:
	case !f.MatchFunc("id", func(v string) bool { return strings.HasPrefix(r.ID, v) || strings.Contains(r.ID, v) }):
	case !f.MatchPattern("name", r.Name) && !f.MatchPattern("name", r.Ref()):
	case !remove.MatchLabels(f, r.Config.Labels):
	case !f.MatchFunc("health", func(v string) bool { return v == string(health(e).Status) }):
	case !f.MatchFunc("isolation", func(v string) bool { return v == "default" || v == "" }):
	case m.images != nil && !slices.Contains(m.images, r.Image.ID) && !slices.Contains(m.images, r.Config.Image):
	case !f.MatchFunc("network", func(v string) bool { return onNetwork(r, v) }):
	case !f.MatchFunc("volume", func(v string) bool { return hasVolume(r, v) }):
	case !f.MatchFunc("publish", func(v string) bool { return hasPort(v, r.Net.Ports, true) }):
	case !f.MatchFunc("expose", func(v string) bool { return exposes(r, v) }):
	default:
		return true
	}
	return false
}

func onNetwork(r *record.Record, want string) bool {
	for name, ep := range networks(r) {
		if name == want || ep.NetworkID != "" && strings.HasPrefix(ep.NetworkID, want) {
			return true
		}
	}
	return false
}

func hasVolume(r *record.Record, want string) bool {
	return slices.ContainsFunc(r.Mounts, func(m record.Mount) bool {
		return want == m.Destination || want == m.Name || want == m.Source
	})
}

// hasPort says whether one of ports is in the range; published asks for the host's side.
func hasPort(want string, ports network.PortMap, published bool) bool {
	pr, err := network.ParsePortRange(want)
	if err != nil {
		return false
	}
	for p, bindings := range ports {
		if p.Proto() != pr.Proto() {
			continue
		}
		if !published && p.Num() >= pr.Start() && p.Num() <= pr.End() {
			return true
		}
		for _, b := range bindings {
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if published && err == nil && uint16(n) >= pr.Start() && uint16(n) <= pr.End() {
				return true
			}
		}
	}
	return false
}

func exposes(r *record.Record, want string) bool {
	all := network.PortMap{}
	for p := range r.Config.ExposedPorts {
		all[p] = nil
	}
	for p := range r.HostConfig.PortBindings {
		all[p] = nil
	}
	return hasPort(want, all, false)
}

// imageSize is what a container's image takes unpacked; one that is gone by
// force takes nothing that is known of.
func (q *Query) imageSize(ctx context.Context, r *record.Record) (int64, error) {
	img, err := q.Images.Resolve(ctx, r.Image.ID, &r.Image.Platform)
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return q.Images.ImageSize(ctx, img)
}

// Entry finds a container.
func (q *Query) Entry(ref string) (*index.Entry, error) { return q.Index.Find(ref) }
