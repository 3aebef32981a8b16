package transfer

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"

	"hoy/internal/request"
)

// interval is the least time between two progress messages about one layer.
const interval = 100 * time.Millisecond

// reporter sends what a person watching sees, in Docker's words.
type reporter struct {
	send request.Progress

	mu   sync.Mutex
	last map[string]time.Time
}

func newReporter(send request.Progress) *reporter {
	if send == nil {
		send = func(jsonstream.Message) {}
	}
	return &reporter{send: send, last: map[string]time.Time{}}
}

func shortID(d digest.Digest) string {
	enc := d.Encoded()
	return enc[:min(12, len(enc))]
}

func (r *reporter) status(id, status string) {
	r.send(jsonstream.Message{ID: id, Status: status, Progress: &jsonstream.Progress{}})
}

func statusWithID(status, id string) jsonstream.Message {
	return jsonstream.Message{Status: status, ID: id}
}

func (r *reporter) line(status string) { r.send(jsonstream.Message{Status: status}) }

// bytes reports how far a layer is; most calls within the interval say nothing.
func (r *reporter) bytes(id, status string, current, total int64) {
	r.mu.Lock()
	now := time.Now()
	if current < total && now.Sub(r.last[id+status]) < interval {
		r.mu.Unlock()
		return
	}
	r.last[id+status] = now
	r.mu.Unlock()
	r.send(jsonstream.Message{ID: id, Status: status, Progress: &jsonstream.Progress{Current: current, Total: total}})
}

func (r *reporter) aux(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		return
	}
	msg := json.RawMessage(raw)
	r.send(jsonstream.Message{Aux: &msg})
}

// knownBy is a tag or a digest as the messages show it.
func knownBy(ref string) string {
	if i := strings.LastIndexByte(ref, '@'); i >= 0 {
		return ref[i+1:]
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[i+1:]
	}
	return ref
}
