package server

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// A daemon that was killed after its request was sent leaves the next one
// everything: the process and the note.
func TestTheNextDaemonIsToldOfEveryStart(t *testing.T) {
	c, dir := dial(t)
	for i := range 20 {
		req := request(string(rune('a'+i)), monitor.Stdio{}, "sleep", "1000")
		req.Log = &log.Config{Driver: "json-file", Path: filepath.Join(dir, "x.log")}
		req.Note = json.RawMessage(`{"number":1}`)
		if i == 0 {
			start(t, c, req)
			continue
		}
		go func() { _, _ = c.Start(t.Context(), req) }()
	}
	_ = c.Close()
	next := redial(t, dir)
	list, err := next.List(t.Context())
	if err != nil || len(list) == 0 {
		t.Fatalf("list %v, %v", list, err)
	}
	for _, p := range list {
		if string(p.Note) != `{"number":1}` {
			t.Errorf("%s: note %s", p.ID.Container, p.Note)
		}
	}
	again, err := next.List(t.Context())
	if err != nil || len(again) != len(list) {
		t.Errorf("%d processes, and a moment later %d, %v", len(list), len(again), err)
	}
}
