package containers

import (
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

type router struct{ b Backend }

// Register adds the routes of /containers and /commit.
func Register(on edge.Routes, b Backend) {
	rt := router{b}
	on.Handle("GET /containers/json", rt.list)
	on.Handle("POST /containers/create", rt.create)
	on.Handle("POST /containers/prune", rt.prune)
	on.Handle("GET /containers/{id}/json", rt.inspect)
	on.Handle("GET /containers/{id}/top", rt.top)
	on.Handle("GET /containers/{id}/logs", rt.logs)
	on.Handle("GET /containers/{id}/changes", rt.changes)
	on.Handle("GET /containers/{id}/export", rt.export)
	on.Handle("GET /containers/{id}/stats", rt.stats)
	on.Handle("POST /containers/{id}/attach", rt.attach)
	on.Handle("GET /containers/{id}/attach/ws", rt.attachWebsocket)
	on.Handle("POST /containers/{id}/resize", rt.resize)
	on.Handle("POST /containers/{id}/start", rt.start)
	on.Handle("POST /containers/{id}/stop", rt.stop)
	on.Handle("POST /containers/{id}/restart", rt.restart)
	on.Handle("POST /containers/{id}/kill", rt.kill)
	on.Handle("POST /containers/{id}/pause", rt.pause)
	on.Handle("POST /containers/{id}/unpause", rt.unpause)
	on.Handle("POST /containers/{id}/rename", rt.rename)
	on.Handle("POST /containers/{id}/update", rt.update)
	on.Handle("POST /containers/{id}/wait", rt.wait)
	on.Handle("DELETE /containers/{id}", rt.remove)
	on.Handle("HEAD /containers/{id}/archive", rt.statArchive)
	on.Handle("GET /containers/{id}/archive", rt.getArchive)
	on.Handle("PUT /containers/{id}/archive", rt.putArchive)
	on.Handle("POST /commit", rt.commit)
}

func ref(r *http.Request) string { return r.PathValue("id") }

// noWeight: a start once carried a host configuration; that any sent now would
// be ignored must be said rather than done. Seven bytes allow for "null" and "{}".
const noWeight = 7

func (rt router) start(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > noWeight || r.ContentLength == -1 {
		return edge.Invalid("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if err := rt.b.Start(r.Context(), ref(r)); err != nil {
		return err
	}
	return edge.Done(w)
}

func stopOptions(r *http.Request) (request.Stop, error) {
	q := edge.QueryOf(r)
	var opt request.Stop
	if !edge.Before(r, 42) {
		opt.Signal = q.Get("signal")
	}
	if q.Get("t") != "" {
		t, err := q.Int("t", 0)
		if err != nil {
			return opt, err
		}
		opt.Timeout = &t
	}
	return opt, nil
}

func (rt router) stop(w http.ResponseWriter, r *http.Request) error {
	opt, err := stopOptions(r)
	if err != nil {
		return err
	}
	if err := rt.b.Stop(r.Context(), ref(r), opt); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) restart(w http.ResponseWriter, r *http.Request) error {
	opt, err := stopOptions(r)
	if err != nil {
		return err
	}
	if err := rt.b.Restart(r.Context(), ref(r), opt); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) kill(w http.ResponseWriter, r *http.Request) error {
	sig := edge.QueryOf(r).Get("signal")
	if sig == "" {
		sig = "SIGKILL"
	}
	if err := rt.b.Kill(r.Context(), ref(r), sig); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) pause(w http.ResponseWriter, r *http.Request) error {
	if err := rt.b.Pause(r.Context(), ref(r)); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) unpause(w http.ResponseWriter, r *http.Request) error {
	if err := rt.b.Unpause(r.Context(), ref(r)); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) rename(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(edge.QueryOf(r).Get("name"), "/")
	if name == "" {
		return edge.Invalid("Neither old nor new names may be empty")
	}
	if err := rt.b.Rename(r.Context(), ref(r), name); err != nil {
		return err
	}
	return edge.Done(w)
}

func (rt router) update(w http.ResponseWriter, r *http.Request) error {
	var cfg container.UpdateConfig
	if err := edge.Body(w, r, &cfg); err != nil {
		return err
	}
	if edge.Before(r, 40) {
		cfg.PidsLimit = nil
	}
	answer, err := rt.b.Update(r.Context(), ref(r), cfg)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, answer)
}

func (rt router) resize(w http.ResponseWriter, r *http.Request) error {
	h, wd, err := edge.QueryOf(r).Size()
	if err != nil {
		return err
	}
	if err := rt.b.Resize(r.Context(), ref(r), h, wd); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (rt router) remove(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	opt := request.Remove{Force: q.Bool("force"), Volumes: q.Bool("v"), Link: q.Bool("link")}
	if err := rt.b.Remove(r.Context(), ref(r), opt); err != nil {
		return err
	}
	return edge.Done(w)
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

func (rt router) commit(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	opt := request.Commit{
		Container: q.Get("container"), Repo: q.Get("repo"), Tag: q.Get("tag"),
		Comment: q.Get("comment"), Author: q.Get("author"),
		Pause: q.Get("pause") == "" || q.Bool("pause"), Changes: q.Values["changes"],
	}
	if opt.Container == "" {
		return edge.Invalid("commit: parameter container is missing")
	}
	var cfg container.Config
	sent, err := edge.OptionalBody(w, r, &cfg)
	if err != nil {
		return err
	}
	if sent {
		opt.Config = &cfg
	}
	id, err := rt.b.Commit(r.Context(), opt)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusCreated, container.CommitResponse{ID: id})
}
