// Package identity finds out who a container's process runs as, from the
// /etc/passwd and /etc/group of the container's own root file system. Both
// files are hostile: they may be links, devices, pipes or without end.
package identity

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/rootfs"
)

// maxFile is how much of a passwd or group file is read; maxLine is the longest
// line that counts. The rest is as if it were not there.
const (
	maxFile = 4 << 20
	maxLine = 16 << 10
)

// User is who a process runs as. The numbers are the container's.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups.
	Groups []uint32
	// Home is the home directory; "/" where the user has no entry.
	Home string
}

// Lookup resolves who ("uid", "name", "uid:gid", "name:group", "" for root) and
// additional groups by the files below root. A number needs no entry.
func Lookup(root *os.File, who string, groups []string) (User, error) {
	passwd, err := read(root, "/etc/passwd", 2, 3)
	if err != nil {
		return User{}, err
	}
	group, err := read(root, "/etc/group", 2)
	if err != nil {
		return User{}, err
	}
	found, err := user.GetExecUser(who, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return User{}, err
	}
	u := User{UID: uint32(found.Uid), GID: uint32(found.Gid), Home: found.Home}
	ids := append([]int{found.Gid}, found.Sgids...)
	if len(groups) > 0 {
		more, err := user.GetAdditionalGroups(groups, bytes.NewReader(group))
		if err != nil {
			return User{}, err
		}
		ids = append(ids, more...)
	}
	seen := make(map[int]bool, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			u.Groups = append(u.Groups, uint32(id))
		}
	}
	return u, nil
}

// read returns the file's sound lines, with ids in the fields of those numbers;
// nothing where there is no such file.
func read(root *os.File, name string, ids ...int) ([]byte, error) {
	// O_PATH: opening a pipe would wait, and opening a device would do what that
	// device does, such as to start a watchdog.
	at, err := rootfs.OpenInRoot(root, name, unix.O_PATH, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up user: %w", err)
	}
	defer at.Close()
	st, err := at.Stat()
	if err != nil {
		return nil, fmt.Errorf("look up user: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("look up user: %s is not a regular file", name)
	}
	// The descriptor's own link leads to that file and nowhere else.
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
	if err != nil {
		return nil, fmt.Errorf("look up user: %w", err)
	}
	defer f.Close()
	return lines(io.LimitReader(f, maxFile), ids)
}

// lines drops what is not an entry: lines that are too long, hold a NUL, or have
// no id where one must be. What reads on takes such an id for 0, or cuts it to
// 32 bits, and so would make root of a user.
func lines(r io.Reader, ids []int) ([]byte, error) {
	var out bytes.Buffer
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if !long && sound(string(line), ids) {
			out.Write(line)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("look up user: %w", err)
		}
	}
}

func sound(line string, ids []int) bool {
	if strings.Contains(line, "\x00") {
		return false
	}
	fields := strings.Split(strings.TrimSpace(line), ":")
	for _, i := range ids {
		if i >= len(fields) || !isID(fields[i]) {
			return false
		}
	}
	return true
}

// isID takes what the kernel does: the highest number means "no change".
func isID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n < 1<<32-1
}
