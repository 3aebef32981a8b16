package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
)

// rows is what is known of each job (a layer, mostly) of the stream, in order of appearance.
type rows struct {
	order []string
	byID  map[string]*row
}

type row struct {
	status   string
	progress jsonstream.Progress
}

func newRows() *rows { return &rows{byID: map[string]*row{}} }

// put records m and says whether its status differs from the last one.
func (r *rows) put(m jsonstream.Message) bool {
	id := Clean(m.ID)
	got, ok := r.byID[id]
	if !ok {
		got = &row{}
		r.byID[id] = got
		r.order = append(r.order, id)
	}
	status := Clean(m.Status)
	changed := !ok || got.status != status
	got.status = status
	got.progress = jsonstream.Progress{}
	if m.Progress != nil {
		got.progress = *m.Progress
	}
	return changed
}

// underway says whether the job has begun, can say how far it is and is not through.
func (r *row) underway() bool {
	return r.progress.Current > 0 && (r.progress.Total <= 0 || r.progress.Current < r.progress.Total)
}

// summary says in one line how far the jobs under way are, grouped by what
// they do; empty if none is.
func (r *rows) summary() string {
	type sum struct{ current, total int64 }
	var doing []string
	sums := map[string]*sum{}
	for _, id := range r.order {
		row := r.byID[id]
		if !row.underway() || row.progress.Units != "" {
			continue
		}
		s, ok := sums[row.status]
		if !ok {
			s = &sum{}
			sums[row.status] = s
			doing = append(doing, row.status)
		}
		s.current += row.progress.Current
		s.total += max(row.progress.Total, 0)
	}
	parts := make([]string, 0, len(doing))
	for _, status := range doing {
		s := sums[status]
		parts = append(parts, strings.TrimSpace(status)+" "+amount(jsonstream.Progress{Current: s.current, Total: s.total}))
	}
	return strings.Join(parts, ", ")
}

// amount is how much is done in numbers, as "12.3MB/344MB" or "7/10 files";
// empty where the message has none.
func amount(p jsonstream.Progress) string {
	if p.HideCounts || (p.Current <= 0 && p.Total <= 0) {
		return ""
	}
	one := func(n int64) string {
		if p.Units != "" {
			return fmt.Sprint(n)
		}
		return units.HumanSize(float64(n))
	}
	text := one(p.Current)
	if p.Total > 0 && p.Current <= p.Total {
		text += "/" + one(p.Total)
	}
	if p.Units != "" {
		text += " " + Clean(p.Units)
	}
	return text
}

// left is the time that is still needed at the pace until now; 0 where that is not known.
func left(p jsonstream.Progress, now time.Time) time.Duration {
	if p.Current <= 0 || p.Start <= 0 || p.Total <= p.Current {
		return 0
	}
	spent := now.Sub(time.Unix(p.Start, 0))
	rest := float64(p.Total-p.Current) / float64(p.Current) * spent.Seconds()
	return time.Duration(rest) * time.Second
}

// bar is a bar of n cells between brackets.
func bar(p jsonstream.Progress, n int) string {
	filled := min(int(float64(p.Current)/float64(p.Total)*float64(n)), n)
	if filled < 0 {
		filled = 0
	}
	return "[" + strings.Repeat("=", filled) + ">" + strings.Repeat(" ", n-filled) + "]"
}

// columns is how wide a terminal shows s.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// columnsOf knows the blocks of Unicode that terminals show in two columns
// (UAX #11, East Asian Width W and F) and marks that take none.
func columnsOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case 0x1100 <= r && r <= 0x115f, 0x2e80 <= r && r <= 0xa4cf, 0xac00 <= r && r <= 0xd7a3,
		0xf900 <= r && r <= 0xfaff, 0xfe30 <= r && r <= 0xfe6f, 0xff00 <= r && r <= 0xff60,
		0xffe0 <= r && r <= 0xffe6, 0x1f300 <= r && r <= 0x1faff, 0x20000 <= r && r <= 0x3fffd:
		return 2
	}
	return 1
}

// cut gives as much of s as fits in width columns.
func cut(s string, width int) string {
	for i, r := range s {
		if width -= columnsOf(r); width < 0 {
			return s[:i]
		}
	}
	return s
}

// Clean takes out of a text of a registry's or an image's making what would
// move the cursor or otherwise command the terminal.
func Clean(s string) string {
	bad := func(r rune) bool { return unicode.IsControl(r) && r != '\t' }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return -1
		}
		return r
	}, s)
}

// cleanLines is [Clean] for a text that may be of several lines.
func cleanLines(s string) string {
	parts := strings.Split(s, "\n")
	for i := range parts {
		parts[i] = Clean(parts[i])
	}
	return strings.Join(parts, "\n")
}
