package powercut

import (
	"fmt"
	"sync"
	"time"
)

// fact is one step of the work: from begin on it may have happened, from end on
// it was acknowledged, and so must be there after a cut.
type fact struct {
	begin, end int
	at         time.Time
	// key is "image NAME", "container NAME" or "volume NAME"; value its id,
	// empty for what was taken away.
	key, value string
	// content is what the file /own of an image says.
	content string
	// weak: a power cut may bring back what was there before. That something
	// is removed is not synced where only the space would be lost.
	weak bool
}

type facts []fact

// candidates are the values that a key may have after a cut at position at: the
// last that was acknowledged, and those of steps that were under way. Must says
// that it cannot be absent.
func (all facts) candidates(key string, at int) (values map[string]fact, known bool) {
	values = map[string]fact{}
	for _, f := range all {
		switch {
		case f.key != key || f.begin > at:
		case f.end <= at:
			known = true
			if !f.weak {
				values = map[string]fact{}
			}
			values[f.value] = f
		default:
			values[f.value] = f
		}
	}
	if !known {
		values[""] = fact{key: key}
	}
	return values, known
}

func (all facts) keys() []string {
	seen, keys := map[string]bool{}, []string{}
	for _, f := range all {
		if !seen[f.key] {
			seen[f.key] = true
			keys = append(keys, f.key)
		}
	}
	return keys
}

// when tells how far into the work a position is.
func (all facts) when(at int) string {
	for _, f := range all {
		if f.end > at {
			return fmt.Sprintf("%v of work (%s under way)", f.at.Sub(all[0].at).Round(time.Millisecond), f.key)
		}
	}
	return "the whole work"
}

// book collects facts from several workers.
type book struct {
	mu    sync.Mutex
	facts facts
}

func (b *book) add(f ...fact) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.facts = append(b.facts, f...)
}
