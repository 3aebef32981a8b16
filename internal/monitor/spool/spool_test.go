package spool

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoy/internal/log"
)

func openSpool(t *testing.T, path string) *Spool {
	t.Helper()
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.file.Close() })
	return s
}

// feed is a read that has come to its end.
func feed(s *Slot, text string) {
	s.Read(copy(s.Reading(len(text)), text))
}

// TestKilledAtEachStep leaves a slot as it is at each step, and asks what the
// next monitor writes: with what is in the log already, each byte comes once.
func TestKilledAtEachStep(t *testing.T) {
	at := time.Unix(0, 12345)
	drop := func([]byte) {}
	for _, c := range []struct {
		name    string
		do      func(s *Slot)
		written int
		line    string
		rest    string
	}{
		{"a read that has not begun", func(s *Slot) { s.Reading(5) }, 0, "begun", ""},
		{"a read that has ended unsaid", func(s *Slot) { copy(s.Reading(5), " end\n") }, 0, "begun", " end\n"},
		{"a read that was said", func(s *Slot) { feed(s, " end\n") }, 0, "begun", " end\n"},
		{"nothing written", func(s *Slot) { feed(s, " end\nx\n"); s.Write(at, func([]byte) { panic(s) }) }, 0, "begun", " end\nx\n"},
		{"one record written", func(s *Slot) { feed(s, " end\nx\ny"); s.Write(at, func([]byte) { panic(s) }) }, 1, "", "x\ny"},
		{"all written, unsaid", func(s *Slot) { feed(s, " end\nx\ny"); s.Write(at, func([]byte) { panic(s) }) }, 2, "", "y"},
		{"all written", func(s *Slot) { feed(s, " end\nx\ny"); s.Write(at, drop) }, 0, "y", ""},
		{"a long line", func(s *Slot) { feed(s, strings.Repeat("a", log.MaxLine)); s.Write(at, func([]byte) { panic(s) }) }, 1, "", "aaaaa"},
		{"not flushed", func(s *Slot) { s.Flush(at, func() {}) }, 0, "begun", ""},
		{"flushed", func(s *Slot) { s.Flush(at, func() {}) }, 1, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "spool")
			slot := openSpool(t, path).Take("x", log.Stderr)
			feed(slot, "line\nbegun")
			if !slot.Write(time.Unix(0, 1), drop) {
				t.Fatal("no begun line")
			}
			func() {
				defer func() { _ = recover() }()
				c.do(slot)
			}()
			next := openSpool(t, path)
			if next.Left("x", log.Stdout) != nil || next.Left("y", log.Stderr) != nil {
				t.Error("somebody else's")
			}
			left := next.Left("x", log.Stderr)
			if left == nil {
				t.Fatal("nothing is left")
			}
			line, rest := left.Recover(func(when time.Time) int {
				if !when.Equal(at) {
					t.Errorf("asked for %v", when)
				}
				return c.written
			})
			if string(line) != c.line || string(rest) != c.rest {
				t.Errorf("%q and %q, want %q and %q", line, rest, c.line, c.rest)
			}
		})
	}
}

// TestLongStreams: a begun line that goes on and on moves within its slot, and
// a silent stream has a small one.
func TestLongStreams(t *testing.T) {
	slot := openSpool(t, filepath.Join(t.TempDir(), "spool")).Take("x", log.Stdout)
	var want, got strings.Builder
	for i := range 200 {
		text := strings.Repeat(string(rune('a'+i%26)), 1+i*317%MaxRead)
		if i%3 == 0 {
			text += "\n"
		}
		text = text[:min(len(text), MaxRead)]
		want.WriteString(text)
		feed(slot, text)
		slot.Write(time.Unix(0, int64(i)), func(p []byte) { got.Write(p) })
		slot.Rest()
		if st := slot.state(); slot.taken > 2*step || st.mid-st.start >= log.MaxLine {
			t.Fatalf("%d bytes taken, %+v", slot.taken, st)
		}
		line, _ := slot.Recover(nil)
		if !strings.HasSuffix(want.String(), string(line)) {
			t.Fatalf("begun line %d is not the end of what came", i)
		}
	}
	if got.String() != want.String() {
		t.Error("not what was read")
	}
}

// TestDamagedSpool: whatever the file says, nothing is believed that cannot be.
func TestDamagedSpool(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	noise := make([]byte, 3*stride+100)
	for i := range noise {
		noise[i] = byte(i*i>>3) | 1
	}
	if err := os.WriteFile(path, noise, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, path)
	s.Forget()
	for range 5 {
		slot := s.Take("x", log.Stdout)
		feed(slot, "text\n")
		if slot.Write(time.Unix(0, 1), func([]byte) {}) {
			t.Error("a begun line")
		}
	}
	s.Trim()
}
