package logs

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

const stamp = "2026-01-02T03:04:05.000000006Z "

func split(t *testing.T, stamped, frames bool, writes ...string) []line {
	t.Helper()
	var all []line
	p := &splitter{stamped: stamped, frames: frames, emit: func(l line) error { all = append(all, l); return nil }}
	for _, w := range writes {
		if n, err := p.Write([]byte(w)); n != len(w) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSplitter(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, c := range []struct {
		name            string
		stamped, frames bool
		writes          []string
		want            string
	}{
		{"frames", false, true, []string{"a\n", "b\n"}, "a\n|b\n"},
		{"a line of several frames", false, true, []string{"a", "b\n", "c"}, "ab\n|c"},
		{"stamped frames", true, true, []string{stamp + "a\n", stamp + "b\n"}, "a\n|b\n"},
		{"a stamped line of several frames", true, true, []string{stamp + "a", stamp + "b\n"}, "ab\n"},
		{"stamped lines in one frame", true, true, []string{stamp + "a\n" + stamp + "b\n" + stamp + "c", stamp + "d\n" + stamp + "e\n"}, "a\n|b\n|cd\n|e\n"},
		{"a time and nothing else", true, true, []string{stamp, stamp + "a\n"}, "a\n"},
		{"an empty stamped line", true, true, []string{stamp + "\n"}, "\n"},
		{"a terminal", false, false, []string{"a\r", "\nb\r\nc"}, "a\r\n|b\r\n|c"},
		{"a stamped terminal", true, false, []string{stamp[:10], stamp[10:] + "a\r\n" + stamp + "b\r\n"}, "a\r\n|b\r\n"},
		{"no stamp where one was asked for", true, true, []string{"a b\n"}, "a b\n"},
	} {
		var got []string
		for _, l := range split(t, c.stamped, c.frames, c.writes...) {
			got = append(got, string(l.text))
			if c.stamped && c.want != "a b\n" && (!l.at.Equal(at) || string(l.stamp)+" " != stamp) {
				t.Errorf("%s: %v %q", c.name, l.at, l.stamp)
			}
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := split(t, false, true, strings.Repeat("x", 3*maxLine)); len(got) != 1 || len(got[0].text) != 3*maxLine {
		t.Errorf("%d pieces of a line that came at once", len(got))
	}
	if got := split(t, false, true, strings.Repeat("x", maxLine), "yy"); len(got) != 2 {
		t.Errorf("%d pieces of a line that does not end", len(got))
	}
}

func TestWanted(t *testing.T) {
	for _, c := range []struct {
		pattern string
		invert  bool
		text    string
		want    bool
	}{
		{"^err", false, "error\n", true}, {"^err", false, "an error\n", false}, {"^err", true, "an error\n", true},
		{"r$", false, "error\r\n", true}, {"(?i)ERR", false, "error", true},
	} {
		r := &request{pattern: regexp.MustCompile(c.pattern), invert: c.invert}
		if got := r.wanted(line{text: []byte(c.text)}); got != c.want {
			t.Errorf("%q of %q, inverted %v: %v", c.pattern, c.text, c.invert, got)
		}
	}
}

// TestPass wants what is read twice, because a stream went on at a time, to be
// given once.
func TestPass(t *testing.T) {
	var got []string
	s := &source{r: &request{}}
	give := func(at int64, text string) {
		if err := s.pass(line{at: time.Unix(0, at), text: []byte(text)}, func(l line) error { got = append(got, string(l.text)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	give(1, "a")
	give(2, "b")
	give(2, "c")
	s.skip = s.same
	give(2, "b")
	give(2, "c")
	give(2, "d")
	give(3, "e")
	if strings.Join(got, "") != "abcde" {
		t.Errorf("%q", got)
	}
}

func TestColoursAreStable(t *testing.T) {
	names := []string{"web", "db", "cache", "queue", "web"}
	one, other := palette(names), palette([]string{"queue", "cache", "db", "web"})
	seen := map[int]bool{}
	for name, c := range one {
		if other[name] != c || seen[c] {
			t.Errorf("%s has %d and %d", name, c, other[name])
		}
		seen[c] = true
	}
	if alone := palette([]string{"web"}); alone["web"] != one["web"] && len(one) == 4 {
		t.Logf("web gave way to another: %d, alone %d", one["web"], alone["web"])
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = strings.Repeat("x", i+1)
	}
	if got := palette(many); len(got) != 40 {
		t.Errorf("%d names", len(got))
	}
}

func TestPrinter(t *testing.T) {
	var out, errs bytes.Buffer
	l := line{stamp: []byte("T"), text: []byte("hi\n")}
	alone := newPrinter(&out, &errs, []string{"web"}, true)
	_ = alone.line("web", l, false)
	_ = alone.line("web", line{text: []byte("no end")}, false)
	if out.String() != "hi\nno end" {
		t.Errorf("%q", &out)
	}
	out.Reset()
	two := newPrinter(&out, &errs, []string{"web", "longer"}, false)
	_ = two.line("web", l, true)
	_ = two.line("longer", line{text: []byte("no end"), err: true}, false)
	if out.String() != "web     | T hi\n" || errs.String() != "longer  | no end\n" {
		t.Errorf("%q %q", &out, &errs)
	}
	out.Reset()
	_ = newPrinter(&out, &errs, []string{"web", "b"}, true).line("web", l, false)
	if got := out.String(); !strings.HasPrefix(got, "\x1b[3") || !strings.HasSuffix(got, "mweb  | \x1b[0mhi\n") {
		t.Errorf("%q", got)
	}
	failing := newPrinter(broken{}, broken{}, []string{"web"}, false)
	if err := failing.line("web", l, false); err == nil {
		t.Error("a writer that fails")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }
