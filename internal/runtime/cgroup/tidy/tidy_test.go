package tidy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
)

func TestEmpty(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes cgroups")
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil || len(mounts) == 0 {
		t.Skipf("no cgroup hierarchy is mounted here: %v", err)
	}
	parent := fmt.Sprintf("/hoytidy%d", os.Getpid())
	for _, m := range mounts {
		dir := filepath.Join(m.Mountpoint, parent, "left")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Logf("%s: %v", dir, err)
		}
	}
	Empty("/")
	Empty(parent)
	for _, m := range mounts {
		if dir := filepath.Join(m.Mountpoint, parent); exists(dir) {
			t.Errorf("%s is still there", dir)
		}
	}
}

func TestParents(t *testing.T) {
	dirs := everywhere(fmt.Sprintf("/hoytidy%d/a/b", os.Getpid()))
	if os.Getuid() != 0 || len(dirs) < 2 {
		t.Skipf("needs root and two hierarchies, has %d", len(dirs))
	}
	group := fmt.Sprintf("/hoytidy%d/a/b/id", os.Getpid())
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	Parents(group, filepath.Join(dirs[0], "id"))
	if !exists(dirs[1]) {
		t.Error("parents that are still in use elsewhere were removed")
	}
	for dir := dirs[0]; filepath.Base(dir) != filepath.Base(filepath.Dir(filepath.Dir(dirs[0]))); dir = filepath.Dir(dir) {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	Parents(group, filepath.Join(dirs[0], "id"))
	for _, dir := range dirs[1:] {
		if exists(filepath.Dir(dir)) || !exists(filepath.Dir(filepath.Dir(dir))) {
			t.Errorf("%s: what is gone elsewhere must go, what is not must stay", dir)
		}
	}
	Empty(fmt.Sprintf("/hoytidy%d", os.Getpid()))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
