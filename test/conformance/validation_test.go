package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

// outcome is what one program of the suite said.
type outcome struct {
	Points int      `json:"points"`
	Failed []string `json:"failed,omitempty"` // descriptions, each once
	stderr string
}

// The word in place of each mount's point about the order.
const inOrder = "mounts[…] found in order"

// The word in place of failed points where a program ended with an error of its
// own, most often as the container could not be created.
const ended = "the program ended with an error"

var (
	point      = regexp.MustCompile(`^(not )?ok \d+(?: - (.*))?$`)
	skip       = regexp.MustCompile(`(?i)# (skip|todo)`)
	stdout     = regexp.MustCompile(`^ +"stdout": (".*"),?\n`)
	mountOrder = regexp.MustCompile(`^mounts\[\d+\] \(.*\) found in order$`)
	fault      = regexp.MustCompile(`(?m)^    "error": "([^"\\]+)`)
)

// readTAP reads the points of a program's output. A point that the program
// itself skips counts as none.
func readTAP(out string) (o outcome) {
	inner := ""
	for line := range strings.Lines(out) {
		if m := stdout.FindStringSubmatch(line); m != nil {
			_ = json.Unmarshal([]byte(m[1]), &inner)
		}
		m := point.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil || skip.MatchString(m[2]) {
			continue
		}
		o.Points++
		if m[1] != "" {
			o.fail(m[2], inner)
		}
		inner = ""
	}
	// Some programs make no point: they print an error or nothing.
	if m := fault.FindStringSubmatch(out); o.Points == 0 && m != nil {
		o.Failed = append(o.Failed, m[1])
	}
	return o
}

// fail notes a failed point: by the points that failed inside the container,
// where the program gives that output with it.
func (o *outcome) fail(point, inner string) {
	failed := readInner(inner)
	if len(failed) == 0 {
		failed = []string{point}
	}
	for _, f := range failed {
		if f = mountOrder.ReplaceAllString(f, inOrder); !slices.Contains(o.Failed, f) {
			o.Failed = append(o.Failed, f)
		}
	}
}

func readInner(out string) (failed []string) {
	for line := range strings.Lines(out) {
		m := point.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m != nil && m[1] != "" && !skip.MatchString(m[2]) {
			failed = append(failed, m[2])
		}
	}
	return failed
}

// buildSuite builds every program of the suite and puts what they read beside them.
func buildSuite(t *testing.T, dir string) []string {
	t.Helper()
	const module = "ociruntime"
	engine.RunEnv(t, []string{"CGO_ENABLED=0"}, "", "go", "build", "-C", module, "-ldflags=-s -w", "-o", dir, "tool").Must(t)
	src := engine.Run(t, "", "go", "list", "-C", module, "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-tools").Must(t)
	programs, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	const archive = "rootfs-amd64.tar.gz"
	content, err := os.ReadFile(filepath.Join(src, archive))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, archive), content, 0o600); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range programs {
		if p.Name() != "runtimetest" { // runs inside the containers
			names = append(names, p.Name())
		}
	}
	return names
}

// validation runs the suite's programs against one runtime.
type validation struct {
	*box
	suite string

	mu  sync.Mutex
	all map[string]outcome
}

