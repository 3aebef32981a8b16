package cli

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// socketGroup returns the name of the group that owns the socket, or the name
// the daemon uses by default. It reads /etc/group itself: package os/user would
// bind the program to the C library.
func socketGroup(path string) string {
	const usual = "hoy"
	info, err := os.Stat(path)
	if err != nil {
		return usual
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 {
		return usual
	}
	f, err := os.Open("/etc/group")
	if err != nil {
		return usual
	}
	defer f.Close()
	gid := strconv.FormatUint(uint64(st.Gid), 10)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if field := strings.Split(lines.Text(), ":"); len(field) > 2 && field[2] == gid {
			return field[0]
		}
	}
	return usual
}
