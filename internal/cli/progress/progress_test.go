package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

// pull is what a daemon sends for an image of two layers.
const pull = `{"status":"Pulling from library/busybox","id":"latest"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Downloading","progressDetail":{"current":1000,"total":2000},"id":"aaaaaaaaaaaa"}
{"status":"Download complete","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Download complete","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pull complete","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pull complete","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Digest: sha256:00"}
{"status":"Status: Downloaded newer image for busybox:latest"}
`

func TestWithoutTerminal(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"pull", pull, `latest: Pulling from library/busybox
aaaaaaaaaaaa: Pulling fs layer
bbbbbbbbbbbb: Pulling fs layer
bbbbbbbbbbbb: Download complete
aaaaaaaaaaaa: Download complete
aaaaaaaaaaaa: Pull complete
bbbbbbbbbbbb: Pull complete
Digest: sha256:00
Status: Downloaded newer image for busybox:latest
`},
		{"load", `{"stream":"Loaded image: a:latest\n"}` + `{"stream":"Loaded image: b:latest\n"}`,
			"Loaded image: a:latest\nLoaded image: b:latest\n"},
		{"unfinished stream line", `{"stream":"one"}{"status":"two"}{"stream":"three"}`, "one\ntwo\nthree\n"},
		{"repeated status", `{"id":"a","status":"Waiting","progressDetail":{}}{"id":"a","status":"Waiting","progressDetail":{}}`, "a: Waiting\n"},
		{"commands to the terminal", `{"status":"a\u001b[2Jb\r\u0007c"}{"stream":"x\u001b]0;y\u0007\nz\n"}`, "a[2Jbc\nx]0;y\nz\n"},
		{"empty", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Display(strings.NewReader(test.in), &out, false, nil, nil); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", out.String(), test.want)
			}
		})
	}
}

func TestTerminalThatCannotMove(t *testing.T) {
	for _, name := range []string{"", "dumb"} {
		t.Setenv("TERM", name)
		var out bytes.Buffer
		if err := Display(strings.NewReader(pull), &out, true, nil, nil); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "\r") {
			t.Errorf("TERM=%q got a command: %q", name, out.String())
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ name, in, want, shown string }{
		{"detail", `{"status":"x"}{"errorDetail":{"message":"toomanyrequests"},"error":"old"}{"status":"never"}`, "toomanyrequests", "x\n"},
		{"only the old field", `{"error":"no such host"}`, "no such host", ""},
		{"cut", `{"status":"x"}{"stat`, "unexpected EOF", "x\n"},
		{"not JSON", `<html>`, "invalid character", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Display(strings.NewReader(test.in), &out, false, nil, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if out.String() != test.shown {
				t.Errorf("shown %q, want %q", out.String(), test.shown)
			}
		})
	}
	var streamed *jsonstream.Error
	err := Display(strings.NewReader(tests[0].in), io.Discard, false, nil, nil)
	if !errors.As(err, &streamed) {
		t.Errorf("%T is not the stream's own error", err)
	}
}

func TestAux(t *testing.T) {
	var got []string
	var out bytes.Buffer
	err := Display(strings.NewReader(`{"aux":{"Tag":"v1"}}{"status":"x"}`), &out, false, nil,
		func(raw json.RawMessage) { got = append(got, string(raw)) })
	if err != nil || len(got) != 1 || got[0] != `{"Tag":"v1"}` || out.String() != "x\n" {
		t.Errorf("aux %q, shown %q, error %v", got, out.String(), err)
	}
	if err := Display(strings.NewReader(`{"aux":1}`), &out, false, nil, nil); err != nil {
		t.Errorf("no taker: %v", err)
	}
}

// feed gives a view messages and ticks in a known order, through show.
func feed(t *testing.T, v view, steps ...string) {
	t.Helper()
	r, w := io.Pipe()
	ticks := make(chan time.Time)
	ended := make(chan error)
	go func() { ended <- show(r, v, ticks, nil) }()
	for _, step := range steps {
		if step == "tick" {
			ticks <- time.Time{}
			continue
		}
		_, _ = io.WriteString(w, step)
		// A message without effect is taken only after the one before it.
		_, _ = io.WriteString(w, `{"aux":0}`)
	}
	_ = w.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestReportsWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	a := `{"status":"Downloading","progressDetail":{"current":1000,"total":2000},"id":"a"}`
	b := `{"status":"Downloading","progressDetail":{"current":500,"total":1000},"id":"b"}`
	c := `{"status":"Extracting","progressDetail":{"current":7,"total":9},"id":"c"}`
	unit := `{"status":"Extracting","progressDetail":{"current":1,"units":"s"},"id":"d"}`
	feed(t, &lines{out: &out, rows: newRows()}, a, b, c, unit, "tick", "tick", `{"status":"done"}`, "tick")
	want := "Downloading 1.5kB/3kB, Extracting 7B/9B\ndone\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// screen is a terminal as far as bars use one.
type screen struct {
	lines    []string
	row, col int
	wrapped  bool
	width    int
}

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for len(text) > 0 {
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, "")
		}
		switch {
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexAny(text, "ABCDJK")
			n := 0
			for _, d := range text[2:end] {
				n = n*10 + int(d-'0')
			}
			switch text[end] {
			case 'A':
				s.row = max(s.row-n, 0)
			case 'K':
				s.lines[s.row] = ""
			case 'J':
				s.lines = append(s.lines[:s.row], "")
			}
			text = text[end+1:]
		case text[0] == '\n':
			s.row, s.col, text = s.row+1, 0, text[1:]
		case text[0] == '\r':
			s.col, text = 0, text[1:]
		default:
			line := s.lines[s.row]
			s.lines[s.row] = line[:min(s.col, len(line))] + text[:1]
			s.col++
			s.wrapped = s.wrapped || s.col >= s.width
			text = text[1:]
		}
	}
	return len(p), nil
}

