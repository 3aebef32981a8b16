package record

import (
	"errors"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// legal is written out by hand, apart from the table that it checks.
var legal = map[[2]Phase]bool{
	{Created, Starting}: true, {Created, Removing}: true,
	{Starting, Running}: true, {Starting, Created}: true, {Starting, Exited}: true, {Starting, Restarting}: true,
	{Running, Paused}: true, {Running, Exited}: true, {Running, Restarting}: true, {Running, Removing}: true,
	{Paused, Running}: true, {Paused, Exited}: true, {Paused, Restarting}: true, {Paused, Removing}: true,
	{Restarting, Starting}: true, {Restarting, Exited}: true, {Restarting, Removing}: true,
	{Exited, Starting}: true, {Exited, Restarting}: true, {Exited, Removing}: true,
	{Removing, Dead}: true, {Dead, Removing}: true,
}

func TestEveryPairOfPhasesAndTheStateAfter(t *testing.T) {
	for _, from := range Phases {
		for _, to := range Phases {
			r := &Record{Seq: 4, State: State{Phase: from, Pid: 7, StartTicks: 9}}
			next, err := r.Move(to, func(n *Record) { n.Name = "changed" })
			if !legal[[2]Phase{from, to}] {
				var te *TransitionError
				if next != nil || !errors.As(err, &te) || te.From != from || te.To != to ||
					!errors.Is(err, ErrIllegalTransition) || !errdefs.IsConflict(err) {
					t.Errorf("%s to %s: %v, %v; want a refusal", from, to, next, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s to %s: %v", from, to, err)
				continue
			}
			if next.State.Phase != to || next.Seq != 5 || next.Name != "changed" {
				t.Errorf("%s to %s: %+v", from, to, next)
			}
			if hasPid := next.State.Pid == 7; hasPid != to.HasProcess() {
				t.Errorf("%s to %s: pid kept is %v", from, to, hasPid)
			}
			if r.State.Phase != from || r.Seq != 4 || r.Name != "" || r.State.Pid != 7 {
				t.Errorf("%s to %s changed the record that it came from: %+v", from, to, r)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		r    Record
		want string
	}{
		{Record{State: State{Phase: Created}}, "Created"},
		{Record{State: State{Phase: Created, ExitCode: 127, Error: "x"}}, "Created"},
		{Record{State: State{Phase: Running, StartedAt: ago(3 * time.Second)}}, "Up 3 seconds"},
		{Record{State: State{Phase: Running, StartedAt: now}}, "Up Less than a second"},
		{Record{State: State{Phase: Running, StartedAt: now.Add(time.Hour)}}, "Up Less than a second"},
		{Record{State: State{Phase: Paused, StartedAt: ago(5 * time.Minute)}}, "Up 5 minutes (Paused)"},
		{Record{State: State{Phase: Restarting, ExitCode: 1, StartedAt: ago(time.Hour), FinishedAt: ago(5 * time.Second)}}, "Restarting (1) 5 seconds ago"},
		{Record{State: State{Phase: Exited, StartedAt: ago(time.Hour), FinishedAt: ago(2 * time.Minute)}}, "Exited (0) 2 minutes ago"},
		{Record{State: State{Phase: Starting}}, "Created"},
		{Record{RestartCount: 1, State: State{Phase: Starting, ExitCode: 3, StartedAt: ago(time.Hour), FinishedAt: ago(time.Minute)}}, "Restarting (3) About a minute ago"},
		{Record{State: State{Phase: Removing}}, "Removal In Progress"},
		{Record{State: State{Phase: Dead}}, "Dead"},
	} {
		if got := c.r.Status(now); got != c.want {
			t.Errorf("%+v: %q, want %q", c.r.State, got, c.want)
		}
	}
}
