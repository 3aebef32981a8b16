// Package engine starts a hoyd of its own for an end-to-end test, runs clients
// against it, and checks at the end that nothing was left behind.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Engine is a running hoyd with roots, socket, bridge, firewall table and
// cgroup parent of its own.
type Engine struct {
	tb testing.TB
	// Dir holds everything: data, exec root, socket, logs.
	Dir string
	// Host is the value for -H.
	Host string
	// Name is the bridge's, the firewall table's and the cgroup parent's.
	Name string
	// Bin is the folder of the next daemon's binaries where they are not the usual ones.
	Bin string
	// Launch, where set, starts the next daemon's command.
	Launch func(*exec.Cmd) error

	args []string
	cmd  *exec.Cmd
	done chan struct{}
	// release takes away what StartOn's caller put under the data.
	release func()
}

var count atomic.Int32

// Start starts an engine with extra flags, waits until it answers, and
// registers its end. The test fails if the engine leaves anything behind.
func Start(tb testing.TB, args ...string) *Engine {
	tb.Helper()
	return StartOn(tb, "", nil, args...)
}

// StartOn is Start on a file system of the test's own: prepare puts it at the
// path of the data root, and release takes it away after the engine's end. The
// engine is in dir, which must not be there; empty is a new one.
func StartOn(tb testing.TB, dir string, prepare func(data string) (release func()), args ...string) *Engine {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("needs root: an engine makes namespaces and cgroups")
	}
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "hoy-e2e-") //nolint:usetesting // a socket's path has 107 bytes; the test's own directory may be longer
	} else {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		tb.Fatal(err)
	}
	// HOY_E2E_FLAGS are further flags of every engine, to run all tests with another default.
	args = append(strings.Fields(os.Getenv("HOY_E2E_FLAGS")), args...)
	e := &Engine{tb: tb, Dir: dir, Host: "unix://" + dir + "/hoy.sock", args: args}
	e.Name = fmt.Sprintf("hoyt%d-%d", os.Getpid()%100000, count.Add(1)) // a link's name has 15 bytes
	tb.Cleanup(e.finish)
	if prepare != nil {
		e.release = prepare(dir + "/data")
	}
	e.Up()
	return e
}

// Bin is the path of one of the project's binaries; HOY_BIN names their folder.
func Bin(tb testing.TB, name string) string {
	tb.Helper()
	dir := os.Getenv("HOY_BIN")
	if dir == "" {
		dir = filepath.Join(moduleRoot(tb), "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%v: run `make build` first", err)
	}
	return path
}

func moduleRoot(tb testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	tb.Fatal("no go.mod above the test's directory")
	return ""
}

// Up starts the daemon (again) and waits until it answers.
func (e *Engine) Up() {
	e.tb.Helper()
	// Engines choose a free subnet when they start: one at a time, across test processes.
	unlock := lock(e.tb)
	defer unlock()
	log, err := os.OpenFile(e.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.tb.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"-H", e.Host, "--data-root", e.Dir + "/data", "--exec-root", e.Dir + "/run",
		"--pidfile", e.Dir + "/hoyd.pid", "--bridge", e.Name, "--firewall-table", e.Name, "--cgroup-parent", "/" + e.Name}, e.args...)
	hoyd := Bin(e.tb, "hoyd")
	if e.Bin != "" {
		hoyd = filepath.Join(e.Bin, "hoyd")
	}
	e.cmd = exec.CommandContext(context.Background(), hoyd, args...) // ends in finish, after the test's context
	e.cmd.Stdout, e.cmd.Stderr = log, log
	start := e.cmd.Start
	if e.Launch != nil {
		start = func() error { return e.Launch(e.cmd) }
	}
	if err := start(); err != nil {
		e.tb.Fatal(err)
	}
	done := make(chan struct{})
	e.done = done
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(done) }(e.cmd)
	e.waitReady()
}

func (e *Engine) waitReady() {
	e.tb.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-e.done:
			e.tb.Fatalf("hoyd ended at its start:\n%s", e.Log())
		case <-deadline:
			e.tb.Fatalf("hoyd does not answer:\n%s", e.Log())
		case <-tick.C:
			if e.Hoy("ps", "-q").Code == 0 {
				return
			}
		}
	}
}

// Signal sends the daemon a signal.
func (e *Engine) Signal(s os.Signal) {
	e.tb.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.tb.Fatal(err)
	}
}

// Pid of the daemon.
func (e *Engine) Pid() int { return e.cmd.Process.Pid }

// LogFile is the daemon's log.
func (e *Engine) LogFile() string { return filepath.Join(e.Dir, "hoyd.log") }