func (s *screen) text() string { return strings.TrimRight(strings.Join(s.lines, "\n"), "\n") }

func TestBars(t *testing.T) {
	const downloading = `{"status":"Downloading","progressDetail":{"current":1000,"total":4000},"id":"aaaaaaaaaaaa"}`
	const waiting = `{"status":"Waiting","progressDetail":{},"id":"bbbbbbbbbbbb"}`
	tests := []struct {
		name  string
		width int
		want  string
	}{
		{"wide", 120, "aaaaaaaaaaaa: Downloading [" + strings.Repeat("=", 12) + ">" + strings.Repeat(" ", 38) + "] 1kB/4kB\nbbbbbbbbbbbb: Waiting"},
		{"80", 80, "aaaaaaaaaaaa: Downloading [" + strings.Repeat("=", 10) + ">" + strings.Repeat(" ", 32) + "] 1kB/4kB\nbbbbbbbbbbbb: Waiting"},
		{"no room for a bar", 40, "aaaaaaaaaaaa: Downloading 1kB/4kB\nbbbbbbbbbbbb: Waiting"},
		{"cut", 20, "aaaaaaaaaaaa: Downl\nbbbbbbbbbbbb: Waiti"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &screen{width: test.width}
			v := &bars{out: s, rows: newRows(), width: func() int { return test.width }, height: func() int { return 24 }}
			feed(t, v, downloading, "tick", waiting, "tick", "tick")
			if s.text() != test.want || s.wrapped {
				t.Errorf("wrapped %v, got:\n%s\nwant:\n%s", s.wrapped, s.text(), test.want)
			}
		})
	}
}

func TestBarsEndAsPlainText(t *testing.T) {
	s := &screen{width: 80}
	v := &bars{out: s, rows: newRows(), width: func() int { return 80 }, height: func() int { return 24 }}
	var steps []string
	for _, m := range strings.SplitAfter(pull, "\n") {
		steps = append(steps, m, "tick")
	}
	feed(t, v, steps...)
	want := `latest: Pulling from library/busybox
aaaaaaaaaaaa: Pull complete
bbbbbbbbbbbb: Pull complete
Digest: sha256:00
Status: Downloaded newer image for busybox:latest`
	if s.text() != want {
		t.Errorf("got:\n%s\nwant:\n%s", s.text(), want)
	}
}

func TestBarsFitTheHeight(t *testing.T) {
	s := &screen{width: 80}
	v := &bars{out: s, rows: newRows(), width: func() int { return 80 }, height: func() int { return 4 }}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		v.message(jsonstream.Message{ID: id, Status: "Waiting", Progress: &jsonstream.Progress{}})
	}
	v.message(jsonstream.Message{ID: "e", Status: "Downloading", Progress: &jsonstream.Progress{Current: 5}})
	v.tick()
	if want := "e: Downloading 5B\na: Waiting\nand 3 more"; s.text() != want {
		t.Errorf("got:\n%s\nwant:\n%s", s.text(), want)
	}
	v.close()
	if want := "a: Waiting\nb: Waiting\nc: Waiting\nd: Waiting\ne: Downloading 5B"; s.text() != want {
		t.Errorf("at the end:\n%s\nwant:\n%s", s.text(), want)
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "ä": 1, "層層": 4, "e\u0301": 1, "🐳": 2} {
		if got := columns(s); got != want {
			t.Errorf("%q has %d columns, want %d", s, got, want)
		}
	}
	for _, test := range []struct {
		s     string
		width int
		want  string
	}{{"abc", 2, "ab"}, {"層層", 3, "層"}, {"abc", 9, "abc"}, {"e\u0301x", 1, "e\u0301"}} {
		if got := cut(test.s, test.width); got != test.want {
			t.Errorf("cut(%q, %d) = %q", test.s, test.width, got)
		}
	}
}

func TestRemainingTime(t *testing.T) {
	start := time.Unix(1000, 0)
	p := jsonstream.Progress{Current: 25, Total: 100, Start: 1000}
	if got := left(p, start.Add(10*time.Second)); got != 30*time.Second {
		t.Errorf("left %v, want 30s", got)
	}
	if got := left(jsonstream.Progress{Current: 1}, start); got != 0 {
		t.Errorf("unknown total: %v", got)
	}
}

func TestUpload(t *testing.T) {
	s := &screen{width: 60}
	u := NewUpload(strings.NewReader(strings.Repeat("x", 5000)), 10000, s, func() int { return 60 })
	if _, err := io.Copy(io.Discard, u); err != nil {
		t.Fatal(err)
	}
	if got, want := u.line(10000, func() int { return 60 }), "Sending to the daemon ["+strings.Repeat("=", 12)+">"+strings.Repeat(" ", 13)+"] 5kB/10kB"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	u.Stop()
	u.Stop()
	if s.text() != "" {
		t.Errorf("left on the screen: %q", s.text())
	}
}

func FuzzDisplay(f *testing.F) {
	f.Add(pull)
	f.Add(`{"id":"a","progressDetail":{"current":-5,"total":9223372036854775807,"start":-1,"units":"\u001b"}}`)
	f.Add(`{"id":"a","status":"x","progressDetail":{"current":9223372036854775807,"total":1}}`)
	f.Fuzz(func(t *testing.T, in string) {
		var out bytes.Buffer
		_ = Display(strings.NewReader(in), &out, false, nil, nil)
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("a command went through: %q", out.String())
		}
		v := &bars{out: &out, rows: newRows(), width: func() int { return 30 }, height: func() int { return 3 }}
		_ = show(strings.NewReader(in), v, nil, nil)
	})
}
