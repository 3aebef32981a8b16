package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/moby/moby/api/types/container"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settleTime is how long the background of an engine at rest may take: files of
// removed containers, links of namespaces that have ended.
const settleTime = 15 * time.Second

// Check compares what the engine says with what the kernel and the disk have.
// Nobody may be changing anything meanwhile. It returns the containers by name.
func (e *Engine) Check() map[string]container.InspectResponse {
	e.tb.Helper()
	deadline := time.Now().Add(settleTime)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		all, wrong := e.compare()
		if len(wrong) == 0 {
			return all
		}
		if time.Now().After(deadline) {
			slices.Sort(wrong)
			e.tb.Errorf("the engine and the machine differ:\n%s", strings.Join(wrong, "\n"))
			return all
		}
		<-tick.C
	}
}

// comparison collects what must be there, from the engine's answers.
type comparison struct {
	e     *Engine
	wrong []string
	// what must be there and nothing else
	ids, running, volumes []string
	veths, forwards       []string
	addresses             map[string]string
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
	for _, g := range got {
		if !slices.Contains(want, g) {
			c.fault("%s: nobody owns %s", what, g)
		}
	}
}

func (e *Engine) compare() (map[string]container.InspectResponse, []string) {
	c := &comparison{e: e, addresses: map[string]string{}}
	all := map[string]container.InspectResponse{}
	c.volumes = strings.Fields(e.Must("volume", "ls", "-q"))
	for _, r := range c.inspect() {
		name := strings.TrimPrefix(r.Name, "/")
		if _, twice := all[name]; twice {
			c.fault("two containers are called %s", name)
		}
		all[name] = r
		c.ids = append(c.ids, r.ID)
		c.container(name, r)
	}
	c.same("directories of containers", c.ids, entries(e.Dir+"/data/containers"))
	c.same("writable layers", c.ids, entries(e.Dir+"/data/image/writable"))
	c.same("directories of volumes", c.volumes, entries(e.Dir+"/data/volumes"))
	c.same("unfinished content", nil, entries(e.Dir+"/data/image/content/ingest"))
	c.same("trash", nil, entries(e.Dir+"/data/image/trash"))
	c.same("temporary files", nil, entries(e.Dir+"/data/tmp"))
	c.same("records of exits", nil, entries(e.Dir+"/run/exits"))
	c.same("cgroups", c.running, e.groups())
	c.same("links on the bridge", c.veths, c.onBridge())
	c.same("published ports", c.forwards, c.published())
	return all, c.wrong
}

// inspect returns every container that ps shows.
func (c *comparison) inspect() []container.InspectResponse {
	ids := strings.Fields(c.e.Must("ps", "-aq", "--no-trunc"))
	if len(ids) == 0 {
		return nil
	}
	r := c.e.Hoy(append([]string{"inspect"}, ids...)...)
	if r.Code != 0 {
		c.fault("inspect of what ps shows: %s", r.Err)
		return nil
	}
	var all []container.InspectResponse
	if err := json.Unmarshal([]byte(r.Out), &all); err != nil {
		c.fault("inspect: %v", err)
	}
	return all
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
	if other, taken := c.addresses[bridge.IPAddress.String()]; taken {
		c.fault("%s and %s have address %s", name, other, bridge.IPAddress)
	}
	c.addresses[bridge.IPAddress.String()] = name
	if len(bridge.EndpointID) < 10 {
		c.fault("%s runs with no endpoint", name)
		return
	}
	c.veths = append(c.veths, "veth"+bridge.EndpointID[:10])
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

// process checks that the pid lives and is in the container's cgroup.
func (c *comparison) process(name string, r container.InspectResponse) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", r.State.Pid))
	if err != nil {
		c.fault("%s is %s, but: %v", name, r.State.Status, err)
	} else if !strings.Contains(string(b), cmp.Or(r.HostConfig.CgroupParent, "/"+c.e.Name)+"/"+r.ID) {
		c.fault("%s: process %d is not in its cgroup", name, r.State.Pid)
	}
	// Version 2's word, which counts on hybrid machines too, or version 1's.
	for _, file := range []string{"unified/%s/%s/cgroup.freeze", "%s/%s/cgroup.freeze", "freezer/%s/%s/freezer.state"} {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", fmt.Sprintf(file, c.e.Name, r.ID)))
		if frozen := strings.TrimSpace(string(b)); err == nil && (frozen != "THAWED" && frozen != "0") != r.State.Paused {
			c.fault("%s is %s, its cgroup %s", name, r.State.Status, frozen)
		}
	}
}

// entries lists a directory; one that is absent is empty.
func entries(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return []string{err.Error()}
	}
	var names []string
	for _, d := range list {
		names = append(names, d.Name())
	}
	return names
}

// groups are the ids with a cgroup in any hierarchy.
func (e *Engine) groups() []string {
	var ids []string
	for _, parent := range e.cgroups() {
		dirs, _ := filepath.Glob(parent + "/*/cgroup.procs")
		for _, d := range dirs {
			if id := filepath.Base(filepath.Dir(d)); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (c *comparison) onBridge() []string {
	bridge, err := netlink.LinkByName(c.e.Name)
	if err != nil {
		c.fault("the bridge: %v", err)
		return nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		c.fault("links: %v", err)
	}
	var names []string
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// published reads the elements of the firewall's maps, in the words of container.
func (c *comparison) published() []string {
	var found []string
	conn := &nftables.Conn{}
	table := &nftables.Table{Name: c.e.Name, Family: nftables.TableFamilyIPv4}
	for _, name := range []string{"published", "published_any"} {
		set, err := conn.GetSetByName(table, name)
		if err != nil {
			c.fault("firewall map %s: %v", name, err)
			continue
		}
		elements, err := conn.GetSetElements(set)
		if err != nil {
			c.fault("firewall map %s: %v", name, err)
		}
		for _, el := range elements {
			found = append(found, forward(name, el))
		}
	}
	return found
}

// forward is a map's element as text. Each part of a key or value takes four
// bytes or a multiple, see nf_tables(4) on concatenations.
func forward(set string, el nftables.SetElement) string {
	key, ip := el.Key, "any"
	if set == "published" {
		ip = fmt.Sprintf("%d.%d.%d.%d", key[0], key[1], key[2], key[3])
		key = key[4:]
	}
	proto := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[key[0]]
	port := func(b []byte) int { return int(b[0])<<8 | int(b[1]) }
	to := el.Val
	return fmt.Sprintf("%s %s %d to %d.%d.%d.%d:%d", ip, proto, port(key[4:]), to[0], to[1], to[2], to[3], port(bytes.Clone(to[4:])))
}
