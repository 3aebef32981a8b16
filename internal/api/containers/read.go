package containers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/api/edge"
	"hoy/internal/api/stream"
	"hoy/internal/request"
)

// filterKeys are those of GET /containers/json.
var filterKeys = []string{
	"ancestor", "before", "expose", "exited", "health", "id", "is-task", "isolation",
	"label", "name", "network", "publish", "since", "status", "volume",
}

func (rt router) list(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	f, err := q.Filters(filterKeys...)
	if err != nil {
		return err
	}
	limit, err := q.Int("limit", 0)
	if err != nil {
		return err
	}
	all, err := rt.b.List(r.Context(), request.List{All: q.Bool("all"), Size: q.Bool("size"), Limit: max(limit, 0), Filters: f})
	if err != nil {
		return err
	}
	if edge.Before(r, 48) {
		for i := range all {
			all[i].ImageManifestDescriptor = nil
		}
	}
	return edge.Answer(w, http.StatusOK, edge.List(all))
}

func (rt router) inspect(w http.ResponseWriter, r *http.Request) error {
	c, err := rt.b.Inspect(r.Context(), ref(r), edge.QueryOf(r).Bool("size"))
	if err != nil {
		return err
	}
	if !edge.Before(r, 52) {
		return edge.Answer(w, http.StatusOK, c)
	}
	return edge.Answer(w, http.StatusOK, ageInspect(r, c))
}

func (rt router) top(w http.ResponseWriter, r *http.Request) error {
	top, err := rt.b.Top(r.Context(), ref(r), edge.QueryOf(r).Get("ps_args"))
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, top)
}

func (rt router) changes(w http.ResponseWriter, r *http.Request) error {
	all, err := rt.b.Changes(r.Context(), ref(r))
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, all)
}

// wait answers in two parts: the header when the waiting has begun, so that
// the client can start the container and miss nothing, and the result.
func (rt router) wait(w http.ResponseWriter, r *http.Request) error {
	cond := container.WaitConditionNotRunning
	if !edge.Before(r, 30) {
		switch c := container.WaitCondition(edge.QueryOf(r).Get("condition")); c {
		case "", container.WaitConditionNotRunning:
		case container.WaitConditionNextExit, container.WaitConditionRemoved:
			cond = c
		default:
			return edge.Invalid(fmt.Sprintf("invalid condition: %q", c))
		}
	}
	answers, err := rt.b.Wait(r.Context(), ref(r), cond)
	if err != nil {
		return err
	}
	if err := edge.StartStream(w, "application/json"); err != nil {
		return err
	}
	select {
	case a := <-answers:
		if edge.Before(r, 34) {
			a.Error = nil
		}
		return json.NewEncoder(w).Encode(a)
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

func (rt router) stats(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	opt := request.Stats{Stream: q.BoolOr("stream", true), OneShot: !edge.Before(r, 41) && q.Bool("one-shot")}
	if opt.Stream && opt.OneShot {
		return edge.Invalid("cannot have stream=true and one-shot=true")
	}
	var line bytes.Buffer
	return rt.b.Stats(r.Context(), ref(r), opt, func(s *container.StatsResponse) error {
		line.Reset()
		if err := json.NewEncoder(&line).Encode(s); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(line.Bytes()); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	})
}

// mergeHeader, with any value, asks for log frames that hold several lines:
// fewer, so that reading them takes half the time.
const mergeHeader = "X-Hoy-Merge-Logs"

func (rt router) logs(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	opt := request.Logs{Stdout: q.Bool("stdout"), Stderr: q.Bool("stderr"), Follow: q.Bool("follow"), Tail: -1}
	if !opt.Stdout && !opt.Stderr {
		return edge.Invalid("Bad parameters: you must choose at least one stream")
	}
	var err error
	if opt.Since, err = q.Time("since"); err != nil {
		return err
	}
	if !edge.Before(r, 35) {
		if opt.Until, err = q.Time("until"); err != nil {
			return err
		}
	}
	// What is no number is all, as ever.
	if n, err := strconv.Atoi(q.Get("tail")); err == nil && n >= 0 {
		opt.Tail = n
	}
	tty, entries, err := rt.b.Logs(r.Context(), ref(r), opt)
	if err != nil {
		return err
	}
	if err := edge.StartStream(w, stream.ContentType(r, tty)); err != nil {
		return err
	}
	f := stream.LogFormat{TTY: tty, Merge: r.Header.Get(mergeHeader) != "", Timestamps: q.Bool("timestamps"), Details: q.Bool("details")}
	err = stream.Logs(w, f, entries)
	if err == nil || edge.Gone(r, err) {
		return nil
	}
	// The status has gone out: the reader of the log gets the reason in it.
	if tty {
		_, err = fmt.Fprintf(w, "Error grabbing logs: %v\r\n", err)
		return err
	}
	_, err = fmt.Fprintf(stream.Frames{To: w, Stderr: true}, "Error grabbing logs: %v\n", err)
	return err
}
