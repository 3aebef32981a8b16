package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "unsafe" // for the name of program's own variable

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/config"
	"hoy/internal/runtime/cgroup"
)

// breakAt is package program's seam for this test.
//
//go:linkname breakAt hoy/internal/runtime/program.breakAt
var breakAt func(instructions int) int

// yard is where containers are made in this process, over and over.
type yard struct {
	*testing.T
	root, bundle string
	fds          int
	mounts       string
	// broken is the instruction that fails, and step the verb's step; -1 and "" for none.
	broken int
	step   string
	total  int
	seen   map[string]bool
}

// leakID is this process's own: the same test may run beside.
var leakID = fmt.Sprintf("hoy-leak-test-%d", os.Getpid())

func newYard(t *testing.T) *yard {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces and mounts")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs a static busybox: %v", err)
	}
	y := &yard{T: t, root: t.TempDir(), broken: -1, seen: map[string]bool{}}
	if y.bundle, err = filepath.EvalSymlinks(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	s := config.Example()
	s.Process.Terminal, s.Process.Args, s.Root.Readonly = false, []string{"/bin/busybox", "sleep", "1000"}, false
	s.Linux.CgroupsPath = "/" + leakID + "/box"
	s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	data, err := json.Marshal(s)
	y.must(err)
	y.must(os.MkdirAll(filepath.Join(y.bundle, "rootfs/bin"), 0o755))
	y.must(os.WriteFile(filepath.Join(y.bundle, "rootfs/bin/busybox"), busybox, 0o755))
	y.must(os.WriteFile(filepath.Join(y.bundle, "config.json"), data, 0o644))
	t.Chdir(y.bundle) // create goes there as well, and this way there is a way back
	breakAt = func(n int) int {
		y.total = n
		return y.broken
	}
	t.Cleanup(func() { breakAt = nil })
	return y
}

func (y *yard) must(err error) {
	y.Helper()
	if err != nil {
		y.Fatal(err)
	}
}

// verb runs a verb as a process of its own would, and gives its error text.
func (y *yard) verb(args ...string) string {
	var stderr bytes.Buffer
	a := newApp(nil, &bytes.Buffer{}, &stderr)
	a.fail = func(step string) error {
		y.seen[step] = true
		if step == y.step {
			return errors.New("broken on purpose")
		}
		return nil
	}
	if a.main(append([]string{"--root", y.root}, args...)) == 0 {
		return ""
	}
	return stderr.String()
}

// life makes a container and ends it; where something is broken it says what
// failed, and nothing else may.
func (y *yard) life() string {
	y.Helper()
	said := y.verb("create", "--bundle", y.bundle, "--pid-file", filepath.Join(y.root, "..", "pid"), leakID)
	if said != "" {
		if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
			y.Errorf("instruction %d, step %q: a process is left: %v", y.broken, y.step, err)
		}
		return said
	}
	if said = y.verb("start", leakID); said == "" {
		if err := y.verb("kill", leakID, "KILL"); err != "" {
			y.Errorf("kill: %s", err)
		}
	}
	// This process is the parent, as an engine's monitor would be.
	if _, err := unix.Wait4(-1, nil, 0, nil); err != nil {
		y.Error(err)
	}
	deleted := y.verb("delete", leakID)
	if deleted != "" && y.step == "" {
		y.Errorf("delete: %s", deleted)
	}
	if deleted != "" {
		y.step = ""
		if err := y.verb("delete", leakID); err != "" {
			y.Errorf("second delete: %s", err)
		}
		return deleted
	}
	return said
}

// check finds what is left.
func (y *yard) check() error {
	if left, err := os.ReadDir(y.root); err != nil || len(left) > 0 {
		return fmt.Errorf("state is left: %v, %w", left, err)
	}
	p, err := cgroup.ForPath("/"+leakID+"/box", leakID, false)
	if err != nil || p.Exists() {
		return fmt.Errorf("the control group is left: %w", err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil || len(fds) != y.fds {
		return fmt.Errorf("%d descriptors, %d before: %w", len(fds), y.fds, err)
	}
	if mounts := y.mountsOfOurs(); mounts != y.mounts {
		return fmt.Errorf("mounts have changed: %s", mounts)
	}
	return y.namespaces()
}

// mountsOfOurs are the host's mounts in places that a start has to do with;
// others on the machine mount elsewhere meanwhile.
func (y *yard) mountsOfOurs() string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	y.must(err)
	var ours strings.Builder
	for line := range strings.Lines(string(data)) {
		at := strings.Fields(line)[4]
		if at == "/" || at == "/dev" || strings.HasPrefix(at, y.bundle) || strings.HasPrefix(at, y.root) {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

// namespaces: with no process and no descriptor left, only a thread of ours
// could still be in one.
func (y *yard) namespaces() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, ns := range []string{"mnt", "pid_for_children", "net", "ipc", "uts", "cgroup", "user"} {
		own, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			return err
		}
		for _, task := range tasks {
			if got, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/" + ns); err == nil && got != own {
				return fmt.Errorf("a thread is in %s, not in %s", got, own)
			}
		}
	}
	return nil
}

// settled checks until nothing is left: a thread that has forked in other
// namespaces ends a moment after.
func (y *yard) settled() {
	y.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { //nolint:forbidigo // threads end when they do
		err := y.check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			y.Fatalf("instruction %d, step %q: %v", y.broken, y.step, err)
		}
	}
}

// gone: a process that fails while nobody is connected to it can tell nobody.
func gone(said string) bool {
	return strings.Contains(said, "cannot start a container that has stopped") || strings.Contains(said, "ended before it came to its command")
}

// TestNothingIsLeftWhereverItFails breaks a container's life at every
// instruction of its program and at every step of the verbs. Each failure must
// be told, leave nothing behind, and not be in the way of the next.
func TestNothingIsLeftWhereverItFails(t *testing.T) {
	y := newYard(t)
	if said := y.life(); said != "" {
		t.Fatal(said)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	y.must(err)
	y.fds, y.mounts = len(fds), y.mountsOfOurs()
	y.settled()
	begin, cycles, n, steps := time.Now(), 0, y.total, y.seen
	unreached := 0
	for i := range n {
		y.broken = i
		said := y.life()
		y.settled()
		if said == "" {
			unreached++ // jumped over, as an instruction for another kernel or case
		} else if !strings.Contains(said, "level 2 halted") && !gone(said) {
			t.Errorf("instruction %d: %s", i, said)
		}
		y.broken = -1
		if i%3 == 0 || said == "" {
			if said := y.life(); said != "" {
				t.Fatalf("after instruction %d: %s", i, said)
			}
			y.settled()
			cycles++
		}
		cycles++
	}
	if unreached > n/4 {
		t.Errorf("%d of %d instructions were never reached", unreached, n)
	}
	for step := range steps {
		y.step = step
		if said := y.life(); !strings.Contains(said, "broken on purpose") {
			t.Errorf("step %q: %s", step, said)
		}
		y.step = ""
		y.settled()
		if said := y.life(); said != "" {
			t.Fatalf("after step %q: %s", step, said)
		}
		y.settled()
		cycles += 2
	}
	t.Logf("%d lives, %d instructions of which %d were jumped over, %d steps, in %v", cycles, n, unreached, len(steps), time.Since(begin))
}
