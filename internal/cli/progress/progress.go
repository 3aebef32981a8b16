// Package progress shows Docker's JSON message streams (of pull, push, load and
// import) and the sending of a local file to a person: as bars that move in
// place on a terminal, as a few lines anywhere else.
package progress

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

const (
	// redraw bounds how often a terminal is written to.
	redraw = 80 * time.Millisecond
	// report is how often a long job says how far it is where there is no terminal.
	report = 5 * time.Second
)

// view is where messages end up.
type view interface {
	// message takes one message of the stream.
	message(m jsonstream.Message)
	// tick is called regularly, whether or not there were messages.
	tick()
	// close leaves the output at the beginning of a line.
	close()
}

// Display reads the messages of r, a sequence of JSON objects as in the Docker
// API, until its end and shows them on out. An error that the stream carries,
// or that it is not well formed, is returned; what came before is shown.
//
// With terminal set, lines of one job are redrawn in place and never wider than
// width (columns, asked before each drawing as windows change; below 1 means
// unknown). Without it, or where TERM says that the terminal cannot move its
// cursor, each change of status is a line, and a job in progress says how far
// it is every few seconds. Messages with data for programs go to aux, which may
// be nil, and are not shown.
func Display(r io.Reader, out io.Writer, terminal bool, width func() int, aux func(json.RawMessage)) error {
	var v view
	interval := report
	if terminal && movable(os.Getenv("TERM")) {
		v = &bars{out: out, width: width, height: heightOf(out), rows: newRows()}
		interval = redraw
	} else {
		v = &lines{out: out, rows: newRows()}
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	return show(r, v, ticker.C, aux)
}

func movable(term string) bool { return term != "" && term != "dumb" }

type decoded struct {
	message jsonstream.Message
	err     error
}

// show feeds v. Only its own goroutine touches v.
func show(r io.Reader, v view, ticks <-chan time.Time, aux func(json.RawMessage)) error {
	defer v.close()
	messages := make(chan decoded)
	done := make(chan struct{})
	defer close(done)
	go decode(r, messages, done)
	for {
		select {
		case d := <-messages:
			if errors.Is(d.err, io.EOF) {
				return nil
			}
			if d.err != nil {
				return fmt.Errorf("reading the daemon's progress messages: %w", d.err)
			}
			if d.message.Error != nil {
				return d.message.Error
			}
			if d.message.Aux != nil {
				if aux != nil {
					aux(*d.message.Aux)
				}
				continue
			}
			v.message(d.message)
		case <-ticks:
			v.tick()
		}
	}
}

// wire is a message as daemons send it; those before API 1.4x put an error only in "error".
type wire struct {
	jsonstream.Message
	ErrorText string `json:"error"`
}

func decode(r io.Reader, messages chan<- decoded, done <-chan struct{}) {
	dec := json.NewDecoder(r)
	for {
		var w wire
		err := dec.Decode(&w)
		if w.Error == nil && w.ErrorText != "" {
			w.Error = &jsonstream.Error{Message: w.ErrorText}
		}
		select {
		case messages <- decoded{w.Message, err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}
