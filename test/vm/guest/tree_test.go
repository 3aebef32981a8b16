package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

const tree = "/sys/fs/cgroup"

// unified says whether the machine has version 2 alone.
func unified(t testing.TB) bool {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(tree, &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// file is one control file by both versions' names. V1 names its hierarchy first.
type file struct{ v1, v2 string }

// group is the cgroup of a process.
type group struct {
	t  testing.TB
	v2 bool
	// paths by hierarchy; version 2's is "".
	paths map[string]string
}

func groupOf(t testing.TB, pid int) *group {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	g := &group{t: t, v2: unified(t), paths: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, name := range strings.Split(parts[1], ",") {
			g.paths[name] = parts[2]
		}
	}
	return g
}

// path of a file in the host's tree.
func (g *group) path(f file) string {
	if g.v2 {
		return filepath.Join(tree, g.paths[""], f.v2)
	}
	controller := filepath.Dir(f.v1)
	path := g.paths[controller]
	if controller == "unified" {
		path = g.paths[""]
	}
	return filepath.Join(tree, controller, path, filepath.Base(f.v1))
}

func (g *group) read(f file) string {
	g.t.Helper()
	b, err := os.ReadFile(g.path(f))
	if err != nil {
		g.t.Error(err)
	}
	return strings.TrimSpace(string(b))
}

// name of the file on this machine; empty where the version has none.
func (g *group) name(f file) string {
	if g.v2 {
		return f.v2
	}
	return filepath.Base(f.v1)
}

// counter finds a key in a file of lines "key value".
func (g *group) counter(f file, key string) string {
	g.t.Helper()
	for line := range strings.Lines(g.read(f)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == key {
			return v
		}
	}
	return ""
}

// box is an engine whose refusals fail one test.
type box struct {
	*engine.Engine
	t testing.TB
}

// sub runs a subtest.
func (b *box) sub(t *testing.T, name string, test func(*testing.T, *box)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { test(t, &box{b.Engine, t}) })
}

// Must is the engine's, for this test.
func (b *box) Must(args ...string) string {
	b.t.Helper()
	return b.Hoy(args...).Must(b.t)
}

func inspect(e *box, name string) container.InspectResponse {
	var list []container.InspectResponse
	if err := json.Unmarshal([]byte(e.Must("inspect", name)), &list); err != nil {
		panic(err)
	}
	return list[0]
}

// run starts a container that sleeps and returns its name and group.
func run(t *testing.T, e *box, args ...string) (string, *group) {
	t.Helper()
	name := engine.Unique("c")
	e.Must(append(append([]string{"run", "-d", "--name", name, "--network", "none"}, args...), "busybox", "sleep", "1000")...)
	t.Cleanup(func() { e.Must("rm", "-f", name) })
	return name, groupOf(t, inspect(e, name).State.Pid)
}

// disk is the machine's first disk with its numbers.
func disk(t *testing.T) (path, numbers string) {
	t.Helper()
	for _, name := range []string{"vda", "sda", "nvme0n1"} {
		if _, err := os.Stat("/sys/block/" + name); err == nil {
			return node(t, name)
		}
	}
	t.Skip("needs a disk")
	return "", ""
}

// openable is a block device that this process may open itself: where the
// machine is a container or something like it, the disk is not one.
func openable(t *testing.T) (path, numbers string) {
	t.Helper()
	for _, name := range []string{"vda", "sda", "nvme0n1", "loop0"} {
		if f, err := os.Open("/dev/" + name); err == nil {
			f.Close()
			return node(t, name)
		}
	}
	t.Skip("needs a block device that may be opened")
	return "", ""
}

func node(t *testing.T, name string) (path, numbers string) {
	t.Helper()
	b, err := os.ReadFile("/sys/block/" + name + "/dev")
	if err != nil {
		t.Skipf("needs the disk %s: %v", name, err)
	}
	return "/dev/" + name, strings.TrimSpace(string(b))
}

// says records what the table shows beside the outcome.
func says(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Attr("says", fmt.Sprintf(format, args...))
}

func owner(st os.FileInfo) uint32 { return st.Sys().(*syscall.Stat_t).Uid }
