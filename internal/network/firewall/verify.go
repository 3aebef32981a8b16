package firewall

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// Verify says in words how the kernel's table differs from what was made; "" is
// not at all. It costs next to nothing where no table has changed since.
func (t *Table) Verify(ctx context.Context) (wrong string, err error) {
	err = t.do(ctx, request{look: func(state map[key]Forward) (err error) {
		if t.baseline == nil {
			return nil // nothing has been made yet
		}
		if t.watched != nil && !t.watched.news.Swap(false) {
			return nil
		}
		wrong, err = t.compare(state)
		if t.watched != nil && (err != nil || wrong != "") {
			t.watched.news.Store(true) // it is to be looked at again
		}
		return err
	}})
	return wrong, err
}

// Repair makes the table again with what it must hold, where it differs.
func (t *Table) Repair(ctx context.Context) error {
	return t.do(ctx, request{look: func(state map[key]Forward) error {
		if wrong, err := t.compare(state); err != nil || wrong == "" {
			return err
		}
		return t.rebuild(state)
	}})
}

// takeBaseline remembers how the kernel shows what was just made.
func (t *Table) takeBaseline() {
	var err error
	if t.baseline, err = t.listing(); err != nil {
		t.opt.Log.Warn("the firewall table cannot be read back; its rules are not watched", "table", t.opt.Table, "error", err)
	}
}

func (t *Table) compare(state map[key]Forward) (string, error) {
	now, err := t.listing()
	if err != nil {
		return "", err
	}
	if len(now) == 0 {
		return "the table is gone", nil
	}
	if lost := difference(t.baseline, now); lost != "" {
		return "without " + lost, nil
	}
	if more := difference(now, t.baseline); more != "" {
		return "with a strange " + more, nil
	}
	want := map[string]bool{}
	for _, f := range state {
		e := f.element()
		want[fmt.Sprintf("%d %x %x", len(e.Key), e.Key, e.Val)] = true
	}
	got, err := t.listElements()
	if err != nil {
		return "", err
	}
	missing := len(want)
	for _, e := range got {
		if !want[e] {
			return "a published port that no container has", nil
		}
		missing--
	}
	if missing != 0 {
		return fmt.Sprintf("without %d of %d published ports", missing, len(want)), nil
	}
	return "", nil
}

// difference names the first of a that b lacks.
func difference(a, b []string) string {
	for _, x := range a {
		if !slices.Contains(b, x) {
			name, _, _ := strings.Cut(x, ":")
			return name
		}
	}
	return ""
}

// listing shows chains, maps and rules, a text each; none where there is no table.
func (t *Table) listing() ([]string, error) {
	chains, err := list(t, func(c *nftables.Conn) ([]*nftables.Chain, error) {
		return c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	})
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var all []string
	for _, ch := range chains {
		if ch.Table.Name != t.opt.Table {
			continue
		}
		text := fmt.Sprintf("chain %s: %s", ch.Name, ch.Type)
		if ch.Hooknum != nil && ch.Priority != nil {
			text += fmt.Sprintf(" %d %d", *ch.Hooknum, *ch.Priority)
		}
		if ch.Policy != nil {
			text += fmt.Sprintf(" policy %d", *ch.Policy)
		}
		all = append(all, text)
		rules, err := list(t, func(c *nftables.Conn) ([]*nftables.Rule, error) { return c.GetRules(ch.Table, ch) })
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", ch.Name, err)
		}
		for i, r := range rules {
			text := fmt.Sprintf("rule %d of chain %s:", i+1, ch.Name)
			for _, e := range r.Exprs {
				text += fmt.Sprintf(" %T%+v", e, reflect.Indirect(reflect.ValueOf(e)))
			}
			all = append(all, text)
		}
	}
	return all, nil
}

// listElements shows what both maps hold, as compare does.
func (t *Table) listElements() ([]string, error) {
	l := newLayout(t.opt.Table)
	var all []string
	for _, set := range []*nftables.Set{l.bound, l.any} {
		elems, err := list(t, func(c *nftables.Conn) ([]nftables.SetElement, error) {
			known, err := c.GetSetByName(set.Table, set.Name)
			if err != nil {
				return nil, err
			}
			return c.GetSetElements(known)
		})
		if err != nil {
			return nil, fmt.Errorf("list map %s: %w", set.Name, err)
		}
		for _, e := range elems {
			all = append(all, fmt.Sprintf("%d %x %x", len(e.Key), e.Key, e.Val))
		}
	}
	return all, nil
}
