package images

import (
	"net/http"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"

	"hoy/internal/api/edge"
	"hoy/internal/filter"
	"hoy/internal/request"
)

func (rt router) list(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	f, err := q.Filters("before", "dangling", "label", "reference", "since", "until")
	if err != nil {
		return err
	}
	if old := q.Get("filter"); old != "" && edge.Before(r, 41) {
		if f == nil {
			f = filter.Args{}
		}
		f["reference"] = append(f["reference"], old)
	}
	opt := request.ImageList{
		All: q.Bool("all"), Filters: f,
		SharedSize: !edge.Before(r, 42) && q.Bool("shared-size"),
		Manifests:  !edge.Before(r, 47) && q.Bool("manifests"),
	}
	all, err := rt.b.List(r.Context(), opt)
	if err != nil {
		return err
	}
	if !edge.Before(r, 51) {
		return edge.Answer(w, http.StatusOK, edge.List(all))
	}
	old := make([]oldSummary, len(all))
	for i, s := range all {
		old[i] = ageSummary(r, s)
	}
	return edge.Answer(w, http.StatusOK, old)
}

// oldSummary has the second size that clients before 1.44 read.
type oldSummary struct {
	image.Summary
	VirtualSize int64 `json:",omitempty"`
}

func ageSummary(r *http.Request, s *image.Summary) oldSummary {
	old := oldSummary{Summary: *s}
	old.Containers = -1
	if edge.Before(r, 48) {
		old.Descriptor = nil
	}
	if edge.Before(r, 44) {
		old.VirtualSize = s.Size
	}
	if edge.Before(r, 43) && len(s.RepoTags) == 0 {
		old.RepoTags = []string{"<none>:<none>"}
		if len(s.RepoDigests) == 0 {
			old.RepoDigests = []string{"<none>@<none>"}
		}
	}
	return old
}

func (rt router) inspect(w http.ResponseWriter, r *http.Request, name string) error {
	q := edge.QueryOf(r)
	manifests := !edge.Before(r, 48) && q.Bool("manifests")
	p, err := q.JSONPlatform("platform")
	if err != nil {
		return err
	}
	if edge.Before(r, 49) {
		p = nil
	}
	if manifests && p != nil {
		return edge.Invalid("conflicting options: manifests and platform options cannot both be set")
	}
	img, err := rt.b.Inspect(r.Context(), name, p, manifests)
	if err != nil {
		return err
	}
	if !edge.Before(r, 52) {
		return edge.Answer(w, http.StatusOK, img)
	}
	return edge.Answer(w, http.StatusOK, ageInspect(r, img))
}

// oldInspect is GET /images/{name}/json up to API 1.51: nothing was left out for being empty.
type oldInspect struct {
	*image.InspectResponse
	Parent, Comment, DockerVersion, Author string
	Config                                 any
	Container                              *string           `json:",omitempty"`
	ContainerConfig                        *container.Config `json:",omitempty"`
	VirtualSize                            int64             `json:",omitempty"`
}

// oldConfig is an image's configuration between 1.50 and 1.51.
type oldConfig struct {
	*dockerspec.DockerOCIImageConfig
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	Volumes    map[string]struct{}
	WorkingDir string
	Labels     map[string]string
	OnBuild    []string
}

func ageInspect(r *http.Request, img *image.InspectResponse) any {
	plain := *img
	old := oldInspect{InspectResponse: &plain, Comment: img.Comment, Author: img.Author}
	plain.Identity = nil
	if plain.GraphDriver == nil {
		plain.GraphDriver = &storage.DriverData{Name: "overlayfs"}
	}
	if edge.Before(r, 48) {
		plain.Descriptor = nil
	}
	if edge.Before(r, 44) {
		old.VirtualSize = img.Size
	}
	if edge.Before(r, 45) {
		none := ""
		old.Container, old.ContainerConfig = &none, &container.Config{}
	}
	c := img.Config
	switch {
	case c == nil:
	case edge.Before(r, 50):
		old.Config = fullConfig(c)
	default:
		old.Config = oldConfig{
			DockerOCIImageConfig: c, User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
			Volumes: c.Volumes, WorkingDir: c.WorkingDir, Labels: c.Labels, OnBuild: c.OnBuild,
		}
	}
	return old
}

// fullConfig is an image's configuration before 1.50, when it was shown as a container's.
func fullConfig(c *dockerspec.DockerOCIImageConfig) any {
	full := container.Config{
		User: c.User, Env: c.Env, Cmd: c.Cmd, Healthcheck: c.Healthcheck,
		ArgsEscaped: c.ArgsEscaped, //nolint:staticcheck // what old images say is shown to old clients
		Volumes:     c.Volumes, WorkingDir: c.WorkingDir, Entrypoint: c.Entrypoint,
		Labels: c.Labels, StopSignal: c.StopSignal, Shell: c.Shell,
	}
	ports := make(map[string]struct{}, len(c.ExposedPorts))
	for p := range c.ExposedPorts {
		ports[p] = struct{}{}
	}
	return struct {
		container.Config
		ExposedPorts map[string]struct{} `json:",omitempty"`
		OnBuild      []string
	}{full, ports, c.OnBuild}
}
