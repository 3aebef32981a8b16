// Package vm runs the project's tests in virtual machines with Debian's kernel,
// where cgroups are version 2 alone, with and without systemd.
package vm

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hoy/test/vm/machine"
	"hoy/test/vm/plan"
)

var (
	keepDir  = flag.String("dir", "", "make machines in this directory and take Debian's files from there the next time")
	only     = flag.String("step", "", "run this step alone")
	guestRun = flag.String("guest", "", "run these tests of the steps alone")
)

// guest is the test that was written for machines; the rest are the rooms' own.
const guest = "hoy/test/vm/guest"

var tested = []string{
	"hoy/internal/runtime", "hoy/internal/runtime/cgroup", "hoy/internal/runtime/rootfs", "hoy/internal/runtime/program",
	"hoy/internal/runtime/mountop", "hoy/internal/runtime/identity", "hoy/internal/runtime/seccomp", "hoy/internal/runtime/reaper",
	"hoy/cmd/hoy-run", guest,
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if scratch != "" && *keepDir == "" {
		_ = os.RemoveAll(scratch)
	}
	os.Exit(code)
}

var scratch string

// base is made once for all tests.
var base = sync.OnceValues(func() (*machine.Base, error) {
	scratch = *keepDir
	if scratch == "" {
		var err error
		if scratch, err = os.MkdirTemp("", "hoy-vm-base-"); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	module, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	return machine.Make(ctx, scratch, module, tested, *keepDir != "")
})

func newMachine(t *testing.T, init []string) *machine.Machine {
	t.Helper()
	if testing.Short() {
		t.Skip("boots virtual machines: minutes of emulation, left out by -short")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes root file systems")
	}
	start := time.Now()
	b, err := base()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the base took %.1f s", time.Since(start).Seconds())
	return &machine.Machine{Kernel: b.Kernel, Inside: b.Inside, Disk: b.Disk, Init: init}
}

func step(pkg string, args ...string) plan.Step {
	return plan.Step{
		Name: pkg[len("hoy/"):], Dir: machine.WorkDir(pkg), Limit: 5 * time.Minute,
		Args: append([]string{plan.Dir + "/tests/" + machine.TestFile(pkg), "-test.v=test2json", "-test.timeout=290s", "-test.run=" + *guestRun,
			"-test.skip=^(TestImportsStayLight)$"}, args...),
		Env: []string{"HOY_BIN=" + plan.Dir + "/bin"},
	}
}

// boot runs the steps, makes their tests subtests of t, and returns the guest test's report.
func boot(t *testing.T, m *machine.Machine, list []plan.Step) *report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	start := time.Now()
	r, err := m.Boot(ctx, list, func(rec plan.Record) {
		if rec.Done || rec.End {
			t.Logf("%6.1f s (%.1f s after boot): %s ended with %d", time.Since(start).Seconds(), rec.Uptime, rec.Step, rec.Code)
		}
	})
	if err != nil {
		tail := ""
		if r != nil {
			tail = r.Tail()
		}
		t.Errorf("%v\nthe console:\n%s", err, tail)
		if r == nil {
			t.FailNow()
		}
	}
	for line := range strings.Lines(r.Console) {
		if strings.Contains(line, "] overlayfs: ") {
			t.Errorf("the kernel's log has %s", line)
		}
	}
	t.Logf("the machine took %.1f s", time.Since(start).Seconds())
	s := collect(r.Records)
	s.replay(t, list)
	return s.reports[strings.TrimPrefix(guest, "hoy/")]
}

func TestBare(t *testing.T) {
	m := newMachine(t, machine.Bare)
	var list []plan.Step
	for _, pkg := range tested {
		if s := step(pkg); *only == "" || *only == s.Name {
			list = append(list, s)
		}
	}
	keep("bare", boot(t, m, list))
}

func TestSystemd(t *testing.T) {
	m := newMachine(t, machine.Systemd)
	keep("systemd", boot(t, m, []plan.Step{step("hoy/internal/runtime/cgroup"), step(guest, "-driver=systemd")}))
}

// TestReboot has the power go while a container runs; its engine's files are on
// a disk that the second boot gets, too.
func TestReboot(t *testing.T) {
	m := newMachine(t, machine.Bare)
	m.State = filepath.Join(t.TempDir(), "state")
	if err := machine.Disk(t.Context(), "", m.State, "256M"); err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{"before", "after"} {
		t.Run(half, func(t *testing.T) {
			s := step(guest, "-reboot="+half)
			boot(t, m, []plan.Step{s})
		})
	}
}

// TestHost runs the guest test on this machine.
func TestHost(t *testing.T) {
	newMachine(t, nil) // builds the test and the binaries
	dir := filepath.Join(scratch, "root", "hoy-vm")
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "tests", machine.TestFile(guest)), "-test.v=test2json", "-test.timeout=290s", "-test.run="+*guestRun)
	cmd.Env = append(os.Environ(), "HOY_BIN="+dir+"/bin")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	r := parse(t, out)
	keep("host", r)
	r.replay(t, code)
}

// TestTable compares what the machines gave with the table in the documentation.
func TestTable(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the results of virtual machines, left out by -short")
	}
	var have []string
	for _, name := range order {
		if columns[name] != nil {
			have = append(have, name)
		}
	}
	if *guestRun != "" || len(have) < len(order) {
		t.Skipf("needs the results of all of %q, has %q", order, have)
	}
	if !hybrid() {
		t.Skip("needs a hybrid machine for its first column; this one has version 2 alone")
	}
	const file = "../../docs/cgroups.md"
	want := page()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte("| "+titles["host"]+" |")) {
		t.Skipf("docs/cgroups.md has another machine in its first column; this one is %s", titles["host"])
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/cgroups.md is not what the machines gave; `go test ./test/vm -update` writes it:\n%s", differ(string(got), string(want)))
	}
}
