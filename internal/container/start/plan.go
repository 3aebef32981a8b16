// Package start brings a container to life: it plans the steps as data, runs
// them, and undoes them when one fails.
package start

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"hoy/internal/undo"
)

// Step is one thing to do. Steps of one stage do not depend on each other and
// run side by side; a stage starts when the one before it has succeeded.
type Step struct {
	Stage int
	Name  string
	// Detail is what the step works on.
	Detail string
	Do     func(ctx context.Context) error
	// Undo, where not nil, takes back what Do has done; UndoName says it in words.
	UndoName string
	Undo     func(ctx context.Context) error
}

// Plan is the steps in order of their stages.
type Plan []Step

// String is the plan as text, a line a step.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p {
		fmt.Fprintf(&b, "%d %-8s %s", s.Stage, s.Name, s.Detail)
		if s.UndoName != "" {
			fmt.Fprintf(&b, " | undo: %s", s.UndoName)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Run runs the plan. Where a step fails, the ones that succeeded are undone in
// reverse order and its error is returned; the errors of the undoing go to report.
func (p Plan) Run(ctx context.Context, report func(error)) error {
	var stack undo.Stack
	for len(p) > 0 {
		n := 1
		for n < len(p) && p[n].Stage == p[0].Stage {
			n++
		}
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i, s := range p[:n-1] {
			wg.Go(func() { errs[i] = s.Do(ctx) })
		}
		// The last one, often the only one, needs no goroutine.
		errs[n-1] = p[n-1].Do(ctx)
		wg.Wait()
		var failed error
		for i, s := range p[:n] {
			switch {
			case errs[i] != nil && failed == nil:
				failed = errs[i]
			case errs[i] == nil && s.Undo != nil:
				stack.Push(s.UndoName, s.Undo)
			}
		}
		if failed != nil {
			if err := stack.Run(ctx); err != nil {
				report(err)
			}
			return failed
		}
		p = p[n:]
	}
	return nil
}
