package record

import (
	"fmt"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Visible is the state in the API's words. A container that has never run is
// "created" even where a start of it has failed.
func (r *Record) Visible() container.ContainerState {
	switch r.State.Phase {
	case Starting, Created, Exited:
		if r.State.Phase == Starting && r.RestartCount > 0 {
			return container.StateRestarting
		}
		if r.State.StartedAt.IsZero() {
			return container.StateCreated
		}
		return container.StateExited
	default:
		return container.ContainerState(r.State.Phase)
	}
}

// Status is the line that ps shows, at the time now.
func (r *Record) Status(now time.Time) string {
	s := &r.State
	switch r.Visible() {
	case container.StateRunning:
		return "Up " + age(now, s.StartedAt)
	case container.StatePaused:
		return "Up " + age(now, s.StartedAt) + " (Paused)"
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, age(now, s.FinishedAt))
	case container.StateRemoving:
		return "Removal In Progress"
	case container.StateDead:
		return "Dead"
	case container.StateCreated:
		return "Created"
	}
	if s.FinishedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, age(now, s.FinishedAt))
}

func age(now, then time.Time) string { return units.HumanDuration(max(0, now.Sub(then))) }

// API is the state as inspect shows it.
func (r *Record) API() *container.State {
	s := &r.State
	return &container.State{
		Status:  r.Visible(),
		Running: s.Phase.Active(), Paused: s.Phase == Paused, Restarting: s.Phase == Restarting,
		OOMKilled: s.OOMKilled, Dead: s.Phase == Dead,
		Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: Stamp(s.StartedAt), FinishedAt: Stamp(s.FinishedAt),
	}
}

// Stamp writes a time as the API does: UTC, RFC 3339 with nanoseconds.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
