// Package container is a container's life, put together: what the API's edge
// calls, and what the daemon wires to the rooms below. The parts are in the
// folders below this one.
package container

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"hoy/internal/container/core"
	"hoy/internal/container/create"
	"hoy/internal/container/deps"
	"hoy/internal/container/execs"
	"hoy/internal/container/files"
	"hoy/internal/container/health"
	"hoy/internal/container/index"
	"hoy/internal/container/ledger"
	"hoy/internal/container/life"
	"hoy/internal/container/logs"
	"hoy/internal/container/plug"
	"hoy/internal/container/query"
	"hoy/internal/container/record"
	"hoy/internal/container/remove"
	"hoy/internal/container/restore"
	"hoy/internal/container/sampler"
	"hoy/internal/container/start"
	"hoy/internal/reconcile"
	"hoy/internal/runtime/armor"
	"hoy/internal/store"
)

// Service implements the backends of /containers and /exec; each embedded part
// has the verbs of its own concern.
type Service struct {
	*create.Creator
	*life.Life
	*remove.Remover
	*query.Query
	*files.Files
	*execs.Execs
	*plug.Plugs
	*sampler.Sampler

	core   *core.Core
	checks *health.Checks
	// restorer goes on comparing after Restore.
	restorer *restore.Restorer
	cancel   context.CancelFunc
	ended    chan struct{}
}

// New builds the service. Restore must be called before it is used.
func New(db *store.DB, d deps.Deps, set deps.Settings) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	led, err := ledger.Open(db, filepath.Join(set.Root, "containers"), d.Log)
	if err != nil {
		return nil, err
	}
	led.Damages = d.Damages
	c := &core.Core{Deps: d, Settings: set, Index: index.New(), Ledger: led, BootID: restore.BootID()}
	armor := armor.InKernel()
	st := &start.Starter{Core: c, AppArmor: armor}
	l := &life.Life{Core: c, Starter: st}
	rm := remove.New(c, l.KillForRemoval)
	ex := execs.New(c, st.Filter)
	ex.AppArmor = armor
	l.AutoRemove, l.ExecExited, l.ContainerEnded = rm.Auto, ex.Exited, ex.ContainerEnded
	rm.Ended = ex.ContainerRemoved
	checks := health.New(c, ex)
	forward := logs.Forward{To: d.Forward}
	c.Changed = func(e *index.Entry, r *record.Record) {
		checks.Changed(e, r)
		forward.Changed(e, r)
	}
	return &Service{
		Creator: &create.Creator{Core: c, Filter: st.Filter, AppArmor: armor},
		Life:    l, Remover: rm, Query: &query.Query{Core: c}, Execs: ex, Plugs: &plug.Plugs{Core: c},
		Sampler: sampler.New(c),
		Files:   &files.Files{Core: c, WhilePaused: l.WhilePaused},
		core:    c, checks: checks,
	}, nil
}

// Restore adopts what runs, records what ended meanwhile, finishes what was
// begun and sweeps what nobody owns; then exits are watched until Close.
func (s *Service) Restore(ctx context.Context) (restore.Report, error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel, s.ended = cancel, make(chan struct{})
	s.restorer = &restore.Restorer{Core: s.core, Life: s.Life, Remover: s.Remover}
	rep, err := s.restorer.Restore(run)
	if err != nil {
		cancel()
		close(s.ended)
		return rep, err
	}
	go func() {
		defer close(s.ended)
		s.Watch(run)
	}()
	for _, e := range s.core.Index.All() {
		s.core.Changed(e, e.Record()) // of those that were adopted without a change
	}
	return rep, nil
}

// Close stops watching, finishes removals and writes what waits. Containers go on.
func (s *Service) Close() {
	if s.cancel != nil {
		s.cancel()
		<-s.ended
	}
	s.checks.Close()
	s.Drain()
	s.core.Ledger.Flush()
}

// Check compares the containers with the machine.
func (s *Service) Check(ctx context.Context) []reconcile.Finding { return s.restorer.Check(ctx) }

// NetNS opens the network namespace of a running container. A process that ended
// is none of it, even where another has its number.
func (s *Service) NetNS(id string) (*os.File, error) { return s.restorer.NetNS(id) }

// LogsDropped is how many records of containers' logs were dropped since the
// daemon's start: by their files, and before their servers took them. What runs
// has counted since its own start.
func (s *Service) LogsDropped(ctx context.Context) (uint64, error) {
	n := s.core.LogDropped.Load()
	if s.core.Forward != nil {
		n += s.core.Forward.Dropped()
	}
	states, err := s.core.Monitor.List(ctx)
	for _, p := range states {
		if p.Exit == nil {
			n += p.Dropped
		}
	}
	return n, err
}

// Use is one container's hold on an image.
type Use struct {
	ImageID, ContainerID, Ref string
	Running                   bool
}

// Uses lists which containers use which image.
func (s *Service) Uses() []Use {
	var uses []Use
	for _, e := range s.core.Index.All() {
		r := e.Record()
		uses = append(uses, Use{ImageID: r.Image.ID, ContainerID: r.ID, Ref: r.Image.Ref, Running: r.State.Phase.Active()})
	}
	return uses
}

// Lingers says whether a process of a container that was removed has not ended.
func (s *Service) Lingers() bool {
	for _, e := range s.core.Index.All() {
		if e.Run() != nil && !e.Record().State.Phase.HasProcess() {
			return true
		}
	}
	return false
}

// HealthChecks is how many were made, and how many of those failed.
func (s *Service) HealthChecks() (made, failed uint64) { return s.checks.Counts() }

// Counts is how many containers there are, and how many of them run, are paused, or do neither.
func (s *Service) Counts() (all, running, paused, stopped int) {
	for _, e := range s.core.Index.All() {
		all++
		switch p := e.Record().State.Phase; {
		case p == record.Paused:
			paused++
		case p.Active():
			running++
		default:
			stopped++
		}
	}
	return all, running, paused, stopped
}
