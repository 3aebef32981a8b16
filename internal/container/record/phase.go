package record

import (
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
)

// Phase is the one field that says what state a container is in.
type Phase string

// The phases. Starting is never written to disk.
const (
	Created    Phase = "created"
	Starting   Phase = "starting"
	Running    Phase = "running"
	Paused     Phase = "paused"
	Restarting Phase = "restarting"
	Exited     Phase = "exited"
	Removing   Phase = "removing"
	Dead       Phase = "dead"
)

// Phases lists all of them.
var Phases = []Phase{Created, Starting, Running, Paused, Restarting, Exited, Removing, Dead}

var transitions = map[Phase][]Phase{
	Created:  {Starting, Removing},
	Starting: {Running, Created, Exited, Restarting},
	// Removing with its process still there: one that not even SIGKILL ends, yet.
	Running:    {Paused, Exited, Restarting, Removing},
	Paused:     {Running, Exited, Restarting, Removing},
	Restarting: {Starting, Exited, Removing},
	Exited:     {Starting, Restarting, Removing},
	Removing:   {Dead},
	Dead:       {Removing},
}

// ErrIllegalTransition is what every *TransitionError is.
var ErrIllegalTransition = errors.New("illegal state transition")

// TransitionError is an attempt to go from one phase to another that cannot follow it.
type TransitionError struct{ From, To Phase }

func (e *TransitionError) Error() string {
	return fmt.Sprintf("a container that is %s cannot become %s", e.From, e.To)
}

// Is makes it both ErrIllegalTransition and a conflict.
func (e *TransitionError) Is(target error) bool {
	return target == ErrIllegalTransition || target == errdefs.ErrConflict
}

// CanBecome is nil where to may follow p, else *TransitionError.
func (p Phase) CanBecome(to Phase) error {
	if slices.Contains(transitions[p], to) {
		return nil
	}
	return &TransitionError{From: p, To: to}
}

// HasProcess says whether a container in this phase has a living first process.
func (p Phase) HasProcess() bool { return p == Running || p == Paused }

// Active says whether the API calls it running: it has a process, or waits to
// be started again by its restart policy.
func (p Phase) Active() bool { return p.HasProcess() || p == Restarting }
