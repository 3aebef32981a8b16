package system

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"

	"hoy/internal/api/edge"
	"hoy/internal/reconcile"
	"hoy/internal/request"
)

// EventKeys are the filters of GET /events.
var EventKeys = []string{
	"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin",
	"scope", "secret", "service", "type", "volume",
}

type router struct{ b Backend }

// Register adds the routes of this resource.
func Register(on edge.Routes, b Backend) {
	rt := router{b}
	on.Handle("GET /_ping", ping)
	on.Handle("HEAD /_ping", ping)
	on.Handle("GET /info", rt.info)
	on.Handle("GET /version", rt.version)
	on.Handle("GET /events", rt.events)
	on.Handle("GET /system/df", rt.diskUsage)
	on.Handle("GET /hoy/system/check", rt.check)
	on.Handle("POST /hoy/system/check", rt.check)
	on.Handle("GET /hoy/system/space", rt.space)
}

func ping(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Builder-Version", "1")
	h.Set("Swarm", "inactive")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return nil
	}
	_, err := w.Write([]byte("OK"))
	return err
}

func (rt router) info(w http.ResponseWriter, r *http.Request) error {
	info, err := rt.b.Info(r.Context())
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, ageInfo(r, info))
}

// oldInfo has what was taken out of GET /info: in 1.50 and in 1.42.
type oldInfo struct {
	*system.Info
	BridgeNfIptables, BridgeNfIP6tables bool
	KernelMemory, KernelMemoryTCP       *bool `json:",omitempty"`
	ContainerdCommit                    any
	RuncCommit                          any
	InitCommit                          any
}

type oldCommit struct{ ID, Expected string }

func ageInfo(r *http.Request, info *system.Info) any {
	if !edge.Before(r, 50) {
		return info
	}
	cut := *info
	if edge.Before(r, 49) {
		cut.FirewallBackend = nil
	}
	if edge.Before(r, 44) {
		cut.CDISpecDirs = nil
	}
	old := oldInfo{Info: &cut, ContainerdCommit: info.ContainerdCommit, RuncCommit: info.RuncCommit, InitCommit: info.InitCommit}
	if edge.Before(r, 49) {
		old.ContainerdCommit = oldCommit{info.ContainerdCommit.ID, info.ContainerdCommit.ID}
		old.RuncCommit = oldCommit{info.RuncCommit.ID, info.RuncCommit.ID}
		old.InitCommit = oldCommit{info.InitCommit.ID, info.InitCommit.ID}
	}
	if edge.Before(r, 42) {
		no := false
		old.KernelMemory, old.KernelMemoryTCP = &no, &no
	}
	return old
}

func (rt router) version(w http.ResponseWriter, r *http.Request) error {
	v, err := rt.b.Version(r.Context())
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, v)
}

// oldMessage has the fields that an event had until API 1.51.
type oldMessage struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func ageMessage(m events.Message) oldMessage {
	old := oldMessage{Message: m}
	switch m.Type {
	case events.ContainerEventType:
		old.From = m.Actor.Attributes["image"]
		fallthrough
	case events.ImageEventType:
		old.Status, old.ID = string(m.Action), m.Actor.ID
	}
	return old
}

// eventsType is how the client wants events separated: its choice since 1.52.
func eventsType(r *http.Request) string {
	if edge.Before(r, 52) {
		return types.MediaTypeJSON
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		media, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch media {
		case types.MediaTypeJSONSequence, types.MediaTypeNDJSON:
			return media
		case types.MediaTypeJSONLines:
			if !edge.Before(r, 53) {
				return media
			}
		}
	}
	return types.MediaTypeJSON
}

func (rt router) events(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	var opt request.Events
	var err error
	if opt.Since, err = q.Time("since"); err != nil {
		return err
	}
	if opt.Until, err = q.Time("until"); err != nil {
		return err
	}
	if !opt.Until.IsZero() && opt.Until.Before(opt.Since) {
		return edge.Invalid("`since` time (" + q.Get("since") + ") cannot be after `until` time (" + q.Get("until") + ")")
	}
	if opt.Filters, err = q.Filters(EventKeys...); err != nil {
		return err
	}
	kind := eventsType(r)
	messages := rt.b.Events(r.Context(), opt)
	if err := edge.StartStream(w, kind); err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	for m := range messages {
		if kind == types.MediaTypeJSONSequence {
			// RFC 7464: each text begins with a record separator.
			if _, err := w.Write([]byte{0x1e}); err != nil {
				return nil
			}
		}
		var out any = m
		if edge.Before(r, 52) {
			out = ageMessage(m)
		}
		if enc.Encode(out) != nil || http.NewResponseController(w).Flush() != nil {
			return nil // the client has gone
		}
	}
	return nil
}

// check lists the differences between store and machine; POST repairs them.
func (rt router) check(w http.ResponseWriter, r *http.Request) error {
	opt := reconcile.Options{Repair: r.Method == http.MethodPost, Deep: edge.QueryOf(r).Bool("images")}
	return edge.Answer(w, http.StatusOK, rt.b.Check(r.Context(), opt))
}
