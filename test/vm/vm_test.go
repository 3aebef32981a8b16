// Package vm runs the project's tests in virtual machines with Debian's kernel,
// where cgroups are version 2 alone, with and without systemd.
package vm

import (
	"context"
	"flag"
	"os"
	"path/filepath"
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
	"hoy/internal/network", "hoy/internal/monitor/server",
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
		Name: pkg[len("hoy/"):], Dir: machine.WorkDir(pkg), Limit: 3 * time.Minute,
		Args: append([]string{plan.Dir + "/tests/" + machine.TestFile(pkg), "-test.v=test2json", "-test.timeout=170s", "-test.run=" + *guestRun,
			"-test.skip=^(TestImportsStayLight)$"}, args...),
		Env: []string{"HOY_BIN=" + plan.Dir + "/bin"},
	}
}

// boot runs the steps and makes their tests subtests of t.
func boot(t *testing.T, m *machine.Machine, list []plan.Step) *steps {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
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
	t.Logf("the machine took %.1f s", time.Since(start).Seconds())
	s := collect(r.Records)
	s.replay(t, list)
	return s
}

func TestBare(t *testing.T) {
	m := newMachine(t, machine.Bare)
	var list []plan.Step
	for _, pkg := range tested {
		if s := step(pkg); *only == "" || *only == s.Name {
			list = append(list, s)
		}
	}
	boot(t, m, list)
}

func TestSystemd(t *testing.T) {
	m := newMachine(t, machine.Systemd)
	boot(t, m, []plan.Step{step(guest)})
}
