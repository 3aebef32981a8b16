// Package tidy removes cgroups that runtimes leave behind.
package tidy

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Empty removes empty groups below parent, and parent itself, from every mounted
// hierarchy: other runtimes make groups in those, too, in which package cgroup
// makes none (systemd's own, and version 2 on a hybrid machine). The kernel
// refuses to remove what a process is in.
func Empty(parent string) {
	if !strings.HasPrefix(parent, "/") || filepath.Clean(parent) == "/" {
		return
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return
	}
	for _, m := range mounts {
		if m.Root != "/" {
			continue // a part of a hierarchy, seen elsewhere
		}
		dir := filepath.Join(m.Mountpoint, parent)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
		_ = os.Remove(dir)
	}
}
