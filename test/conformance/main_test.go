// Package conformance runs what others wrote on hoy-run as OCI runtime: the
// validation suite of the OCI runtime tools, and Debian's engines. What passed
// is docs/conformance.md, which these tests keep true.
package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

var (
	update  = flag.Bool("update", false, "write docs/conformance.md from what passed")
	runtime = flag.String("runtime", "hoy-run", "run the validation suite with this OCI runtime in place of hoy-run and record what it passes")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 {
		if err := keepPage(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

// box is a directory of a test's own, with a runtime whose state is in it.
type box struct {
	tb  testing.TB
	dir string
	// runtime is a command without arguments, as the engines want one.
	runtime string
}

// newBox makes a box, and checks at the end that its directory's name is in no
// process, mount or cgroup any more.
func newBox(tb testing.TB, path string) *box {
	tb.Helper()
	if testing.Short() {
		tb.Skip("-short: needs root and Debian's engines")
	}
	if os.Getuid() != 0 {
		tb.Skip("needs root: containers are made")
	}
	dir, err := os.MkdirTemp("", "hoyconf") //nolint:usetesting // a socket's path has 107 bytes; the test's own directory may be longer
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // users of user namespaces go through it
		tb.Fatal(err)
	}
	b := &box{tb: tb, dir: dir, runtime: filepath.Join(dir, "runtime")}
	tb.Cleanup(b.finish)
	b.wrapper(fmt.Sprintf("exec %s --root %s/state \"$@\"\n", path, dir))
	return b
}

// wrapper writes the runtime's command: most callers give a runtime no place to
// add flags.
func (b *box) wrapper(script string) {
	b.tb.Helper()
	if err := os.WriteFile(b.runtime, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		b.tb.Fatal(err)
	}
}

// path makes a directory of the box.
func (b *box) path(name string) string {
	b.tb.Helper()
	p := filepath.Join(b.dir, name)
	if err := os.MkdirAll(p, 0o755); err != nil {
		b.tb.Fatal(err)
	}
	return p
}

// name is unique on this machine, for cgroups and containers.
func (b *box) name() string { return filepath.Base(b.dir) }

func (b *box) finish() {
	engine.Eventually(b.tb, "no process is left of "+b.dir, func() bool { return len(b.processes()) == 0 })
	for what, left := range map[string][]string{"processes": b.processes(), "mounts": b.mounts(), "cgroups": cgroupsNamed(b.name())} {
		if len(left) > 0 {
			b.tb.Errorf("left behind: %s %q", what, left)
		}
	}
	if states, _ := filepath.Glob(b.dir + "/state/*"); len(states) > 0 {
		b.tb.Errorf("left behind: containers %q", states)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		b.tb.Error(err)
	}
}

func (b *box) processes() []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), b.dir) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func (b *box) mounts() []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		b.tb.Error(err)
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, b.dir) {
			found = append(found, line)
		}
	}
	return found
}

// cgroupsNamed lists the cgroups whose name contains a word: at the top, and
// below groups such as this process's own, which relative names begin at.
func cgroupsNamed(word string) []string {
	var found []string
	for _, above := range []string{"", "*/", "*/*/", "*/*/*/", "*/*/*/*/"} {
		some, _ := filepath.Glob("/sys/fs/cgroup/" + above + "*" + word + "*")
		found = append(found, some...)
	}
	return found
}
