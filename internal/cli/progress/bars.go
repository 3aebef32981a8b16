package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/term"
)

const (
	unknownWidth  = 80
	unknownHeight = 24
	// A bar narrower than this says less than the numbers do.
	minBar = 10
	maxBar = 50
)

// bars is the view for terminals: a block of rows at the bottom that is redrawn
// in place, with finished text above it.
type bars struct {
	out    io.Writer
	width  func() int
	height func() int
	rows   *rows
	// drawn is how many lines the block on the screen has; the cursor is below it.
	drawn int
	dirty bool
	open  bool
	now   func() time.Time
}

// heightOf gives the number of lines of the terminal that out, a *cli.Output, is on; asked anew each time.
func heightOf(out io.Writer) func() int {
	f, ok := out.(interface{ FD() uintptr })
	if !ok {
		return func() int { return unknownHeight }
	}
	return func() int {
		if size, err := term.GetWinsize(f.FD()); err == nil && size.Height > 0 {
			return int(size.Height)
		}
		return unknownHeight
	}
}

func (b *bars) message(m jsonstream.Message) {
	switch {
	case m.Stream != "":
		b.finish()
		text := cleanLines(m.Stream)
		b.open = text != "" && text[len(text)-1] != '\n'
		_, _ = io.WriteString(b.out, text)
	case m.ID == "" || m.Progress == nil:
		b.finish()
		text := Clean(m.Status)
		if m.ID != "" {
			text = Clean(m.ID) + ": " + text
		}
		_, _ = fmt.Fprintln(b.out, text)
	default:
		b.rows.put(m)
		b.dirty = true
	}
}

func (b *bars) tick() {
	if b.dirty {
		b.draw(b.height() - 1)
	}
}

// finish draws the block for the last time, all of it however long, and starts a new one.
func (b *bars) finish() {
	if len(b.rows.order) > 0 {
		b.draw(len(b.rows.order))
		b.rows = newRows()
		b.drawn = 0
	}
	if b.open {
		_, _ = fmt.Fprintln(b.out)
		b.open = false
	}
}

func (b *bars) close() { b.finish() }

// draw replaces the block on the screen by one of at most limit lines. More
// rows than that would scroll, and the cursor cannot go back to what has
// scrolled away; then the rows that are through give way first.
func (b *bars) draw(limit int) {
	b.dirty = false
	if b.open {
		_, _ = fmt.Fprintln(b.out)
		b.open = false
	}
	width := unknownWidth
	if b.width != nil {
		if w := b.width(); w > 0 {
			width = w
		}
	}
	text := b.choose(max(limit, 1))
	var s strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&s, "\x1b[%dA", b.drawn)
	}
	for _, line := range text {
		s.WriteString("\r\x1b[2K")
		s.WriteString(line.render(width-1, b.time()))
		s.WriteByte('\n')
	}
	if b.drawn > len(text) {
		s.WriteString("\x1b[J")
	}
	b.drawn = len(text)
	_, _ = io.WriteString(b.out, s.String())
}

func (b *bars) time() time.Time {
	if b.now != nil {
		return b.now()
	}
	return time.Now()
}

type line struct {
	id string
	*row
}

// choose gives the lines to draw, at most limit.
func (b *bars) choose(limit int) []line {
	all := make([]line, 0, len(b.rows.order))
	for _, id := range b.rows.order {
		all = append(all, line{id, b.rows.byID[id]})
	}
	if len(all) <= limit {
		return all
	}
	chosen := make([]line, 0, limit)
	for _, want := range []bool{true, false} {
		for _, l := range all {
			if l.underway() == want && len(chosen) < limit-1 {
				chosen = append(chosen, l)
			}
		}
	}
	more := fmt.Sprintf("and %d more", len(all)-len(chosen))
	return append(chosen, line{row: &row{status: more}})
}

// render gives the line in at most width columns: the bar takes what the rest leaves.
func (l line) render(width int, now time.Time) string {
	text := l.status
	if l.id != "" {
		text = l.id + ": " + text
	}
	numbers := amount(l.progress)
	if l.underway() {
		if rest := left(l.progress, now); rest > 0 {
			numbers += " " + rest.String()
		}
	}
	if l.progress.Total > 0 {
		room := width - columns(text) - len(numbers) - len(" [>] ")
		if room >= minBar {
			text += " " + bar(l.progress, min(room, maxBar))
		}
	}
	if numbers != "" {
		text += " " + numbers
	}
	return cut(text, max(width, 1))
}
