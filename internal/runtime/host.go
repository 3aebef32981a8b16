package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/compile"
)

// power fills in what the calling process itself may do.
func power(in *compile.Input) error {
	own, err := become.OwnCapabilities()
	if err != nil {
		return fail("read own capabilities", err)
	}
	in.Own, in.LSM = own, become.Modules()
	in.CanRaise = own.Permitted&(1<<unix.CAP_SYS_RESOURCE) != 0
	in.Limits = func(resource int) uint64 {
		var lim unix.Rlimit
		if err := unix.Prlimit(0, resource, nil, &lim); err != nil {
			return 0
		}
		return lim.Max
	}
	return nil
}

// taskLists are the version 1 task lists beside cgroup.procs files.
func taskLists(procs []string) []string {
	lists := make([]string, len(procs))
	for i, file := range procs {
		lists[i] = filepath.Join(filepath.Dir(file), "tasks")
	}
	return lists
}

// cgroups sorts cgroup.procs files by the version of their hierarchy.
func cgroups(procs []string) (compile.Cgroups, error) {
	c := compile.Cgroups{Links: cgroupLinks()}
	for _, file := range procs {
		dir := filepath.Dir(file)
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return c, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		switch {
		case fs.Type == unix.CGROUP_SUPER_MAGIC:
			c.Tasks = append(c.Tasks, filepath.Join(dir, "tasks"))
		case fs.Type != unix.CGROUP2_SUPER_MAGIC:
			return c, fmt.Errorf("%s is not in a cgroup file system", dir)
		case c.Unified != "":
			return c, fmt.Errorf("both %s and %s are version 2 cgroups", c.Unified, dir)
		default:
			c.Unified = dir
		}
	}
	return c, nil
}

// cgroupLinks are the links such as cpu -> cpu,cpuacct beside the hierarchies.
var cgroupLinks = sync.OnceValue(func() map[string]string {
	links := map[string]string{}
	entries, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		return links
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if to, err := os.Readlink(filepath.Join("/sys/fs/cgroup", e.Name())); err == nil && !strings.Contains(to, "/") {
			links[e.Name()] = to
		}
	}
	return links
})

func fail(step string, err error) *StartError {
	var already *StartError
	if errors.As(err, &already) {
		return already
	}
	return &StartError{Step: step, Err: err}
}
