// Package source looks at what is to be mounted without asking the file system
// that it is on: one that hangs, as FUSE and NFS can, would hang who asks, and
// no signal ends a process that waits so.
package source

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// IsDir says whether path is a directory. The error is an *fs.PathError. The
// kernel answers from what it knows; only the directories on the way to path
// are looked up where they are.
func IsDir(path string) (bool, error) {
	var st unix.Statx_t
	for {
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
	}
}
