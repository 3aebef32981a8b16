package roster

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// endTime bounds the search for processes of interrupted starts: one that is
// just becoming its command is found at the second look.
const endTime = 2 * time.Second

// endStarts kills whoever has one of the pipes open: processes that a monitor
// was starting when it was killed. Until it has become its command such a
// process has all of the monitor's descriptors, so none is missed.
func (r *Roster) endStarts(pipes []string) {
	if len(pipes) == 0 {
		return
	}
	inodes := map[inode]bool{}
	for _, path := range pipes {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			inodes[inode{st.Dev, st.Ino}] = true
		}
	}
	for deadline := time.Now().Add(endTime); ; {
		n := endHolders(inodes)
		if n == 0 || time.Now().After(deadline) {
			break
		}
		r.log.Warn("processes of an interrupted start were killed", "processes", n)
		time.Sleep(time.Millisecond) //nolint:forbidigo // they are not our children; when they have gone they hold nothing
	}
	for _, path := range pipes {
		_ = os.Remove(path)
	}
}

type inode struct{ dev, ino uint64 }

// endHolders kills the processes that have one of the files open, and counts them.
func endHolders(inodes map[inode]bool) (n int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		// Our parent is the guardian, who may keep the pipe for us.
		if err != nil || pid == 1 || pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// The number is that of the descriptor's process as long as the signal can be sent.
		if holds(dir, inodes) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
			n++
		}
		_ = unix.Close(fd)
	}
	return n
}

func holds(dir string, inodes map[inode]bool) bool {
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return false
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(dir+"/fd/"+e.Name(), &st) == nil && inodes[inode{st.Dev, st.Ino}] {
			return true
		}
	}
	return false
}
