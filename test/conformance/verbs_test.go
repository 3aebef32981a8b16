package conformance

import (
	"strings"
	"testing"
)

// verbList runs an engine's verbs as subtests and notes those that passed.
type verbList struct {
	t      *testing.T
	engine string
}

// passed has the verbs in the order in which they ran, by engine.
var passed = map[string][]string{}

func verbs(t *testing.T, engine string) *verbList { return &verbList{t, engine} }

func (v *verbList) run(verb string, test func(t *testing.T)) {
	v.t.Helper()
	if v.t.Run(strings.ReplaceAll(verb, " ", "_"), test) {
		passed[v.engine] = append(passed[v.engine], verb)
	}
}
