package filter

import (
	"testing"

	"github.com/containerd/errdefs"
)

func TestBothForms(t *testing.T) {
	for _, raw := range []string{`{"name":["a","b"]}`, `{"name":{"a":true,"b":true,"c":false}}`} {
		a, err := Parse(raw, "name")
		if err != nil || len(a["name"]) != 2 || !a.Match("name", "b") || a.Match("name", "c") {
			t.Errorf("Parse(%s) = %v, %v", raw, a, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, raw := range []string{`[`, `[]`, `"x"`, `{"nope":["a"]}`, `{"name":3}`, `{"name":[3]}`, `{"name":"a"}`} {
		if _, err := Parse(raw, "name"); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Parse(%s) = %v, want invalid argument", raw, err)
		}
	}
}

func TestMatching(t *testing.T) {
	a := Args{"label": {"a", "b=2"}, "name": {"^web", "db"}, "dangling": {"true"}}
	if !a.MatchLabels("label", map[string]string{"a": "x", "b": "2"}) || a.MatchLabels("label", map[string]string{"a": "x", "b": "3"}) {
		t.Error("labels must all hold")
	}
	if !a.MatchPattern("name", "web1") || !a.MatchPattern("name", "mydb") || a.MatchPattern("name", "myweb") {
		t.Error("patterns are alternatives")
	}
	if v, err := a.Bool("dangling", false); err != nil || !v {
		t.Errorf("Bool = %v, %v", v, err)
	}
	if _, err := (Args{"x": {"maybe"}}).Bool("x", false); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Bool of maybe = %v", err)
	}
	if !Args(nil).Match("name", "x") || !Args(nil).MatchLabels("label", nil) {
		t.Error("no filter must match everything")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"name":["a"]}`)
	f.Add(`{"name":{"a":true}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := Parse(raw, "name")
		if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("Parse(%q) = %v: every refusal must be an invalid argument", raw, err)
		}
		a.MatchPattern("name", "x")
	})
}
