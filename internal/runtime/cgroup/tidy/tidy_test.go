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

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
