package logs

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"sync"
)

// colours are those of the terminal that are readable on light and dark ground.
var colours = []string{"36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1"}

// printer writes whole lines, each behind its container's name where there are several.
type printer struct {
	mu       sync.Mutex
	out, err io.Writer
	prefix   map[string]string
	buf      bytes.Buffer
}

// newPrinter prints for the containers named. One name alone has no prefix.
func newPrinter(out, err io.Writer, names []string, colour bool) *printer {
	p := &printer{out: out, err: err, prefix: map[string]string{}}
	if len(names) == 1 {
		return p
	}
	width := 0
	for _, name := range names {
		width = max(width, len(name)+1)
	}
	chosen := palette(names)
	for _, name := range names {
		p.prefix[name] = fmt.Sprintf("%-*s | ", width, name)
		if colour {
			p.prefix[name] = "\x1b[" + colours[chosen[name]] + "m" + p.prefix[name] + "\x1b[0m"
		}
	}
	return p
}

// palette gives each name the colour that follows from it, so that it has the
// same the next time; where two would share one, the later in the alphabet
// takes the next that is free.
func palette(names []string) map[string]int {
	chosen, taken := map[string]int{}, map[int]bool{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		if _, twice := chosen[name]; twice {
			continue
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(name))
		at := int(h.Sum32() % uint32(len(colours)))
		for len(taken) < len(colours) && taken[at] {
			at = (at + 1) % len(colours)
		}
		chosen[name], taken[at] = at, true
	}
	return chosen
}

// line writes one line; what does not end gets an end where another's may follow.
func (p *printer) line(name string, l line, stamp bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf.Reset()
	p.buf.WriteString(p.prefix[name])
	if stamp && len(l.stamp) > 0 {
		p.buf.Write(l.stamp)
		p.buf.WriteByte(' ')
	}
	p.buf.Write(l.text)
	if !bytes.HasSuffix(l.text, []byte("\n")) && p.prefix[name] != "" {
		p.buf.WriteByte('\n')
	}
	to := p.out
	if l.err {
		to = p.err
	}
	_, err := to.Write(p.buf.Bytes())
	return err
}
