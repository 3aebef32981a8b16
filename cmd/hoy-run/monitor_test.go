package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/monitor"
	launch "hoy/internal/runtime"
)

// box is a monitor of the real program and a root file system to run in.
type box struct {
	*monitor.Client
	dir     string
	rootfs  string
	program string
}

func newBox(tb testing.TB) *box {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: it makes namespaces and mounts")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Skipf("needs a static busybox: %v", err)
	}
	b := &box{dir: tb.TempDir()}
	b.rootfs = filepath.Join(b.dir, "rootfs")
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
		check(tb, os.MkdirAll(filepath.Join(b.rootfs, d), 0o755))
	}
	check(tb, os.WriteFile(filepath.Join(b.rootfs, "bin/busybox"), busybox, 0o755))
	for _, applet := range []string{"sh", "true", "cat", "sleep", "echo", "ls", "stty", "tr", "grep"} {
		check(tb, os.Symlink("busybox", filepath.Join(b.rootfs, "bin", applet)))
	}
	b.program = build(tb, b.dir)
	b.Client, err = monitor.Dial(tb.Context(), monitor.Options{
		Socket: filepath.Join(b.dir, "m.sock"), ExecRoot: b.dir, Binary: b.program})
	check(tb, err)
	tb.Cleanup(func() { b.end(tb) })
	return b
}

// build gives a new hoy-run, or the one that HOY_BIN has, where there is no compiler.
func build(tb testing.TB, dir string) string {
	tb.Helper()
	if bin := os.Getenv("HOY_BIN"); bin != "" {
		return filepath.Join(bin, "hoy-run")
	}
	program := filepath.Join(dir, "hoy-run")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // bound into containers that have no C library
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (b *box) end(tb testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		list, err := b.List(ctx)
		if err != nil {
			tb.Error(err)
			return
		}
		list = slices.DeleteFunc(list, func(p monitor.ProcessState) bool { return p.Exit != nil })
		if len(list) == 0 {
			break
		}
		for _, p := range list {
			_ = b.Signal(ctx, p.ID, syscall.SIGKILL)
		}
		<-b.Exits()
	}
	if err := b.Shutdown(ctx); err != nil {
		tb.Error(err)
	}
}

func id(name string) monitor.ProcessID { return monitor.ProcessID{Container: name} }

func (b *box) request(name string, stdio monitor.Stdio, args ...string) monitor.StartRequest {
	spec := &specs.Spec{
		Process:  &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, Terminal: stdio.Terminal},
		Hostname: "box",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace}}},
	}
	return monitor.StartRequest{ID: id(name), Stdio: stdio, Launch: &launch.Launch{ID: name, Spec: spec,
		Rootfs: []launch.RootMount{{Type: "bind", Source: b.rootfs, Options: []string{"rbind", "rw"}}}}}
}

func (b *box) attach(tb testing.TB, pid monitor.ProcessID, stdio monitor.Stdio) net.Conn {
	tb.Helper()
	conn, err := b.Attach(tb.Context(), monitor.AttachRequest{ID: pid, Stdin: true, Stdout: true, Stderr: true, Stdio: stdio})
	check(tb, err)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestAContainerAndACommandInIt(t *testing.T) {
	b := newBox(t)
	stdio := monitor.Stdio{OpenStdin: true, StdinOnce: true}
	conn := b.attach(t, id("c1"), stdio)
	req := b.request("c1", stdio, "sh", "-c", "echo $$ $(cat /proc/sys/kernel/hostname); cat; exit 4")
	req.Log = &log.Config{Path: filepath.Join(b.dir, "c1.log")}
	started, err := b.Start(t.Context(), req)
	check(t, err)
	command := monitor.ProcessID{Container: "c1", Exec: "e1"}
	out := b.attach(t, command, monitor.Stdio{})
	_, err = b.Start(t.Context(), monitor.StartRequest{ID: command, Exec: &launch.Exec{ID: "c1", Target: started.Pid,
		Namespaces: []specs.LinuxNamespaceType{specs.PIDNamespace, specs.MountNamespace, specs.UTSNamespace, specs.IPCNamespace, specs.NetworkNamespace},
		Process:    &specs.Process{Args: []string{"sh", "-c", "cat /proc/1/cmdline | grep -q sh; echo in $(cat /proc/sys/kernel/hostname)"}, Cwd: "/", Env: []string{"PATH=/bin"}}}})
	check(t, err)
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, out); err != nil || !strings.Contains(text.String(), "in box\n") {
		t.Errorf("exec: %q, %v", &text, err)
	}
	_, err = conn.Write([]byte("typed\n"))
	check(t, err)
	check(t, conn.(*net.UnixConn).CloseWrite())
	text.Reset()
	if _, err := stdcopy.StdCopy(&text, &text, conn); err != nil || text.String() != "1 box\ntyped\n" {
		t.Errorf("container: %q, %v", &text, err)
	}
	for {
		e := <-b.Exits()
		if e.ID == id("c1") {
			if e.Code != 4 {
				t.Errorf("%+v", e)
			}
			break
		}
	}
}

