package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"testing"
)

func TestOnlyWhatStaysIsRepaired(t *testing.T) {
	fixed := map[string]int{}
	look := 0
	l := &Loop{Log: slog.New(slog.DiscardHandler)}
	l.Checks = []Check{func(context.Context) (all []Finding) {
		look++
		add := func(object, machine string, err error) {
			all = append(all, Finding{Kind: "link", Object: object, Machine: machine, Fix: func(context.Context) error { fixed[object]++; return err }})
		}
		if fixed["stays"] == 0 {
			add("stays", "there", nil)
		}
		add("fails", "there", errors.New("busy"))
		add("changes", string(rune('a'+look)), nil)
		if look%2 == 0 {
			add("flickers", "there", nil)
		}
		all = append(all, Finding{Kind: "link", Object: "a person's", Machine: "there"})
		return all
	}}
	l.Told = []Check{func(context.Context) []Finding { return []Finding{{Kind: "file", Object: "x"}} }}
	l.look(t.Context())
	if len(fixed) != 0 {
		t.Errorf("repaired at the first look: %v", fixed)
	}
	for range 3 {
		l.look(t.Context())
	}
	if fixed["stays"] != 1 || fixed["fails"] != 3 || len(fixed) != 2 {
		t.Errorf("repaired: %v", fixed)
	}
	got := l.Check(t.Context(), Options{})
	if len(got) != 3 { // fails, a person's, and the file
		t.Errorf("found by hand: %+v", got)
	}
	fixed["stays"] = 0
	for _, f := range l.Check(t.Context(), Options{Repair: true}) {
		if f.Repaired != (f.Object == "stays") || (f.Error != "") != (f.Object == "fails") {
			t.Errorf("%+v", f)
		}
	}
}
