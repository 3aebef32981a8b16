package stream

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"
)

// Progress is the answer of a long job: one JSON message a line, each sent at
// once. The header goes out with the first message, so that a job that fails
// before it is answered by a status.
type Progress struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	started bool
	err     error
	// Keep, where not nil, says which messages the client gets.
	Keep func(jsonstream.Message) bool
}

// NewProgress makes the answer of one job.
func NewProgress(w http.ResponseWriter) *Progress { return &Progress{w: w} }

// message has, beside today's fields, the one that older clients read an error from.
type message struct {
	jsonstream.Message
	ErrorText string `json:"error,omitempty"`
}

// Send sends one message. It is safe for concurrent use; a client that has
// gone makes it a no-op, the job learns of that from its context.
func (p *Progress) Send(m jsonstream.Message) {
	if p.Keep == nil || m.Error != nil || p.Keep(m) {
		p.send(m)
	}
}

func (p *Progress) send(m jsonstream.Message) {
	out := message{Message: m}
	if m.Error != nil {
		out.ErrorText = m.Error.Message
	}
	line, err := json.Marshal(out)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || p.err != nil {
		return
	}
	if !p.started {
		p.started = true
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	}
	if _, p.err = p.w.Write(append(line, '\r', '\n')); p.err == nil {
		p.err = http.NewResponseController(p.w).Flush()
	}
}

// End finishes the answer: an error before anything was sent is returned, a
// later one becomes the last message.
func (p *Progress) End(err error) error {
	p.mu.Lock()
	started := p.started
	p.mu.Unlock()
	switch {
	case err == nil && !started:
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	case err != nil && !started:
		return err
	case err != nil:
		p.send(jsonstream.Message{Error: &jsonstream.Error{Message: err.Error()}})
	}
	return nil
}
