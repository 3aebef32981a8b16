// Package undo is a stack of release steps: what was acquired is given back in
// reverse order when a later step fails.
package undo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// limit bounds one whole Run, so that a stuck release cannot hold its caller for ever.
const limit = 30 * time.Second

type step struct {
	name string
	run  func(context.Context) error
}

// Stack holds release steps. The zero value is ready to use; it is not safe for concurrent use.
type Stack struct{ steps []step }

// Push adds a step. The name appears in the error should the step fail.
func (s *Stack) Push(name string, run func(context.Context) error) {
	s.steps = append(s.steps, step{name, run})
}

// Release forgets all steps: the acquisition as a whole has succeeded.
func (s *Stack) Release() { s.steps = nil }

// Run runs all steps, last pushed first, on a context that the caller's
// cancellation does not reach and that ends after 30 s. A failed step does not
// stop the others; the errors are joined. The stack is empty afterwards.
func (s *Stack) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var errs []error
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", s.steps[i].name, err))
		}
	}
	s.steps = nil
	return errors.Join(errs...)
}
