package networks

import (
	"net/http"

	"github.com/moby/moby/api/types/network"

	"hoy/internal/api/edge"
)

type router struct{ b Backend }

// Register adds the routes of /networks.
func Register(on edge.Routes, b Backend) {
	rt := router{b}
	on.Handle("GET /networks", rt.list)
	on.Handle("GET /networks/{$}", rt.list)
	on.Handle("POST /networks/create", rt.create)
	on.Handle("POST /networks/prune", rt.prune)
	on.Handle("GET /networks/{id}", rt.inspect)
	on.Handle("DELETE /networks/{id}", rt.remove)
	on.Handle("POST /networks/{id}/connect", rt.connect)
	on.Handle("POST /networks/{id}/disconnect", rt.disconnect)
}

func (rt router) list(w http.ResponseWriter, r *http.Request) error {
	f, err := edge.QueryOf(r).Filters("dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return err
	}
	all, err := rt.b.List(r.Context(), f)
	if err != nil {
		return err
	}
	if edge.Before(r, 28) {
		return edge.Answer(w, http.StatusOK, edge.List(all))
	}
	// Who is attached is told of a single network only.
	bare := make([]summary, len(all))
	for i := range all {
		bare[i] = summary{Network: all[i].Network}
		if edge.Before(r, 52) {
			bare[i].Containers = &struct{}{}
		}
	}
	return edge.Answer(w, http.StatusOK, bare)
}

type summary struct {
	network.Network
	Containers *struct{} `json:",omitempty"`
}

func (rt router) inspect(w http.ResponseWriter, r *http.Request) error {
	n, err := rt.b.Inspect(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if edge.Before(r, 52) {
		n.Status = nil
	}
	return edge.Answer(w, http.StatusOK, n)
}

func (rt router) create(w http.ResponseWriter, r *http.Request) error {
	var req network.CreateRequest
	if err := edge.Body(w, r, &req); err != nil {
		return err
	}
	if req.Name == "" {
		return edge.Invalid("invalid network name: name is empty")
	}
	answer, err := rt.b.Create(r.Context(), req)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusCreated, answer)
}

func (rt router) remove(w http.ResponseWriter, r *http.Request) error {
	if err := rt.b.Remove(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) connect(w http.ResponseWriter, r *http.Request) error {
	var req network.ConnectRequest
	if err := edge.Body(w, r, &req); err != nil {
		return err
	}
	if req.Container == "" {
		return edge.Invalid("field Container is missing")
	}
	if err := rt.b.Connect(r.Context(), r.PathValue("id"), req); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (rt router) disconnect(w http.ResponseWriter, r *http.Request) error {
	var req network.DisconnectRequest
	if err := edge.Body(w, r, &req); err != nil {
		return err
	}
	if req.Container == "" {
		return edge.Invalid("field Container is missing")
	}
	if err := rt.b.Disconnect(r.Context(), r.PathValue("id"), req); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (rt router) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := edge.QueryOf(r).Filters("label", "label!", "until")
	if err != nil {
		return err
	}
	report, err := rt.b.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, report)
}
