// Package tree tells which control group hierarchies a machine has, and which
// of them carries which controller: version 1, version 2, or both (hybrid).
package tree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Mount is one hierarchy.
type Mount struct {
	// Dir is where it is mounted; Root the group that is shown there, "/"
	// unless we are inside a container without a cgroup namespace.
	Dir, Root string
}

// Tree is a machine's hierarchies.
type Tree struct {
	// V1 maps a controller, or "name=systemd", to its hierarchy. Controllers
	// that are mounted together share one.
	V1 map[string]Mount
	// V2 is the version 2 hierarchy; its Dir is empty where there is none.
	V2 Mount
	// Controllers of V2, by version 2's names.
	Controllers []string
	// Own are the groups that this process is in, by controller, "" for version 2.
	Own map[string]string

	once    sync.Once
	support Support
}

// Find reads what the kernel has, once.
var Find = sync.OnceValues(func() (*Tree, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = mounts.Close() }()
	t := &Tree{V1: map[string]Mount{}}
	if err := t.readMounts(mounts); err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer func() { _ = own.Close() }()
	if t.Own, err = readOwn(own); err != nil {
		return nil, fmt.Errorf("read own cgroups: %w", err)
	}
	if t.V2.Dir != "" {
		b, err := os.ReadFile(filepath.Join(t.V2.Dir, "cgroup.controllers"))
		if err != nil {
			return nil, err
		}
		t.Controllers = strings.Fields(string(b))
	}
	if t.V2.Dir == "" && len(t.V1) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted")
	}
	return t, nil
})

// readMounts takes for each hierarchy the first mount that shows the most of it.
func (t *Tree) readMounts(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		head, tail, ok := strings.Cut(lines.Text(), " - ")
		f, kind := strings.Fields(head), strings.Fields(tail)
		// A mount that shows "/.." is of a group above our own namespace.
		if !ok || len(f) < 5 || len(kind) < 3 || strings.HasPrefix(f[3], "/..") {
			continue
		}
		m := Mount{Dir: unescape(f[4]), Root: unescape(f[3])}
		switch kind[0] {
		case "cgroup2":
			if better(m, t.V2) {
				t.V2 = m
			}
		case "cgroup":
			for opt := range strings.SplitSeq(kind[2], ",") {
				if (known[opt] || strings.HasPrefix(opt, "name=")) && better(m, t.V1[opt]) {
					t.V1[opt] = m
				}
			}
		}
	}
	return lines.Err()
}

func better(m, old Mount) bool { return old.Dir == "" || len(m.Root) < len(old.Root) }

// known are version 1's controllers; other mount options are none.
var known = map[string]bool{
	"devices": true, "memory": true, "cpu": true, "cpuacct": true, "cpuset": true, "pids": true, "blkio": true,
	"freezer": true, "hugetlb": true, "rdma": true, "net_cls": true, "net_prio": true, "perf_event": true, "misc": true,
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

func readOwn(r io.Reader) (map[string]string, error) {
	own := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) < 3 {
			continue
		}
		for name := range strings.SplitSeq(f[1], ",") {
			own[name] = f[2]
		}
	}
	return own, lines.Err()
}

// Unified says that version 2 is all there is.
func (t *Tree) Unified() bool { return len(t.V1) == 0 }

// Version is "1" (also for a hybrid machine) or "2".
func (t *Tree) Version() string {
	if t.Unified() {
		return "2"
	}
	return "1"
}

// two maps version 1's names of controllers to those of version 2.
var two = map[string]string{"blkio": "io"}

// Has says whether version 1 or version 2 carries a controller, by version 1's name.
func (t *Tree) Has(controller string) (v1, v2 bool) {
	_, v1 = t.V1[controller]
	name := controller
	if n, ok := two[controller]; ok {
		name = n
	}
	return v1, t.V2.Dir != "" && slices.Contains(t.Controllers, name)
}

// OwnDir is the directory of the group that this process is in.
func (t *Tree) OwnDir(controller string) (string, error) {
	m, name := t.V1[controller], t.Own[controller]
	if controller == "" {
		m = t.V2
	}
	rel, err := filepath.Rel(m.Root, path.Clean("/"+name))
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		// Inside a container without a namespace of its own the mount may show
		// less than the name says: what is mounted is what there is.
		rel = "."
	}
	return filepath.Join(m.Dir, rel), nil
}

// File says whether a file is in the group dir.
func File(dir, name string) bool {
	return unix.Access(filepath.Join(dir, name), unix.F_OK) == nil
}