// one runs a program. It has a mount namespace of its own, as one of the tests
// has a container without one.
func (v *validation) one(t *testing.T, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./"+program)
	cmd.Dir = v.suite
	cmd.Env = append(os.Environ(), "RUNTIME="+v.runtime, "TMPDIR="+v.path("bundles"), "PRIVATE=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	o := readTAP(out.String())
	o.stderr = errOut.String()
	if err != nil {
		o.Failed = append(o.Failed, ended)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ok && !exit.Exited() {
		t.Errorf("%s: %v\n%s", program, err, o.stderr)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all[program] = o
}

// run runs all programs: side by side, as most of their time is waiting, but one
// at a time those that share a cgroup's name.
func (v *validation) run(t *testing.T, programs []string) {
	t.Helper()
	var wg sync.WaitGroup
	room := make(chan struct{}, 6)
	var inTurn []string
	for _, p := range programs {
		if strings.HasPrefix(p, "linux_cgroups_") || p == "delete_resources" || p == "delete_only_create_resources" {
			inTurn = append(inTurn, p)
			continue
		}
		wg.Go(func() {
			room <- struct{}{}
			v.one(t, p)
			<-room
		})
	}
	wg.Go(func() {
		for _, p := range inTurn {
			v.one(t, p)
		}
	})
	wg.Wait()
}

// sweep removes the containers and cgroups that programs of the suite leave
// when they end in the middle.
func (v *validation) sweep(t *testing.T) {
	t.Helper()
	for _, dir := range entriesOf(v.dir + "/state") {
		if r := engine.Run(t, "", v.runtime, "delete", "--force", dir); r.Code != 0 {
			t.Errorf("delete --force %s: %s", dir, r.Err)
		}
	}
	for _, name := range []string{"cgrouptest", "testdir"} { // the suite's own words
		for _, dir := range cgroupsNamed(name) {
			for _, below := range []string{"/*/*", "/*", ""} {
				list, _ := filepath.Glob(dir + below + "/cgroup.procs")
				for _, procs := range list {
					_ = unix.Rmdir(filepath.Dir(procs))
				}
			}
		}
	}
}

func entriesOf(dir string) []string {
	list, _ := os.ReadDir(dir)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// runtimeScript is the wrapper of a runtime. Debian's crun refuses
// configurations of versions that are newer than 1.0, so for it alone the
// version is lowered; nothing that this suite uses has changed since. It refuses
// hybrid cgroups too, so it does not see version 2 beside version 1.
func runtimeScript(path, dir string) string {
	script := fmt.Sprintf("exec %s --root %s/state \"$@\"\n", path, dir)
	if filepath.Base(path) != "crun" {
		return script
	}
	return `if [ "$PRIVATE" ]; then umount /sys/fs/cgroup/unified 2>/dev/null; fi
if [ "$1" = create ]; then
	for a; do
		if [ -f "$a/config.json" ]; then sed -i 's/"ociVersion":\( *\)"1\.[1-9][0-9]*\.[0-9]*"/"ociVersion":\1"1.0.2"/' "$a/config.json"; fi
	done
fi
` + script
}

func TestValidation(t *testing.T) {
	path := runtimePath(t)
	b := newBox(t, path)
	b.wrapper(runtimeScript(path, b.dir))
	v := &validation{box: b, suite: b.path("suite"), all: map[string]outcome{}}
	programs := buildSuite(t, v.suite)
	v.run(t, programs)
	v.sweep(t)
	measured[filepath.Base(path)] = v.all
	if filepath.Base(path) == "hoy-run" {
		judge(t, v.all)
	} else {
		v.report(t)
	}
}

// report prints what another runtime failed.
func (v *validation) report(t *testing.T) {
	t.Helper()
	for _, p := range sorted(v.all) {
		if o := v.all[p]; len(o.Failed) > 0 {
			t.Logf("%s: %q of %d\n%s", p, o.Failed, o.Points, o.stderr)
		}
	}
}

// judge compares what hoy-run passed with the table of what does not apply.
func judge(t *testing.T, all map[string]outcome) {
	t.Helper()
	used := map[exception]bool{}
	for _, p := range sorted(all) {
		var wrong []string
		for _, f := range all[p].Failed {
			key := exception{p, f}
			if f == inOrder {
				key.program = anyProgram
			}
			used[key] = true
			if reason, ok := notApplicable[key]; !ok || !reason.here() {
				wrong = append(wrong, f)
			}
		}
		if len(wrong) > 0 {
			t.Errorf("%s: %q failed\n%s", p, wrong, all[p].stderr)
		}
	}
	for key, reason := range notApplicable {
		if reason.here() && !reason.race && !used[key] {
			t.Errorf("%s: %q passed, but the table says that it does not apply here: %s", key.program, key.point, reason.text)
		}
	}
}
