package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func uvarint(b []byte) string {
	n, _ := binary.Uvarint(b)
	return strconv.FormatUint(n, 10)
}

// helpers finds the daemon, the guardian and the monitor, and what else is the engine's and is neither.
func (c *comparison) helpers() {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		b, err := os.ReadFile(path)
		argv := strings.Split(string(b), "\x00")
		// The daemon names all of its places, the monitor the one below which its socket is.
		if err != nil || !slices.Contains(argv, "--exec-root") || !slices.Contains(argv, c.Exec) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		into := &c.daemon
		switch argv[1] {
		case "monitor":
			into = &c.monitor
		case "guard":
			into = &c.guardian
		}
		if *into != 0 {
			c.fault("processes: %d and %d are both %v", *into, pid, argv[:2])
		}
		*into = pid
	}
	if c.daemon == 0 || c.monitor == 0 { // a monitor without a guardian works
		c.fault("processes: the daemon is %d, the guardian %d, the monitor %d", c.daemon, c.guardian, c.monitor)
	}
}

// process checks that the pid lives, is the monitor's child, in the container's
// cgroup and on the container's files.
func (c *comparison) process(name string, r container.InspectResponse) {
	proc := fmt.Sprintf("/proc/%d/", r.State.Pid)
	b, err := os.ReadFile(proc + "cgroup")
	if err != nil {
		c.fault("%s is %s, but: %v", name, r.State.Status, err)
		return
	}
	if !strings.Contains(string(b), c.parent(r)+"/"+r.ID) {
		c.fault("%s: process %d is not in its cgroup", name, r.State.Pid)
	}
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil || !strings.Contains(string(mounts), c.Data+"/image/writable/"+r.ID) {
		c.fault("%s: process %d is not on its writable layer", name, r.State.Pid)
	}
	// Version 2's word, which counts on hybrid machines too, or version 1's.
	for _, file := range []string{"unified/%s/%s/cgroup.freeze", "%s/%s/cgroup.freeze", "freezer/%s/%s/freezer.state"} {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", fmt.Sprintf(file, c.Name, r.ID)))
		if frozen := strings.TrimSpace(string(b)); err == nil && (frozen != "THAWED" && frozen != "0") != r.State.Paused {
			c.fault("%s is %s, its cgroup %s", name, r.State.Status, frozen)
		}
	}
}

// inside looks at the address that a container has in its own network namespace.
func (c *comparison) inside(name string, pid int, want *network.EndpointSettings) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return // the process is reported above
	}
	defer func() { _ = ns.Close() }()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		c.fault("%s: its network: %v", name, err)
		return
	}
	defer h.Close()
	list, err := h.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		c.fault("%s: its addresses: %v", name, err)
	}
	var got []string
	for _, a := range list {
		if !a.IP.IsLoopback() {
			got = append(got, a.IPNet.String())
		}
	}
	if expected := fmt.Sprintf("%s/%d", want.IPAddress, want.IPPrefixLen); !slices.Equal(got, []string{expected}) {
		c.fault("%s: inside are the addresses %v, the engine says %s", name, got, expected)
	}
}

// groups compares the cgroups, in every hierarchy, and looks for processes and
// zombies where none should be.
func (c *comparison) groups() {
	a, _ := filepath.Glob("/sys/fs/cgroup/*/" + c.Name)
	b, _ := filepath.Glob("/sys/fs/cgroup/" + c.Name)
	parents := append(a, b...)
	if len(c.running) > 0 && len(parents) == 0 {
		c.fault("cgroups: there is none called %s", c.Name)
	}
	for _, parent := range parents {
		var got []string
		dirs, _ := filepath.Glob(parent + "/*/cgroup.procs")
		for _, d := range dirs {
			got = append(got, filepath.Base(filepath.Dir(d)))
		}
		var want []string
		for _, id := range c.running {
			if c.parent(c.containers[id]) == "/"+c.Name {
				want = append(want, id)
			}
		}
		c.same("cgroups in "+parent, want, got)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		b, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) > 1 && f[0] == "Z" && slices.Contains([]string{strconv.Itoa(c.monitor), strconv.Itoa(c.guardian), strconv.Itoa(c.daemon)}, f[1]) {
			c.fault("processes: nobody reaped %s", path)
		}
	}
}

// mounts looks for mounts of the engine on the host: there is none but the shared
// memory of containers that share it.
func (c *comparison) mounts() {
	for what, pid := range map[string]int{"host": os.Getpid(), "daemon": c.daemon, "monitor": c.monitor} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			c.fault("mounts of the %s: %v", what, err)
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 5 || !strings.HasPrefix(f[4], c.Data+"/") && !strings.HasPrefix(f[4], c.Exec+"/") {
				continue
			}
			dir, ok := strings.CutSuffix(f[4], "/shm")
			if !ok || !slices.Contains(c.running, filepath.Base(dir)) {
				c.fault("mounts of the %s: nobody owns %s", what, f[4])
			}
		}
	}
}

// descriptors looks for files that daemon and monitor keep open though the
// container has ended or the file has gone.
func (c *comparison) descriptors() {
	for what, pid := range map[string]int{"daemon": c.daemon, "guardian": c.guardian, "monitor": c.monitor} {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		for _, fd := range entries(dir) {
			target, err := os.Readlink(filepath.Join(dir, fd))
			if err != nil || strings.HasPrefix(target, "/memfd:") {
				continue
			}
			gone := strings.HasSuffix(target, " (deleted)") && strings.HasPrefix(target, c.Data)
			rest, ours := strings.CutPrefix(target, c.Data+"/containers/")
			id, _, _ := strings.Cut(rest, "/")
			if gone || ours && !slices.Contains(c.running, id) {
				c.fault("descriptors of the %s: %s", what, target)
			}
		}
	}
}

func (c *comparison) onBridge() []string {
	bridge, err := netlink.LinkByName(c.Name)
	if err != nil {
		c.fault("the bridge: %v", err)
		return nil
	}
	links, err := netlink.LinkList()
	for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 100; tries++ {
		links, err = netlink.LinkList() // others changed links meanwhile
	}
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
