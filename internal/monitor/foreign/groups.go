package foreign

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// join makes sure that a process which does not run yet is in its cgroups, and
// says whether the runtime had put it there.
func join(procs []string, pid int) (already bool, err error) {
	already = true
	number := strconv.Itoa(pid)
	for _, file := range procs {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if slices.Contains(strings.Fields(string(text)), number) {
			continue
		}
		already = false
		if err := os.WriteFile(file, []byte(number), 0); err != nil { //nolint:forbidigo // a file of the kernel
			return false, err
		}
	}
	return already, nil
}

// enterGroups starts cmd in the container's cgroups, for a runtime that leaves
// them alone. The calling thread stays in those of version 1 and must end.
func (c *container) enterGroups(cmd *exec.Cmd) error {
	for _, file := range c.procs {
		dir := filepath.Dir(file)
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		if fs.Type == unix.CGROUP2_SUPER_MAGIC {
			group, err := os.Open(dir)
			if err != nil {
				return err
			}
			defer group.Close()
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
			continue
		}
		err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0) //nolint:forbidigo // a file of the kernel
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return cmd.Start()
}
