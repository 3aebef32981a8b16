// Package plug connects containers that exist to networks, and disconnects them.
package plug

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/monitor/reap"
)

// Plugs connects and disconnects.
type Plugs struct{ *core.Core }

// What Docker says of pairs of networks that exclude each other.
var (
	errShared = core.Invalid("container sharing network namespace with another container or host cannot be connected to any other network")
	errHost   = core.Invalid("container cannot be disconnected from host network or connected to host network")
	errNone   = core.Invalid("container cannot be connected to multiple networks with one of the networks in private (none) mode")
)

func marked(r *record.Record) error {
	if p := r.State.Phase; p == record.Removing || p == record.Dead {
		return core.Conflict("container %s is marked for removal and cannot be connected or disconnected to the network", r.ID)
	}
	return nil
}

// Connect of api/networks. A container that does not run is connected when it starts.
func (p *Plugs) Connect(ctx context.Context, ref string, req network.ConnectRequest) error {
	e, err := p.Index.Find(req.Container)
	if err != nil {
		return err
	}
	name, err := p.Networks.Find(ref)
	if err != nil {
		return err
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	r := e.Record()
	if err := marked(r); err != nil {
		return err
	}
	if string(r.Network()) == name {
		if !r.State.Phase.HasProcess() {
			return nil // as Docker: it is what was asked for
		}
		return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("endpoint with name %s already exists in network %s", r.Name, name))
	}
	if err := excluded(r, name); err != nil {
		return err
	}
	next := r.With(func(n *record.Record) {
		n.Plugged = &name
		n.Endpoints = maps.Clone(r.Endpoints)
		if n.Endpoints == nil {
			n.Endpoints = map[string]*network.EndpointSettings{}
		}
		if n.Endpoints[name] = req.EndpointConfig.Copy(); n.Endpoints[name] == nil {
			n.Endpoints[name] = &network.EndpointSettings{}
		}
	})
	want := start.NetRequest(p.Settings, next, p.Ledger.Dir(r.ID), 0)
	if err := p.Networks.Validate(want); err != nil {
		return err
	}
	if r.State.Phase.HasProcess() {
		if err := p.attach(ctx, next, want); err != nil {
			return err
		}
	}
	// The kernel before the record: what no record names is swept at the next start.
	if err := p.Ledger.SaveNow(next); err != nil {
		if r.State.Phase.HasProcess() {
			if uerr := p.Networks.Unplug(ctx, want); uerr != nil {
				p.Log.Error("undo of a failed connection", "container", r.ID, "error", uerr)
			}
		}
		return err
	}
	e.Publish(next)
	return nil
}

// excluded says why a container cannot have the network beside what it has.
func excluded(r *record.Record, name string) error {
	mode := r.HostConfig.NetworkMode
	switch has := r.Network(); {
	case mode.IsContainer() || mode.IsHost():
		return errShared
	case name == network.NetworkHost:
		return errHost
	case has != "":
		return errNone // of bridge and none, the two that are left
	}
	return nil
}

// attach wires the namespace of a container that runs. next is not published yet.
func (p *Plugs) attach(ctx context.Context, next *record.Record, want deps.NetRequest) error {
	ns, err := namespace(&next.State)
	if err != nil {
		return core.Conflict("container %s is not running: %v", next.ID, err)
	}
	defer ns.Close()
	want.NetNS, want.InUse = ns, true
	a, err := p.Networks.Attach(ctx, want)
	if err != nil {
		return err
	}
	next.Net.Networks, next.Net.Ports = a.Networks, a.Ports
	return nil
}

// namespace opens the network namespace of the recorded process. The number is
// compared after the file is open: it then was that process's all the time.
func namespace(s *record.State) (*os.File, error) {
	ns, err := os.Open("/proc/" + strconv.Itoa(s.Pid) + "/ns/net")
	if err != nil {
		return nil, err
	}
	if reap.StartTime(s.Pid) != s.StartTicks {
		_ = ns.Close()
		return nil, fmt.Errorf("process %d is another's", s.Pid)
	}
	return ns, nil
}

// Disconnect of api/networks.
func (p *Plugs) Disconnect(ctx context.Context, ref string, req network.DisconnectRequest) error {
	name, missing := p.Networks.Find(ref)
	e, err := p.Index.Find(req.Container)
	switch {
	case err != nil && req.Force && missing != nil:
		return missing
	case err != nil && req.Force:
		return errdefs.ErrNotFound.WithMessage("endpoint " + req.Container + " not found")
	case err != nil:
		return err
	}
	done, err := e.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	r := e.Record()
	if err := marked(r); err != nil {
		return err
	}
	runs := r.State.Phase.HasProcess()
	if missing != nil {
		if runs && !req.Force {
			return missing
		}
		name = ref
	}
	switch {
	case missing != nil || string(r.Network()) != name:
		return errdefs.ErrInternal.WithMessage(fmt.Sprintf("container %s is not connected to the network %s", r.ID, name))
	case name == network.NetworkHost:
		return errHost
	}
	none := ""
	next := r.With(func(n *record.Record) {
		n.Plugged = &none
		n.Endpoints = maps.Clone(r.Endpoints)
		delete(n.Endpoints, name)
		n.Net.Networks, n.Net.Ports = nil, nil
	})
	// The record before the kernel: what it does not name any more is swept at the next start.
	if err := p.Ledger.SaveNow(next); err != nil {
		return err
	}
	e.Publish(next)
	if err := p.Networks.Unplug(ctx, start.NetRequest(p.Settings, r, p.Ledger.Dir(r.ID), 0)); err != nil {
		p.Publish(e, next.With(func(n *record.Record) { n.Plugged, n.Endpoints, n.Net = r.Plugged, r.Endpoints, r.Net }))
		return err
	}
	return nil
}