// Log is the end of the daemon's log.
func (e *Engine) Log() string {
	b, _ := os.ReadFile(e.LogFile())
	return string(b[max(0, len(b)-8000):])
}

// Kill ends the daemon as a crash would, at once.
func (e *Engine) Kill() {
	e.tb.Helper()
	if err := e.cmd.Process.Kill(); err != nil {
		e.tb.Fatal(err)
	}
	<-e.done
}

// Gone waits for the daemon's end where another has killed it.
func (e *Engine) Gone() { <-e.done }

// Stop ends the daemon in order. Containers stay.
func (e *Engine) Stop() {
	e.tb.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		e.tb.Error(err)
	}
	select {
	case <-e.done:
	case <-time.After(20 * time.Second):
		e.tb.Errorf("hoyd did not end within 20 s of SIGTERM:\n%s", e.Log())
		_ = e.cmd.Process.Kill()
		<-e.done
	}
}

// finish removes all containers, stops the daemon and looks for leftovers.
func (e *Engine) finish() {
	if e.cmd == nil {
		e.unmount()
		_ = os.RemoveAll(e.Dir)
		return
	}
	select {
	case <-e.done: // a test that stopped it itself
		if !e.tb.Failed() {
			e.Up()
		}
	default:
	}
	if ids := strings.Fields(e.Hoy("ps", "-aq").Out); len(ids) > 0 {
		if r := e.Hoy(append([]string{"rm", "-f", "-v"}, ids...)...); r.Code != 0 {
			e.tb.Errorf("rm -f of what was left: %s", r.Err)
		}
	}
	e.Stop()
	if e.tb.Failed() {
		e.tb.Logf("the daemon's log:\n%s", e.Log())
	}
	e.unmount()
	e.CheckLeftovers()
	if err := os.RemoveAll(e.Dir); err != nil {
		e.tb.Errorf("the engine's directory: %v", err)
	}
}

// unmount takes away the file system that StartOn's caller gave.
func (e *Engine) unmount() {
	if e.release != nil {
		e.release()
	}
}

// lock serialises over all test processes of this machine.
func lock(tb testing.TB) (unlock func()) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "hoy-e2e.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		tb.Fatal(err)
	}
	return func() { _ = f.Close() }
}

// Result is a finished command.
type Result struct {
	Args     []string
	Out, Err string
	Code     int
}

// Run runs any command with a limit of two minutes.
func Run(tb testing.TB, stdin string, args ...string) *Result {
	tb.Helper()
	return RunEnv(tb, nil, stdin, args...)
}

// RunEnv is Run with further environment variables.
func RunEnv(tb testing.TB, env []string, stdin string, args ...string) *Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	err := cmd.Run()
	r := &Result{Args: args, Out: out.String(), Err: errOut.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.Code = exit.ExitCode()
	} else if err != nil {
		tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		tb.Errorf("%s: did not end within two minutes\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.Out, r.Err)
	}
	return r
}

// Hoy runs bin/hoy against the engine.
func (e *Engine) Hoy(args ...string) *Result {
	e.tb.Helper()
	return Run(e.tb, "", append([]string{Bin(e.tb, "hoy"), "-H", e.Host}, args...)...)
}

// Must runs bin/hoy, fails the test unless it succeeds, and returns its output without the last newline.
func (e *Engine) Must(args ...string) string {
	e.tb.Helper()
	return e.Hoy(args...).Must(e.tb)
}

// Must fails the test unless the command succeeded, and returns its output without the last newline.
func (r *Result) Must(tb testing.TB) string {
	tb.Helper()
	if r.Code != 0 {
		tb.Fatalf("%s: exit %d\nstdout: %s\nstderr: %s", strings.Join(r.Args, " "), r.Code, r.Out, r.Err)
	}
	return strings.TrimSuffix(r.Out, "\n")
}

// Refused fails the test unless the command ended with code and its error output has text.
func (r *Result) Refused(tb testing.TB, code int, text string) {
	tb.Helper()
	if r.Code != code || !strings.Contains(r.Err, text) {
		tb.Errorf("%s: exit %d, want %d with %q\nstdout: %s\nstderr: %s", strings.Join(r.Args, " "), r.Code, code, text, r.Out, r.Err)
	}
}

// Eventually polls until ok, and fails the test after ten seconds.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 10 s: %s", what)
		}
		<-tick.C
	}
}

// Unique makes a name that no other test of this run uses.
func Unique(prefix string) string { return prefix + strconv.Itoa(int(count.Add(1))) }
