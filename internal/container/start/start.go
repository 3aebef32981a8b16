package start

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/monitor"
	"hoy/internal/runtime/userns"
)

// Starter starts containers.
type Starter struct {
	*core.Core
	// AppArmor says whether the kernel can confine by profile.
	AppArmor bool
	// filters caches compiled system call filters by profile and capabilities.
	filters     sync.Map
	filterCount atomic.Int64
	// warned are the runtime's warnings that are in the log already.
	warned sync.Map
}

// maxFilters bounds the cache.
const maxFilters = 64

// Start runs a container that is created, exited or waiting for a restart. The
// caller has the entry's turn. Whatever fails is undone, and the reason is in
// the record's state.
func (s *Starter) Start(ctx context.Context, e *index.Entry) error {
	before := e.Record()
	starting, err := before.Move(record.Starting, nil)
	if err != nil {
		return err
	}
	e.Publish(starting)
	ctx = context.WithoutCancel(ctx)
	a := &attempt{s: s, r: starting}
	plan, err := a.plan(ctx)
	if err == nil {
		err = plan.Run(ctx, func(undoErr error) {
			s.Log.Warn("start not wholly undone", "container", before.ID, "error", undoErr)
		})
	}
	a.close()
	if err != nil {
		return s.failed(e, before, starting, err)
	}
	running, err := starting.Move(record.Running, func(r *record.Record) {
		r.State.Pid, r.State.StartTicks = a.started.Pid, a.started.StartTime
		r.State.StartedAt, r.State.BootID = a.started.At.UTC(), s.BootID
		r.State.ExitCode, r.State.Error = 0, ""
		r.State.OOMKilled, r.State.Stopped = false, false
		r.Net = a.place()
	})
	if err != nil {
		return err
	}
	a.group.Joined()
	e.SetRun(&index.Run{Group: a.group, Ended: make(chan struct{})})
	s.Publish(e, running)
	s.VolumesMounted(running)
	s.Event(running, events.ActionStart, nil)
	return nil
}

// place is where the networks have put the container.
func (a *attempt) place() record.Net {
	if a.net == nil {
		return record.Net{}
	}
	return record.Net{SandboxID: a.net.SandboxID, Networks: a.net.Networks, Ports: a.net.Ports}
}

// failed goes back to where the container was, with the reason.
func (s *Starter) failed(e *index.Entry, before, starting *record.Record, cause error) error {
	code, out := core.StartFailure("container "+core.Short(before.ID), command(before), cause)
	back := before.State.Phase
	if back == record.Restarting {
		back = record.Exited
	}
	r, err := starting.Move(back, func(r *record.Record) {
		r.State.ExitCode, r.State.Error = code, out.Error()
		if back == record.Exited {
			r.State.FinishedAt = s.Now().UTC()
		}
	})
	if err != nil {
		return err
	}
	s.Publish(e, r)
	e.Wake(index.Answer(r), false, false)
	return out
}

func command(r *record.Record) string {
	if argv := config.Command(r.Config); len(argv) > 0 {
		return argv[0]
	}
	return ""
}

// attempt is one start under way: what its steps hand to each other.
type attempt struct {
	s    *Starter
	r    *record.Record
	prep prepared
	// runtime is who starts the process; nil is the built-in one.
	runtime *monitor.Runtime
	group   deps.Group
	net     *deps.Attachment
	started monitor.Started
	// spaces are the namespaces made for it; nil without a user namespace.
	spaces *userns.Spaces
}

// plan lays out the steps; it looks at the world but does not change it.
func (a *attempt) plan(ctx context.Context) (Plan, error) {
	id, hc := a.r.ID, a.r.HostConfig
	peers, err := a.s.peers(a.r)
	if err != nil {
		return nil, err
	}
	p := Plan{{
		Stage: 1, Name: "sources", Detail: a.sourcesDetail(),
		Do:       func(ctx context.Context) error { return a.prepare(ctx, peers) },
		UndoName: "release", Undo: a.releaseShm,
	}, {
		Stage: 2, Name: "cgroup", Detail: "create " + core.Short(id),
		Do: func(context.Context) (err error) {
			a.group, err = a.s.Cgroups.Create(hc.CgroupParent, id, a.prep.resources)
			return err
		},
		UndoName: "remove", Undo: func(context.Context) error { return a.group.Remove() },
	}, {
		Stage: 2, Name: "network", Detail: "attach to " + string(a.r.Network()),
		Do: func(ctx context.Context) (err error) {
			req := a.s.NetRequest(a.r, peers.net)
			if a.spaces != nil {
				req.NetNS = a.spaces.Net
			}
			a.net, err = a.s.Networks.Attach(ctx, req)
			return err
		},
		UndoName: "detach", Undo: func(ctx context.Context) error { return a.s.Networks.Detach(ctx, id) },
	}, {
		Stage: 3, Name: "process", Detail: "start " + fmt.Sprintf("%q", config.Command(a.r.Config)),
		Do: func(ctx context.Context) error { return a.run(ctx, peers) },
	}}
	return p, nil
}

func (a *attempt) sourcesDetail() string {
	parts := []string{"root"}
	for _, m := range a.r.Mounts {
		parts = append(parts, fmt.Sprintf("%s:%s", m.Type, m.Destination))
	}
	return "check " + strings.Join(parts, " ")
}

// NetRequest is what the container asks of the network room.
func (s *Starter) NetRequest(r *record.Record, peerPid int) deps.NetRequest {
	return NetRequest(s.Settings, r, s.Ledger.Dir(r.ID), peerPid)
}

// NetRequest is what a container asks of the network room; dir is where its files go.
func NetRequest(set deps.Settings, r *record.Record, dir string, peerPid int) deps.NetRequest {
	c, hc := r.Config, r.HostConfig
	req := deps.NetRequest{
		ContainerID: r.ID, Name: r.Name, Hostname: c.Hostname, Domainname: c.Domainname,
		Mode: r.Network(), Unplugged: r.Network() == "", Endpoint: r.Endpoints[string(r.Network())],
		Ports: hc.PortBindings, PublishAll: hc.PublishAllPorts, Exposed: c.ExposedPorts,
		DNS: hc.DNS, DNSSearch: hc.DNSSearch, DNSOptions: hc.DNSOptions, ExtraHosts: hc.ExtraHosts,
		Dir: dir, PeerPid: peerPid,
	}
	if len(req.DNS) == 0 {
		req.DNS = set.DNS
	}
	if len(req.DNSSearch) == 0 {
		req.DNSSearch = set.DNSSearch
	}
	if len(req.DNSOptions) == 0 {
		req.DNSOptions = set.DNSOptions
	}
	if hc.NetworkMode.IsContainer() {
		// The other container's ports and names are its own.
		req.Ports, req.PublishAll, req.Exposed = nil, false, nil
	}
	return req
}

// ShmDir is where a shareable container's /dev/shm is mounted on the host.
func ShmDir(dir string) string { return filepath.Join(dir, "shm") }
