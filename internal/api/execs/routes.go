package execs

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/api/edge"
	"hoy/internal/api/stream"
	"hoy/internal/request"
)

type router struct{ b Backend }

// Register adds the routes of /exec.
func Register(on edge.Routes, b Backend) {
	rt := router{b}
	on.Handle("POST /containers/{id}/exec", rt.create)
	on.Handle("POST /exec/{id}/start", rt.start)
	on.Handle("POST /exec/{id}/resize", rt.resize)
	on.Handle("GET /exec/{id}/json", rt.inspect)
}

func (rt router) create(w http.ResponseWriter, r *http.Request) error {
	var req container.ExecCreateRequest
	if err := edge.Body(w, r, &req); err != nil {
		return err
	}
	if len(req.Cmd) == 0 {
		return edge.Invalid("No exec command specified")
	}
	if _, err := stream.Keys(req.DetachKeys); err != nil {
		return err
	}
	if edge.Before(r, 42) {
		req.ConsoleSize = nil
	}
	id, err := rt.b.ExecCreate(r.Context(), r.PathValue("id"), &req)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

func (rt router) start(w http.ResponseWriter, r *http.Request) error {
	var body container.ExecStartRequest
	if _, err := edge.OptionalBody(w, r, &body); err != nil {
		return err
	}
	id := r.PathValue("id")
	opt := request.ExecStart{Detach: body.Detach, TTY: body.Tty}
	if body.ConsoleSize != nil {
		if edge.Before(r, 42) || !body.Tty {
			body.ConsoleSize = nil
		}
		opt.ConsoleSize = body.ConsoleSize
	}
	info, err := rt.b.ExecInspect(r.Context(), id)
	if err != nil {
		return err
	}
	keys, err := stream.Keys(string(info.DetachKeys))
	if err != nil {
		return err
	}
	st, err := rt.b.ExecStart(r.Context(), id, opt)
	if err != nil {
		return err
	}
	if body.Detach {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	client, err := stream.Hijack(w, r, stream.ContentType(r, st.TTY))
	if err != nil {
		if st.Conn != nil {
			_ = st.Conn.Close()
		}
		return err
	}
	_ = client.Join(st, info.OpenStdin, keys)
	return nil
}

func (rt router) resize(w http.ResponseWriter, r *http.Request) error {
	h, wd, err := edge.QueryOf(r).Size()
	if err != nil {
		return err
	}
	if err := rt.b.ExecResize(r.Context(), r.PathValue("id"), h, wd); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (rt router) inspect(w http.ResponseWriter, r *http.Request) error {
	info, err := rt.b.ExecInspect(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, info)
}
