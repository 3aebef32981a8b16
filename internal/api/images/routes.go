package images

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

type router struct{ b Backend }

// Register adds the routes of /images, /distribution and /auth. Image names
// have slashes, so what follows a name is told by its last part.
func Register(on edge.Routes, b Backend) {
	rt := router{b}
	on.Handle("GET /images/json", rt.list)
	on.Handle("GET /images/get", rt.saveMany)
	on.Handle("GET /images/search", rt.search)
	on.Handle("POST /images/create", rt.create)
	on.Handle("POST /images/load", rt.load)
	on.Handle("POST /images/prune", rt.prune)
	on.Handle("GET /images/{name...}", byVerb(map[string]named{
		"json": rt.inspect, "history": rt.history, "get": rt.saveOne, "attestations": rt.attestations,
	}))
	on.Handle("POST /images/{name...}", byVerb(map[string]named{"push": rt.push, "tag": rt.tag}))
	on.Handle("DELETE /images/{name...}", rt.remove)
	on.Handle("GET /distribution/{name...}", byVerb(map[string]named{"json": rt.distribution}))
	on.Handle("POST /auth", rt.auth)
}

// named answers a request about one image.
type named func(w http.ResponseWriter, r *http.Request, name string) error

func byVerb(verbs map[string]named) edge.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		path := r.PathValue("name")
		i := strings.LastIndexByte(path, '/')
		if i < 1 || verbs[path[i+1:]] == nil {
			return errdefs.ErrNotFound.WithMessage("page not found")
		}
		return verbs[path[i+1:]](w, r, path[:i])
	}
}

func (rt router) history(w http.ResponseWriter, r *http.Request, name string) error {
	p, err := edge.QueryOf(r).JSONPlatform("platform")
	if err != nil {
		return err
	}
	items, err := rt.b.History(r.Context(), name, p)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, edge.List(items))
}

func (rt router) tag(w http.ResponseWriter, r *http.Request, name string) error {
	q := edge.QueryOf(r)
	repo, tag := q.Get("repo"), q.Get("tag")
	if repo == "" {
		return edge.Invalid("tag: parameter repo is missing")
	}
	if err := rt.b.Tag(r.Context(), name, repo, tag); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (rt router) remove(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimSpace(r.PathValue("name"))
	if name == "" {
		return edge.Invalid("image name cannot be blank")
	}
	q := edge.QueryOf(r)
	opt := request.ImageRemove{Force: q.Bool("force"), NoPrune: q.Bool("noprune")}
	if !edge.Before(r, 50) {
		p, err := q.JSONPlatforms("platforms")
		if err != nil {
			return err
		}
		opt.Platforms = p
	}
	gone, err := rt.b.Remove(r.Context(), name, opt)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, edge.List(gone))
}

func (rt router) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := edge.QueryOf(r).Filters("dangling", "label", "label!", "until")
	if err != nil {
		return err
	}
	report, err := rt.b.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, report)
}

func (rt router) search(http.ResponseWriter, *http.Request) error {
	return errdefs.ErrNotImplemented.WithMessage("searching Docker Hub is not implemented in this engine; search on the registry's own page")
}

func (rt router) attestations(_ http.ResponseWriter, _ *http.Request, name string) error {
	return errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("reading attestations of image %s is not implemented in this engine", name))
}
