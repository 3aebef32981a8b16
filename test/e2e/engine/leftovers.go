package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// CheckLeftovers asks the kernel, not the engine, what a stopped engine that held
// no container left behind: processes, mounts, links, rules, cgroups.
func (e *Engine) CheckLeftovers() {
	e.tb.Helper()
	for what, found := range map[string][]string{
		"processes": e.processes(), "mounts": e.mounts(), "links": e.links(),
		"firewall tables": e.tables(), "cgroups": e.cgroups(),
	} {
		if len(found) > 0 {
			e.tb.Errorf("left behind: %s %q", what, found)
		}
	}
}

func (e *Engine) processes() []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), e.Dir) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

func (e *Engine) mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e.tb.Error(err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, e.Dir) {
			found = append(found, line)
		}
	}
	return found
}

func (e *Engine) links() []string {
	links, err := netlink.LinkList()
	for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 100; tries++ {
		links, err = netlink.LinkList() // others changed links meanwhile
	}
	if err != nil {
		e.tb.Error(err)
	}
	var found []string
	for _, l := range links {
		if l.Attrs().Name == e.Name {
			found = append(found, l.Attrs().Name)
		}
	}
	return found
}

func (e *Engine) tables() []string {
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		e.tb.Error(err)
	}
	var found []string
	for _, t := range tables {
		if t.Name == e.Name {
			found = append(found, t.Name)
		}
	}
	return found
}

func (e *Engine) cgroups() []string {
	a, _ := filepath.Glob("/sys/fs/cgroup/*/" + e.Name)
	b, _ := filepath.Glob("/sys/fs/cgroup/" + e.Name)
	return append(a, b...)
}
