package stream

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

// errDetached ends the input when the detach keys were typed.
var errDetached = errors.New("detach keys typed")

// defaultKeys are ctrl-p ctrl-q.
var defaultKeys = []byte{16, 17}

// Keys reads detach keys as people write them, "ctrl-p,ctrl-q" or "a,b,ctrl-@";
// empty is the default.
func Keys(text string) ([]byte, error) {
	if text == "" {
		return defaultKeys, nil
	}
	var keys []byte
	for _, k := range strings.Split(text, ",") {
		if len(k) == 1 {
			keys = append(keys, k[0])
			continue
		}
		c := strings.TrimPrefix(strings.ToLower(k), "ctrl-")
		if len(c) != 1 || !strings.HasPrefix(strings.ToLower(k), "ctrl-") || !strings.Contains("abcdefghijklmnopqrstuvwxyz@[\\]^_", c) {
			return nil, edge.Invalid(fmt.Sprintf("invalid detach keys (%s) provided: unknown key %q; use single characters and ctrl-<a-z@[\\]^_>, separated by commas", text, k))
		}
		keys = append(keys, strings.ToUpper(c)[0]&0x1f)
	}
	return keys, nil
}

// escapeReader passes bytes on until keys appear in them in sequence. A part
// of the sequence is held back until it is known not to be one.
type escapeReader struct {
	in      io.Reader
	keys    []byte
	matched int
	pending []byte
	err     error
}

func (e *escapeReader) Read(p []byte) (int, error) {
	for len(e.pending) == 0 && e.err == nil {
		buf := make([]byte, max(len(p), 1))
		n, err := e.in.Read(buf)
		e.err = err
		e.scan(buf[:n])
		if err != nil && !errors.Is(e.err, errDetached) {
			e.pending = append(e.pending, e.keys[:e.matched]...)
			e.matched = 0
		}
	}
	n := copy(p, e.pending)
	e.pending = e.pending[n:]
	if len(e.pending) > 0 {
		return n, nil
	}
	return n, e.err
}

func (e *escapeReader) scan(in []byte) {
	for _, b := range in {
		if b != e.keys[e.matched] {
			e.pending = append(e.pending, e.keys[:e.matched]...)
			e.matched = 0
		}
		if b != e.keys[e.matched] {
			e.pending = append(e.pending, b)
			continue
		}
		if e.matched++; e.matched == len(e.keys) {
			e.matched, e.err = 0, errDetached
			return
		}
	}
}

// Input copies what a client sends to the process until it ends or the detach
// keys are typed on a terminal; without takesInput it reads and drops.
func Input(from io.Reader, st *request.Stream, takesInput bool, keys []byte) error {
	if !takesInput {
		_, err := io.Copy(io.Discard, from)
		return err
	}
	if st.TTY && len(keys) > 0 {
		from = &escapeReader{in: from, keys: keys}
	}
	_, err := io.Copy(st.Conn, from)
	detached(st, err)
	return err
}

// detached tells who wants to know that the input ended by the detach keys.
func detached(st *request.Stream, err error) {
	if errors.Is(err, errDetached) && st.Detached != nil {
		st.Detached()
	}
}
