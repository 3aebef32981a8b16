// Package audit compares what an engine says with what there is, by code of its
// own: the API's answers, the records on disk and in the store, directories,
// content, processes with their mounts and addresses, cgroups, links, firewall
// elements, open descriptors. It imports nothing of the engine.
//
// Nobody may be changing anything meanwhile, and what an engine at rest still
// does in the background counts as a difference: callers ask again for a while.
package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Place is an engine's places.
type Place struct {
	// Data, Exec and Socket are paths: --data-root, --exec-root, and the API's socket.
	Data, Exec, Socket string
	// Name is the bridge's, the firewall table's and the cgroup parent's.
	Name string
	// Temporary is a directory for copies of the stores, which the engine keeps locked.
	Temporary string
}

// comparison collects what must be there, from the engine's answers.
type comparison struct {
	Place
	wrong []string

	containers map[string]container.InspectResponse // by id
	volumes    []string
	images     []string
	// what must be there and nothing else
	ids, running    []string
	veths, forwards []string
	addresses       map[netip.Addr]string
	// process ids
	daemon, guardian, monitor int
}

// Compare returns the containers by name, and every difference as a line.
func Compare(p Place) (byName map[string]container.InspectResponse, wrong []string) {
	c := &comparison{Place: p, containers: map[string]container.InspectResponse{}, addresses: map[netip.Addr]string{}}
	byName = map[string]container.InspectResponse{}
	if err := c.ask(); err != nil {
		c.fault("the API: %v", err)
		return byName, c.wrong
	}
	c.helpers()
	for _, r := range c.containers {
		name := strings.TrimPrefix(r.Name, "/")
		if _, twice := byName[name]; twice {
			c.fault("two containers are called %s", name)
		}
		byName[name] = r
		c.ids = append(c.ids, r.ID)
		c.container(name, r)
	}
	c.directories()
	c.records()
	c.content()
	c.groups()
	c.mounts()
	c.descriptors()
	c.same("links on the bridge", c.veths, c.onBridge())
	c.same("published ports", c.forwards, c.published())
	slices.Sort(c.wrong)
	return byName, c.wrong
}

func (c *comparison) fault(format string, args ...any) {
	c.wrong = append(c.wrong, "  "+fmt.Sprintf(format, args...))
}

// same compares two sets.
func (c *comparison) same(what string, want, got []string) {
	for _, w := range want {
		if !slices.Contains(got, w) {
			c.fault("%s: %s is missing", what, w)
		}
	}
	for i, g := range got {
		if !slices.Contains(want, g) {
			c.fault("%s: nobody owns %s", what, g)
		}
		if slices.Contains(got[:i], g) {
			c.fault("%s: %s is there twice", what, g)
		}
	}
}

func (c *comparison) container(name string, r container.InspectResponse) {
	for _, m := range r.Mounts {
		if m.Type == "volume" && !slices.Contains(c.volumes, m.Name) {
			c.fault("%s: its volume %s is not listed", name, m.Name)
		}
	}
	bridge := r.NetworkSettings.Networks["bridge"]
	switch r.State.Status {
	case container.StateRunning, container.StatePaused:
		c.running = append(c.running, r.ID)
		c.process(name, r)
	case container.StateCreated, container.StateExited, container.StateRestarting:
		if r.State.Pid != 0 && r.State.Status != container.StateRestarting {
			c.fault("%s is %s with pid %d", name, r.State.Status, r.State.Pid)
		}
		if bridge != nil && bridge.IPAddress.IsValid() {
			c.fault("%s is %s and has address %s", name, r.State.Status, bridge.IPAddress)
		}
		return
	default:
		c.fault("%s is %s", name, r.State.Status)
		return
	}
	if bridge == nil {
		return
	}
	if other, taken := c.addresses[bridge.IPAddress]; taken {
		c.fault("%s and %s have address %s", name, other, bridge.IPAddress)
	}
	c.addresses[bridge.IPAddress] = name
	if len(bridge.EndpointID) < 10 {
		c.fault("%s runs with no endpoint", name)
		return
	}
	c.veths = append(c.veths, "veth"+bridge.EndpointID[:10])
	c.inside(name, r.State.Pid, bridge)
	for port, bindings := range r.NetworkSettings.Ports {
		for _, b := range bindings {
			ip := b.HostIP.String()
			if b.HostIP.IsUnspecified() {
				ip = "any"
			}
			c.forwards = append(c.forwards, fmt.Sprintf("%s %s %s to %s:%d", ip, port.Proto(), b.HostPort, bridge.IPAddress, port.Num()))
		}
	}
}

// parent is the cgroup below which a container's own is.
func (c *comparison) parent(r container.InspectResponse) string {
	return cmp.Or(r.HostConfig.CgroupParent, "/"+c.Name)
}
