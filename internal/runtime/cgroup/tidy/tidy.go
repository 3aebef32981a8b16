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
	for _, dir := range everywhere(parent) {
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

// Parents removes group's parents, as far as they are empty and gone already
// from the hierarchy in which the group was dir: whoever removed them there had
// made them, and a runtime has made them in others.
func Parents(group, dir string) {
	root, ok := strings.CutSuffix(dir, group)
	if !ok || !filepath.IsAbs(group) {
		return
	}
	for at := filepath.Dir(group); at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(root, at)); !os.IsNotExist(err) {
			return
		}
		for _, dir := range everywhere(at) {
			_ = os.Remove(dir)
		}
	}
}

// everywhere are the directories of a group in all mounted hierarchies.
func everywhere(group string) (dirs []string) {
	if !filepath.IsAbs(group) || filepath.Clean(group) == "/" {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil
	}
	for _, m := range mounts {
		if m.Root == "/" { // else it is a part of a hierarchy, seen elsewhere
			dirs = append(dirs, filepath.Join(m.Mountpoint, group))
		}
	}
	return dirs
}
