// Package landlock lets a container's processes reach less than their user
// could: files by path, TCP ports by number (landlock(7)).
package landlock

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Annotation holds rules in a specification, which has no field for them.
const Annotation = "hoy.landlock"

// What a rule may open.
const (
	read    = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execute = read | unix.LANDLOCK_ACCESS_FS_EXECUTE
	write   = read | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	allFiles = execute | write
	// ofFile are the rights that a file which is no directory can have.
	ofFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

var pathKinds = map[string]uint64{"read": read, "exec": execute, "write": write, "all": allFiles}

var portKinds = map[string]uint64{"bind": unix.LANDLOCK_ACCESS_NET_BIND_TCP, "connect": unix.LANDLOCK_ACCESS_NET_CONNECT_TCP}

// alwaysOpen is where devices and the process's own facts are: both have rules
// of their own, and hardly a program runs without.
var alwaysOpen = []string{"/dev", "/proc"}

// maxRules bounds one container's rules; each costs some system calls at a start.
const maxRules = 256

// Rules are what stays open.
type Rules struct {
	paths []pathRule
	ports []portRule
	net   uint64 // what ports are handled for
}

type pathRule struct {
	path   string
	access uint64
}

type portRule struct {
	port   uint16
	access uint64
}

// Parse reads rules: "read:PATH", "exec:PATH" (and read), "write:PATH" (and
// read, create, remove), "all:PATH", "bind:PORT", "connect:PORT"; "none" in the
// place of a port closes all. Several may be in one text, with commas between
// them. As soon as there is one for paths, all other paths are closed, and so
// it is with what sockets bind, and with what they connect to.
func Parse(texts []string) (*Rules, error) {
	r := new(Rules)
	for _, text := range texts {
		for one := range strings.SplitSeq(text, ",") {
			if err := r.add(one); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case len(r.paths)+len(r.ports) > maxRules:
		return nil, fmt.Errorf("landlock: %d rules, at most %d are possible", len(r.paths)+len(r.ports), maxRules)
	case len(r.paths) > 0:
		for _, p := range alwaysOpen {
			r.paths = append(r.paths, pathRule{p, write})
		}
	}
	return r, nil
}

func (r *Rules) add(rule string) error {
	kind, object, _ := strings.Cut(rule, ":")
	if access, ok := pathKinds[kind]; ok {
		if !path.IsAbs(object) || strings.ContainsRune(object, 0) {
			return fmt.Errorf("landlock: %q: %s must be followed by an absolute path in the container", rule, kind)
		}
		r.paths = append(r.paths, pathRule{path.Clean(object), access})
		return nil
	}
	access, ok := portKinds[kind]
	if !ok {
		return fmt.Errorf("landlock: %q is not read:PATH, exec:PATH, write:PATH, all:PATH, bind:PORT or connect:PORT", rule)
	}
	r.net |= access
	if object == "none" {
		return nil
	}
	port, err := strconv.ParseUint(object, 10, 16)
	if err != nil {
		return fmt.Errorf("landlock: %q: %s must be followed by a port or \"none\"", rule, kind)
	}
	r.ports = append(r.ports, portRule{uint16(port), access})
	return nil
}

// Annotated are the rules in a specification's annotations.
func Annotated(annotations map[string]string) []string {
	if text := annotations[Annotation]; text != "" {
		return []string{text}
	}
	return nil
}

// Empty says that nothing is closed.
func (r *Rules) Empty() bool { return r == nil || len(r.paths) == 0 && r.net == 0 }

// Open opens one more program, by its path in the container.
func (r *Rules) Open(program string) {
	if len(r.paths) > 0 {
		r.paths = append(slices.Clone(r.paths), pathRule{program, execute})
	}
}

// Version is the kernel's, 0 where it has no Landlock or does not run it.
var Version = sync.OnceValue(func() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
})

// withPorts is the version at which the rights of ports came, by landlock(7).
const withPorts = 4

// since are the versions at which rights of files came.
var since = []struct {
	version int
	access  uint64
}{{2, unix.LANDLOCK_ACCESS_FS_REFER}, {3, unix.LANDLOCK_ACCESS_FS_TRUNCATE}, {5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV}}

// Check refuses what a kernel of that version cannot close.
func (r *Rules) Check(version int) error {
	switch {
	case r.Empty():
		return nil
	case version == 0:
		return fmt.Errorf("landlock: this kernel does not have it, or does not run it (see /sys/kernel/security/lsm)")
	case r.net != 0 && version < withPorts:
		return fmt.Errorf("landlock: this kernel cannot close ports: Linux 6.7 can")
	}
	return nil
}

// handled are the rights of files that a kernel of that version knows.
func handled(version int) uint64 {
	all := uint64(allFiles)
	for _, s := range since {
		if version < s.version {
			all &^= s.access
		}
	}
	return all
}
