// Package api is the Docker Engine API over HTTP: it puts the resources of the
// packages below it under one handler that knows API versions, errors and panics.
package api

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"hoy/internal/api/absent"
	"hoy/internal/api/containers"
	"hoy/internal/api/edge"
	"hoy/internal/api/execs"
	"hoy/internal/api/images"
	"hoy/internal/api/networks"
	"hoy/internal/api/system"
	"hoy/internal/api/volumes"
	"hoy/internal/version"
)

// Options are the engine's rooms, and where to log.
type Options struct {
	Containers containers.Backend
	Execs      execs.Backend
	Images     images.Backend
	Volumes    volumes.Backend
	Networks   networks.Backend
	System     system.Backend
	Log        *slog.Logger
	// Ease, where not nil, makes room on a full disk for a request that frees more.
	Ease func() bool
	// Watchers are told of each call that has a route.
	Watchers []Watcher
}

// Watcher is told of a call when it begins, and with its status when it has
// ended. The request that it returns takes the place of the one it was given.
type Watcher func(route string, r *http.Request) (*http.Request, func(status int))

// New makes the handler of the whole API.
func New(opt Options) http.Handler {
	h := &handler{mux: http.NewServeMux(), log: opt.Log, ease: opt.Ease, watchers: opt.Watchers, server: "hoy/" + version.Version + " (" + runtime.GOOS + ")"}
	containers.Register(h, opt.Containers)
	execs.Register(h, opt.Execs)
	images.Register(h, opt.Images)
	volumes.Register(h, opt.Volumes)
	networks.Register(h, opt.Networks)
	system.Register(h, opt.System)
	absent.Register(h)
	// Every method of every other path: Docker has no 405.
	h.Handle("/", func(http.ResponseWriter, *http.Request) error {
		return errdefs.ErrNotFound.WithMessage("page not found")
	})
	return h
}

type handler struct {
	mux    *http.ServeMux
	log    *slog.Logger
	ease   func() bool
	server string
	// watchers are told of each call, the first first.
	watchers []Watcher
}

// Handle implements [edge.Routes].
func (h *handler) Handle(pattern string, serve edge.Handler) {
	h.mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
		w := rw.(*writer)
		for _, watch := range h.watchers {
			next, done := watch(pattern, r)
			r = next
			defer func() { done(w.outcome()) }()
		}
		err := serve(w, r)
		if err == nil {
			return
		}
		gone := edge.Gone(r, err)
		if w.started {
			if !gone {
				h.log.Warn("answer cut short", "method", r.Method, "path", r.URL.Path, "err", err)
			}
			panic(http.ErrAbortHandler)
		}
		if gone {
			return
		}
		status := edge.Status(err)
		level := slog.LevelDebug
		if status >= http.StatusInternalServerError && status != http.StatusNotImplemented && status != http.StatusServiceUnavailable {
			level = slog.LevelError
		}
		h.log.Log(r.Context(), level, "request refused", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
		edge.Fail(w, err)
	})
}

func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &writer{ResponseWriter: rw}
	defer h.recover(w, r)
	head := w.Header()
	head.Set("Server", h.server)
	head.Set("Api-Version", version.API)
	head.Set("Ostype", runtime.GOOS)
	head.Set("Docker-Experimental", "false")
	if fromPage(r) {
		edge.Fail(w, errdefs.ErrPermissionDenied.WithMessage("requests of web pages are not served without TLS"))
		return
	}
	minor, rest, err := split(r.URL.Path)
	if err == nil {
		_, err = url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			err = edge.Invalid("invalid query: " + err.Error())
		}
	}
	if err != nil {
		edge.Fail(w, err)
		return
	}
	r = r.WithContext(edge.WithVersion(r.Context(), minor))
	if rest != r.URL.Path {
		u := *r.URL
		u.RawPath = strings.TrimPrefix(u.RawPath, strings.TrimSuffix(u.Path, rest))
		u.Path = rest
		r.URL = &u
	}
	if h.ease != nil && frees(r) {
		h.ease()
	}
	h.mux.ServeHTTP(w, r)
}

// frees says whether a request only makes things fewer, which must be possible
// on a full disk.
func frees(r *http.Request) bool {
	if r.Method == http.MethodDelete {
		return true
	}
	return r.Method == http.MethodPost && slices.Contains([]string{"stop", "kill", "prune", "gc"}, path.Base(r.URL.Path))
}

// fromPage says whether a browser sends this for a web page over plain TCP:
// any page can reach the loopback address of whoever looks at it.
func fromPage(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	_, tcp := local.(*net.TCPAddr)
	return tcp && r.TLS == nil && r.Header.Get("Origin") != ""
}

// split takes a version prefix off a path: "/v1.41/info" is 41, "/info".
// Without one the client speaks the newest.
func split(path string) (minor int, rest string, err error) {
	text, isVersion := strings.CutPrefix(path, "/v")
	text, after, found := strings.Cut(text, "/")
	major, low, dotted := strings.Cut(text, ".")
	m, n := number(major), number(low)
	if !isVersion || !found || !dotted || m < 0 || n < 0 {
		return version.APIMinor, path, nil
	}
	switch {
	case m > 1 || m == 1 && n > version.APIMinor:
		return 0, "", edge.Invalid(fmt.Sprintf("client version %s is too new. Maximum supported API version is %s", text, version.API))
	case m < 1 || n < version.MinAPIMinor:
		return 0, "", edge.Invalid(fmt.Sprintf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", text, version.MinAPI))
	}
	return n, "/" + after, nil
}

// number is -1 where text is none.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// recover turns a panic into status 500, where there is still time, and the daemon lives on.
func (h *handler) recover(w *writer, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // net/http cuts the connection and says nothing
	}
	h.log.Error("panic while serving a request", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.started {
		panic(http.ErrAbortHandler)
	}
	edge.Fail(w, fmt.Errorf("internal error: the engine's log has the details"))
}

// writer knows whether anything was sent.
type writer struct {
	http.ResponseWriter
	started bool
	status  int
}

// outcome is the status that was sent; a call that sent nothing at all failed.
func (w *writer) outcome() int {
	switch {
	case w.status != 0:
		return w.status
	case w.started:
		return http.StatusOK
	}
	return http.StatusInternalServerError
}

func (w *writer) WriteHeader(status int) {
	w.started, w.status = true, status
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets [http.ResponseController] flush.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack is here as such because the websocket package asks for it.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.started = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
