// Package layout knows where a process's own binary lies in its memory.
package layout

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// Find reads the calling process's layout, once; code is an address in its text.
func Find(code uintptr) (Addresses, error) {
	once.Do(func() {
		var text []byte
		if text, failed = os.ReadFile("/proc/self/maps"); failed == nil {
			found, failed = parse(string(text), code)
		}
	})
	return found, failed
}

var (
	once   sync.Once
	found  Addresses
	failed error
)

// Addresses are where the binary itself is, from its first segment to the end of
// its zeroed data, and the end of all that is mapped.
type Addresses struct {
	Binary [2]uintptr
	Top    uintptr
	// LibC: a C library is here, whose thread areas the kernel writes to (rseq(2)).
	LibC bool
}

func parse(text string, code uintptr) (Addresses, error) {
	var at Addresses
	type mapping struct {
		low, high uintptr
		file      string
	}
	var list []mapping
	own := ""
	for line := range strings.Lines(text) {
		var m mapping
		var perms, offset, dev, inode string
		if _, err := fmt.Sscanf(line, "%x-%x %s %s %s %s", &m.low, &m.high, &perms, &offset, &dev, &inode); err != nil {
			return at, fmt.Errorf("/proc/self/maps: %q: %w", line, err)
		}
		if inode != "0" {
			m.file = dev + " " + inode
		}
		if int64(m.high) < 0 || strings.HasSuffix(line, "[heap]\n") {
			continue // [vsyscall] is the kernel's
		}
		at.LibC = at.LibC || strings.Contains(line, "/libc.")
		if m.low <= code && code < m.high {
			own = m.file
		}
		list = append(list, m)
		at.Top = max(at.Top, m.high)
	}
	for _, m := range list {
		switch {
		case own == "":
		case m.file == own && at.Binary[1] == 0:
			at.Binary = [2]uintptr{m.low, m.high}
		case m.file == own, m.file == "" && m.low == at.Binary[1]:
			at.Binary[1] = m.high
		}
	}
	if at.Binary[1] == 0 {
		return at, errors.New("/proc/self/maps does not have this program's code")
	}
	return at, nil
}
