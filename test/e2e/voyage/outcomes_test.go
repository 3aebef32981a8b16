package voyage

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// outcomes are what a client's voyage came to, step by step, without what
// differs from voyage to voyage by its nature: names, ids, ports.
type outcomes struct {
	client string
	steps  []string
}

var (
	longID = regexp.MustCompile(`[0-9a-f]{64}`)
	port   = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

func (o *outcomes) note(what, text string) {
	text = strings.ReplaceAll(text, o.client, "CLIENT")
	text = longID.ReplaceAllString(text, "<64 hex digits>")
	text = port.ReplaceAllString(text, "REGISTRY")
	for line := range strings.Lines(text) {
		o.steps = append(o.steps, what+": "+strings.TrimRight(line, "\n"))
	}
}

// mustEqual fails the test where the two voyages came to different ends.
func (o *outcomes) mustEqual(t *testing.T, first *outcomes) {
	t.Helper()
	for _, s := range o.steps {
		if !slices.Contains(first.steps, s) {
			t.Errorf("only with %s: %s", o.client, s)
		}
	}
	for _, s := range first.steps {
		if !slices.Contains(o.steps, s) {
			t.Errorf("only with %s: %s", first.client, s)
		}
	}
	if !t.Failed() && !slices.Equal(o.steps, first.steps) {
		t.Errorf("%s and %s came to the same outcomes in another order or number", o.client, first.client)
	}
	t.Logf("%d outcomes of %s, the same as with %s", len(o.steps), o.client, first.client)
}
