package progress

import (
	"fmt"
	"io"

	"github.com/moby/moby/api/types/jsonstream"
)

// lines is the view for files, pipes and terminals that cannot move their cursor.
type lines struct {
	out  io.Writer
	rows *rows
	// open is set where the last thing written did not end its line.
	open bool
	last string
}

func (l *lines) message(m jsonstream.Message) {
	if m.Stream != "" {
		l.rows = newRows()
		text := cleanLines(m.Stream)
		l.open = text != "" && text[len(text)-1] != '\n'
		_, _ = io.WriteString(l.out, text)
		return
	}
	if m.ID == "" || m.Progress == nil {
		l.rows = newRows()
		l.line(m)
		return
	}
	changed := l.rows.put(m)
	if changed && m.Progress.Current <= 0 && m.Progress.Total <= 0 {
		l.line(m)
	}
}

func (l *lines) line(m jsonstream.Message) {
	l.newline()
	if m.ID != "" {
		_, _ = fmt.Fprintf(l.out, "%s: ", Clean(m.ID))
	}
	_, _ = fmt.Fprintln(l.out, Clean(m.Status))
}

// tick writes how far the jobs are, unless nothing has moved.
func (l *lines) tick() {
	text := l.rows.summary()
	if text == "" || text == l.last {
		return
	}
	l.last = text
	l.newline()
	_, _ = fmt.Fprintln(l.out, text)
}

func (l *lines) newline() {
	if l.open {
		_, _ = fmt.Fprintln(l.out)
		l.open = false
	}
}

func (l *lines) close() { l.newline() }