func TestATerminalInAContainer(t *testing.T) {
	b := newBox(t)
	stdio := monitor.Stdio{OpenStdin: true, StdinOnce: true, Terminal: true}
	conn := b.attach(t, id("tty"), stdio)
	_, err := b.Start(t.Context(), b.request("tty", stdio, "sh", "-c", "read x; stty size; echo got $x"))
	check(t, err)
	check(t, b.Resize(t.Context(), id("tty"), 40, 90))
	_, err = conn.Write([]byte("word\n"))
	check(t, err)
	out, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(out), "40 90\r\ngot word\r\n") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestTheNetworkNamespaceIsPassed(t *testing.T) {
	b := newBox(t)
	netns := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			netns <- nil
			return
		}
		f, _ := os.Open("/proc/thread-self/ns/net")
		netns <- f
	}()
	f := <-netns
	if f == nil {
		t.Skip("needs root: the thread could not make a network namespace of its own")
	}
	defer f.Close()
	var want unix.Stat_t
	check(t, unix.Fstat(int(f.Fd()), &want))
	req := b.request("net", monitor.Stdio{}, "sleep", "100")
	req.Launch.NetNS = f
	started, err := b.Start(t.Context(), req)
	check(t, err)
	var got unix.Stat_t
	check(t, unix.Stat(fmt.Sprintf("/proc/%d/ns/net", started.Pid), &got))
	if got.Ino != want.Ino {
		t.Errorf("namespace %d, want %d", got.Ino, want.Ino)
	}
}

func TestAFailedStartSaysWhy(t *testing.T) {
	b := newBox(t)
	_, err := b.Start(t.Context(), b.request("x", monitor.Stdio{}, "/no/such"))
	start, ok := errors.AsType[*launch.StartError](err)
	if !ok || start.ExitCode() != 127 {
		t.Errorf("%#v", err)
	}
}

func TestAnInitReapsForTheCommand(t *testing.T) {
	b := newBox(t)
	conn := b.attach(t, id("init"), monitor.Stdio{})
	req := b.request("init", monitor.Stdio{}, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; exit 6")
	req.Launch.Reaper = b.program
	_, err := b.Start(t.Context(), req)
	check(t, err)
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, conn); err != nil || !strings.HasPrefix(text.String(), "/sbin/docker-init -- sh -c") {
		t.Errorf("%q, %v", &text, err)
	}
	if e := <-b.Exits(); e.Code != 6 {
		t.Errorf("%+v", e)
	}
}

func TestThirtyTwoAtOnce(t *testing.T) {
	b := newBox(t)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range 32 {
		wg.Go(func() {
			if _, err := b.Start(t.Context(), b.request(fmt.Sprintf("p%d", i), monitor.Stdio{}, "sh", "-c", fmt.Sprintf("exit %d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	t.Logf("32 starts in %v", time.Since(begin))
	for range 32 {
		e := <-b.Exits()
		if fmt.Sprintf("p%d", e.Code) != e.ID.Container {
			t.Errorf("%+v", e)
		}
	}
}

// TestIdleContainersAreCheap measures the proportional set size of monitor and guardian.
func TestIdleContainersAreCheap(t *testing.T) {
	b := newBox(t)
	guardian := parentOf(t, b.Pid())
	pss := func() (sum int) {
		for _, pid := range []int{b.Pid(), guardian} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			if err != nil {
				t.Skip("needs a kernel that shows the monitor's memory in /proc/PID/smaps_rollup: ", err)
			}
			_, after, _ := strings.Cut(string(text), "\nPss:")
			kib := 0
			_, _ = fmt.Sscan(after, &kib)
			sum += kib
		}
		return sum
	}
	empty := pss()
	const n = 200
	for i := range n {
		req := b.request(fmt.Sprintf("idle%d", i), monitor.Stdio{OpenStdin: true}, "sleep", "1000")
		req.Log = &log.Config{Path: filepath.Join(b.dir, fmt.Sprint(i))}
		_, err := b.Start(t.Context(), req)
		check(t, err)
	}
	after := pss()
	for deadline := time.Now().Add(10 * time.Second); after-empty > 60*n && time.Now().Before(deadline); after = pss() {
		<-time.After(200 * time.Millisecond)
	}
	t.Logf("PSS %d KiB empty, %d KiB with %d idle containers: %.1f KiB each", empty, after, n, float64(after-empty)/n)
	if after-empty > 100*n {
		t.Error("more than 0.1 MB each")
	}
}

// parentOf reads field 4 of /proc/PID/stat.
func parentOf(tb testing.TB, pid int) (parent int) {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(tb, err)
	var state string
	_, err = fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent)
	check(tb, err)
	return parent
}

// BenchmarkLife is start, exit and forget of one container, without network setup.
func BenchmarkLife(tb *testing.B) {
	b := newBox(tb)
	for tb.Loop() {
		_, err := b.Start(tb.Context(), b.request("x", monitor.Stdio{}, "true"))
		check(tb, err)
		<-b.Exits()
		check(tb, b.Forget(tb.Context(), id("x")))
	}
}
