package volumes

import (
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"

	"hoy/internal/api/edge"
	"hoy/internal/filter"
)

type router struct{ b Backend }

// Register adds the routes of /volumes.
func Register(on edge.Routes, b Backend) {
	rt := router{b}
	on.Handle("GET /volumes", rt.list)
	on.Handle("POST /volumes/create", rt.create)
	on.Handle("POST /volumes/prune", rt.prune)
	on.Handle("GET /volumes/{name}", rt.inspect)
	on.Handle("PUT /volumes/{name}", rt.update)
	on.Handle("DELETE /volumes/{name}", rt.remove)
}

func (rt router) list(w http.ResponseWriter, r *http.Request) error {
	f, err := edge.QueryOf(r).Filters("dangling", "driver", "label", "name")
	if err != nil {
		return err
	}
	all, err := rt.b.List(r.Context(), f)
	if err != nil {
		return err
	}
	all.Volumes = edge.List(all.Volumes)
	return edge.Answer(w, http.StatusOK, all)
}

func (rt router) inspect(w http.ResponseWriter, r *http.Request) error {
	v, err := rt.b.Inspect(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, v)
}

func (rt router) create(w http.ResponseWriter, r *http.Request) error {
	var req volume.CreateRequest
	if _, err := edge.OptionalBody(w, r, &req); err != nil {
		return err
	}
	if req.ClusterVolumeSpec != nil {
		return noCluster
	}
	v, err := rt.b.Create(r.Context(), req)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusCreated, v)
}

var noCluster = errdefs.ErrNotImplemented.WithMessage("cluster volumes need swarm mode, which this engine does not have")

func (rt router) update(http.ResponseWriter, *http.Request) error { return noCluster }

func (rt router) remove(w http.ResponseWriter, r *http.Request) error {
	force := edge.QueryOf(r).Bool("force")
	if err := rt.b.Remove(r.Context(), r.PathValue("name"), force); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := edge.QueryOf(r).Filters("all", "label", "label!")
	if err != nil {
		return err
	}
	if edge.Before(r, 42) && !f.Has("all") {
		// Only anonymous volumes are pruned since 1.42; before it was all.
		if f == nil {
			f = filter.Args{}
		}
		f["all"] = []string{"true"}
	}
	report, err := rt.b.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, report)
}
