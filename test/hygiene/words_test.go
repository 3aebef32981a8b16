package hygiene

import (
	"regexp"
	"strings"
	"testing"
)

// stray are marks of unfinished or misplaced work. They are put together here
// so that this file does not contain what it looks for.
var stray = []struct {
	pattern *regexp.Regexp
	reason  string
}{
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`), "finish it or delete it"},
	{regexp.MustCompile(`context\.TO` + `DO\(`), "pass the caller's context"},
	{regexp.MustCompile(`strings\.Contains\(err\.Er` + `ror\(\)`), "decide on an error's class, not its text"},
	{regexp.MustCompile(`exec\.Command(Context)?\(.*"(/bin/)?(ba)?sh` + `"`), "no shell between us and a process"},
}

func TestNoStrayMarks(t *testing.T) {
	for _, name := range goFiles(t) {
		if strings.HasPrefix(name, "test/") {
			continue
		}
		f := parse(t, name)
		for i, line := range strings.Split(f.src, "\n") {
			for _, s := range stray {
				// Tests read what people read: an error's text is their subject.
				if strings.HasSuffix(name, "_test.go") && strings.Contains(s.reason, "class") {
					continue
				}
				if s.pattern.MatchString(line) {
					t.Errorf("%s:%d: %q: %s", name, i+1, strings.TrimSpace(line), s.reason)
				}
			}
		}
	}
}
