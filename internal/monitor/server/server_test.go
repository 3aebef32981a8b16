package server

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/log"
	"hoy/internal/log/reader"
	"hoy/internal/monitor"
	"hoy/internal/monitor/boot"
	"hoy/internal/monitor/guard"
	"hoy/internal/monitor/stdio"
	"hoy/internal/runtime"
)

// TestMain also is the monitor, and the daemon that gets killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "scribble":
			os.Exit(scribble())
		case "guard":
			os.Exit(guardMain(os.Args[2:]))
		case "monitor":
			os.Exit(monitorMain(os.Args[2:]))
		case "daemon":
			os.Exit(daemonMain(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func guardMain(args []string) int {
	err := guard.Run(guard.Options{Args: args[:4], Listener: os.NewFile(guard.ListenFD, "listener"), Log: boot.Log(os.Stderr)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func monitorMain(args []string) int {
	flags := flag.NewFlagSet("monitor", flag.ExitOnError)
	opt := Options{Starter: plainStarter{}, Log: boot.Log(os.Stderr)}
	flags.StringVar(&opt.Socket, "socket", "", "")
	flags.StringVar(&opt.ExecRoot, "exec-root", "", "")
	flags.IntVar(&opt.ListenFD, "listen-fd", 0, "")
	flags.IntVar(&opt.GuardFD, "guard-fd", 0, "")
	_ = flags.Parse(args)
	boot.Process(opt.Log)
	if err := Serve(opt); err != nil {
		opt.Log.Error("ended", "error", err)
		return 1
	}
	return 0
}

func options(dir string) monitor.Options {
	return monitor.Options{Socket: filepath.Join(dir, "m.sock"), ExecRoot: dir, Binary: "/proc/self/exe",
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
}

// dial starts a monitor of our own and ends it with the test.
func dial(t *testing.T) (*monitor.Client, string) {
	t.Helper()
	dir := t.TempDir()
	c := redial(t, dir)
	t.Cleanup(func() { endMonitor(t, dir) })
	return c, dir
}

func redial(t *testing.T, dir string) *monitor.Client {
	t.Helper()
	c, err := monitor.Dial(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// endMonitor kills what still runs and has the monitor shut down.
func endMonitor(t *testing.T, dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := monitor.Dial(ctx, options(dir))
	if err != nil {
		t.Error(err)
		return
	}
	for {
		list, err := c.List(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		running := 0
		for _, p := range list {
			if p.Exit == nil {
				running++
				_ = c.Signal(ctx, p.ID, syscall.SIGKILL)
			}
		}
		if running == 0 {
			break
		}
		<-c.Exits()
	}
	if err := c.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, monitor.LogFile)); bytes.Contains(text, []byte("level=ERROR")) || bytes.Contains(text, []byte("goroutine")) {
		t.Errorf("the monitor's log: %s", text)
	}
}

func id(name string) monitor.ProcessID { return monitor.ProcessID{Container: name} }

func request(name string, cfg monitor.Stdio, args ...string) monitor.StartRequest {
	return monitor.StartRequest{ID: id(name), Stdio: cfg, Launch: &runtime.Launch{ID: name,
		Spec: &specs.Spec{Process: &specs.Process{Args: args, Terminal: cfg.Terminal}}}}
}

func start(t *testing.T, c *monitor.Client, req monitor.StartRequest) monitor.Started {
	t.Helper()
	started, err := c.Start(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// exitOf waits for one process's exit.
func exitOf(t *testing.T, c *monitor.Client, want monitor.ProcessID) monitor.Exit {
	t.Helper()
	timeout := time.After(15 * time.Second)
	for {
		select {
		case e, ok := <-c.Exits():
			if !ok {
				t.Fatal("connection lost")
			}
			if e.ID == want {
				return e
			}
		case <-timeout:
			t.Fatalf("no exit of %v", want)
		}
	}
}

func attach(t *testing.T, c *monitor.Client, name string, cfg monitor.Stdio) net.Conn {
	t.Helper()
	conn, err := c.Attach(t.Context(), monitor.AttachRequest{ID: id(name), Stdin: true, Stdout: true, Stderr: true, Stdio: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func logLines(t *testing.T, path string) []string {
	t.Helper()
	var lines []string
	for e, err := range reader.Read(t.Context(), log.Config{Path: path}, reader.ReadOptions{Stdout: true, Stderr: true, Tail: -1}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSuffix(string(e.Line), "\n"))
	}
	return lines
}

func TestAProcessFromStartToForgotten(t *testing.T) {
	c, dir := dial(t)
	req := request("one", monitor.Stdio{}, "sh", "-c", "echo out; echo err >&2; read x; exit 3")
	req.Log = &log.Config{Driver: "json-file", Path: filepath.Join(dir, "x.log")}
	conn := attach(t, c, "one", monitor.Stdio{})
	started := start(t, c, req)
	if started.Pid <= 0 || started.StartTime == 0 || started.At.IsZero() {
		t.Errorf("started %+v", started)
	}
	var out, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &stderr, conn); err != nil || out.String() != "out\n" || stderr.String() != "err\n" {
		t.Errorf("attached: %q, %q, %v", &out, &stderr, err)
	}
	e := exitOf(t, c, id("one"))
	if e.Code != 3 || e.Signal != 0 || e.At.Before(started.At) {
		t.Errorf("exit %+v", e)
	}
	if got := logLines(t, req.Log.Path); len(got) != 2 {
		t.Errorf("log %q", got)
	}
	record := filepath.Join(dir, "exits", "one.json")
	if _, err := os.Stat(record); err != nil {
		t.Error(err)
	}
	if list, err := c.List(t.Context()); err != nil || len(list) != 1 || list[0].Exit == nil || *list[0].Exit != e || !reflect.DeepEqual(list[0].Started, started) {
		t.Errorf("list %+v, %v", list, err)
	}
	if _, err := c.Attach(t.Context(), monitor.AttachRequest{ID: id("one"), Stdout: true}); !errdefs.IsNotFound(err) {
		t.Errorf("attach after the end: %v", err)
	}
	if err := c.Forget(t.Context(), id("one")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(record); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("record after forget: %v", err)
	}
	if list, err := c.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list after forget %+v, %v", list, err)
	}
}

func TestRefusals(t *testing.T) {
	c, _ := dial(t)
	ctx := t.Context()
	start(t, c, request("run", monitor.Stdio{}, "sleep", "100"))
	_, twice := c.Start(ctx, request("run", monitor.Stdio{}, "true"))
	_, badID := c.Start(ctx, request("../x", monitor.Stdio{}, "true"))
	_, nothing := c.Start(ctx, monitor.StartRequest{ID: id("x")})
	_, badAttach := c.Attach(ctx, monitor.AttachRequest{ID: id("a/b")})
	_ = attach(t, c, "wait", monitor.Stdio{OpenStdin: true})
	_, mismatch := c.Start(ctx, request("wait", monitor.Stdio{}, "true"))
	for name, tc := range map[string]struct {
		err error
		is  func(error) bool
	}{
		"start twice":        {twice, errdefs.IsAlreadyExists},
		"bad id":             {badID, errdefs.IsInvalidArgument},
		"nothing to start":   {nothing, errdefs.IsInvalidArgument},
		"attach bad id":      {badAttach, errdefs.IsInvalidArgument},
		"other streams":      {mismatch, errdefs.IsInvalidArgument},
		"signal unknown":     {c.Signal(ctx, id("no"), syscall.SIGTERM), errdefs.IsNotFound},
		"signal bad":         {c.Signal(ctx, id("run"), 999), errdefs.IsInvalidArgument},
		"resize unknown":     {c.Resize(ctx, id("no"), 1, 1), errdefs.IsNotFound},
		"resize no terminal": {c.Resize(ctx, id("run"), 1, 1), errdefs.IsFailedPrecondition},
		"forget running":     {c.Forget(ctx, id("run")), errdefs.IsFailedPrecondition},
		"shutdown running":   {c.Shutdown(ctx), errdefs.IsFailedPrecondition},
	} {
		if !tc.is(tc.err) {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	if err := c.Forget(ctx, id("no")); err != nil {
		t.Errorf("forget unknown: %v", err)
	}
	if err := c.Signal(ctx, id("run"), syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if e := exitOf(t, c, id("run")); e.Code != 143 || e.Signal != 15 {
		t.Errorf("exit %+v", e)
	}
}

func TestAStartErrorArrivesAsItWas(t *testing.T) {
	c, _ := dial(t)
	conn := attach(t, c, "x", monitor.Stdio{})
	_, err := c.Start(t.Context(), request("x", monitor.Stdio{}, "/no/such/command"))
	start, ok := errors.AsType[*runtime.StartError](err)
	if !ok || !start.Exec || start.ExitCode() != 127 || start.Step != `exec "/no/such/command"` || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%#v", err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("an attached client must see the end: %d, %v", n, err)
	}
	_, err = c.Start(t.Context(), request("x", monitor.Stdio{}, "/etc/passwd"))
	if start, ok = errors.AsType[*runtime.StartError](err); !ok || start.ExitCode() != 126 {
		t.Errorf("%#v", err)
	}
	if list, _ := c.List(t.Context()); len(list) != 0 {
		t.Errorf("left in the list: %+v", list)
	}
}

func TestInput(t *testing.T) {
	c, _ := dial(t)
	for name, cfg := range map[string]monitor.Stdio{
		"once":   {OpenStdin: true, StdinOnce: true},
		"closed": {},
	} {
		conn := attach(t, c, name, cfg)
		if _, err := conn.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		start(t, c, request(name, cfg, "sh", "-c", "cat; echo end"))
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := stdcopy.StdCopy(&out, io.Discard, conn); err != nil {
			t.Error(name, err)
		}
		want := "hello\nend\n"
		if name == "closed" {
			want = "end\n"
		}
		if out.String() != want {
			t.Errorf("%s: %q, want %q", name, &out, want)
		}
	}
	// Without StdinOnce the first client's end is not the input's.
	cfg := monitor.Stdio{OpenStdin: true}
	start(t, c, request("kept", cfg, "cat"))
	for _, word := range []string{"one", "two"} {
		conn := attach(t, c, "kept", cfg)
		_, _ = conn.Write([]byte(word))
		frame := make([]byte, 8+len(word))
		if _, err := io.ReadFull(conn, frame); err != nil || string(frame[8:]) != word {
			t.Errorf("%q, %v", frame, err)
		}
		_ = conn.(*net.UnixConn).CloseWrite()
		if n, err := conn.Read(frame); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("a client without input is detached: %d, %v", n, err)
		}
	}
	if list, _ := c.List(t.Context()); len(list) == 0 {
		t.Error("the process must live on")
	}
}

func TestTerminal(t *testing.T) {
	c, dir := dial(t)
	cfg := monitor.Stdio{Terminal: true, OpenStdin: true}
	conn := attach(t, c, "tty", cfg)
	if _, err := conn.Write([]byte("early\n")); err != nil {
		t.Fatal(err)
	}
	req := request("tty", cfg, "sh", "-c", "read x; echo got $x; read y; stty size; exit 7")
	req.Log = &log.Config{Driver: "json-file", Path: filepath.Join(dir, "x.log")}
	start(t, c, req)
	if err := c.Resize(t.Context(), id("tty"), 33, 77); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(out), "got early\r\n") || !strings.Contains(string(out), "33 77\r\n") {
		t.Errorf("%q, %v", out, err)
	}
	if e := exitOf(t, c, id("tty")); e.Code != 7 {
		t.Errorf("%+v", e)
	}
	if got := strings.Join(logLines(t, req.Log.Path), "\n"); !strings.Contains(got, "got early\r") {
		t.Errorf("log %q", got)
	}
}

func TestExecIsAProcessOfItsOwn(t *testing.T) {
	c, _ := dial(t)
	box := start(t, c, request("box", monitor.Stdio{}, "sleep", "100"))
	exec := monitor.ProcessID{Container: "box", Exec: "e1"}
	cfg := monitor.Stdio{OpenStdin: true}
	conn, err := c.Attach(t.Context(), monitor.AttachRequest{ID: exec, Stdin: true, Stdout: true, Stdio: cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = c.Start(t.Context(), monitor.StartRequest{ID: exec, Stdio: cfg,
		Exec: &runtime.Exec{Target: box.Pid, Process: &specs.Process{Args: []string{"sh", "-c", "wc -c; exit 5"}}}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("12345"))
	_ = conn.(*net.UnixConn).CloseWrite()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, io.Discard, conn); err != nil || out.String() != "5\n" {
		t.Errorf("%q, %v", &out, err)
	}
	if e := exitOf(t, c, exec); e.Code != 5 {
		t.Errorf("%+v", e)
	}
	_, err = c.Start(t.Context(), monitor.StartRequest{ID: monitor.ProcessID{Container: "box", Exec: "e2"},
		Exec: &runtime.Exec{Target: os.Getpid(), Process: &specs.Process{Args: []string{"true"}}}})
	if !errdefs.IsNotFound(err) {
		t.Errorf("exec into a process that is not the container's: %v", err)
	}
	if list, _ := c.List(t.Context()); len(list) != 2 || list[0].Exit != nil || list[1].Exit == nil {
		t.Errorf("%+v", list)
	}
}

func TestAHeldPipeDoesNotHoldTheExit(t *testing.T) {
	c, dir := dial(t)
	req := request("held", monitor.Stdio{}, "sh", "-c", "echo said; sleep 30 & echo $! >"+filepath.Join(dir, "pid"))
	req.Log = &log.Config{Path: filepath.Join(dir, "x.log")}
	begin := time.Now()
	start(t, c, req)
	exitOf(t, c, id("held"))
	if took := time.Since(begin); took < drainTime || took > 4*drainTime {
		t.Errorf("the exit came after %v", took)
	}
	if got := logLines(t, req.Log.Path); len(got) != 1 || got[0] != "said" {
		t.Errorf("%q", got)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "pid"))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestASlowClientGetsEverythingAfterTheExit(t *testing.T) {
	c, dir := dial(t)
	conn := attach(t, c, "slow", monitor.Stdio{})
	// More than the socket's buffer takes, less than that and the pipe's.
	const total = 250_000
	req := request("slow", monitor.Stdio{}, "head", "-c", strconv.Itoa(total), "/dev/zero")
	req.Log = &log.Config{Path: filepath.Join(dir, "x.log")}
	start(t, c, req)
	exitOf(t, c, id("slow"))
	n, err := stdcopy.StdCopy(io.Discard, io.Discard, conn)
	if err != nil || n != total {
		t.Errorf("%d bytes, %v; want %d", n, err, total)
	}
}

func TestTwoDaemonsAtOnceGetTheSameMonitor(t *testing.T) {
	dir := t.TempDir()
	var pids [8]int
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() {
			c, err := monitor.Dial(t.Context(), options(dir))
			if err != nil {
				t.Error(err)
				return
			}
			pids[i] = c.Pid()
			_ = c.Close()
			<-c.Done()
		})
	}
	wg.Wait()
	defer endMonitor(t, dir)
	for _, pid := range pids {
		if pid == 0 || pid != pids[0] {
			t.Fatalf("pids %v", pids)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		_ = syscall.Kill(pids[0], sig)
	}
	c := redial(t, dir)
	if _, err := c.List(t.Context()); err != nil || c.Pid() != pids[0] {
		t.Errorf("after signals: pid %d, %v", c.Pid(), err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "m.sock")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", fi, err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.Pid()))
	if err != nil || !strings.Contains(exe, "memfd:") {
		t.Errorf("runs from %q, %v", exe, err)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/exe", c.Pid()), os.O_WRONLY, 0); err == nil {
		if _, err := f.Write([]byte("x")); err == nil {
			t.Error("the running program can be overwritten")
		}
		_ = f.Close()
	}
}

// descriptors counts what the monitor has open.
func descriptors(t *testing.T, c *monitor.Client) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestManyStartsInFlight(t *testing.T) {
	c, dir := dial(t)
	before := descriptors(t, c)
	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := c.Start(t.Context(), request(fmt.Sprintf("p%d", i), monitor.Stdio{}, "sh", "-c", fmt.Sprintf("exit %d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range n {
		e := <-c.Exits()
		if want, _ := strconv.Atoi(e.ID.Container[1:]); e.Code != want {
			t.Errorf("%+v", e)
		}
		if err := c.Forget(t.Context(), e.ID); err != nil {
			t.Error(err)
		}
	}
	if after := descriptors(t, c); after != before {
		t.Errorf("the monitor has %d descriptors open, %d before", after, before)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "exits")); len(entries) != 0 {
		t.Errorf("records left: %v", entries)
	}
}

func TestStreamsThatNobodyWaitsAtAnyMoreAreGivenUp(t *testing.T) {
	c, _ := dial(t)
	before := descriptors(t, c)
	for _, cfg := range []monitor.Stdio{{}, {OpenStdin: true}, {OpenStdin: true, StdinOnce: true}, {Terminal: true}} {
		one, two := attach(t, c, "never", cfg), attach(t, c, "never", cfg)
		_ = one.Close()
		_ = two.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); descriptors(t, c) != before; {
		if time.Now().After(deadline) {
			t.Fatalf("the monitor has %d descriptors open, %d before", descriptors(t, c), before)
		}
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	opt := options(dir)
	opt.Binary = filepath.Join(dir, "missing")
	if _, err := monitor.Dial(t.Context(), opt); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), opt.Binary) {
		t.Errorf("no program: %v", err)
	}
	opt.Binary = "/bin/false"
	if _, err := monitor.Dial(t.Context(), opt); !errdefs.IsUnavailable(err) {
		t.Errorf("a program that ends at once: %v", err)
	}
	opt.Socket = filepath.Join(dir, strings.Repeat("x", 120))
	if _, err := monitor.Dial(t.Context(), opt); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a path that does not fit: %v", err)
	}
	c := redial(t, dir) // and all that is in nobody's way
	if err := c.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "m.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket after shutdown: %v", err)
	}
	if _, err := c.List(t.Context()); !errdefs.IsUnavailable(err) {
		t.Errorf("after shutdown: %v", err)
	}
}

func TestExitsOutliveTheMonitor(t *testing.T) {
	c, dir := dial(t)
	start(t, c, request("gone", monitor.Stdio{}, "sh", "-c", "exit 9"))
	want := exitOf(t, c, id("gone"))
	if err := os.WriteFile(filepath.Join(dir, "exits", "torn.json"), []byte(`{"id":{"cont`), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(c.Pid(), syscall.SIGKILL)
	<-c.Done()
	list, err := redial(t, dir).List(t.Context())
	if err != nil || len(list) != 1 || list[0].Exit == nil || !list[0].Exit.At.Equal(want.At) || list[0].Exit.Code != 9 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "exits", "torn.damaged")); err != nil {
		t.Error(err)
	}
	_ = os.Truncate(filepath.Join(dir, monitor.LogFile), 0) // it has that as an error, rightly
}

const talkers, talk = 20, 2000

func talker(i int) string { return fmt.Sprintf("talker%d", i) }

// daemonMain is a daemon that starts talkers and attaches to them until it is killed.
func daemonMain(dir string) int {
	ctx := context.Background()
	c, err := monitor.Dial(ctx, options(dir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := range talkers {
		req := request(talker(i), monitor.Stdio{}, "sh", "-c",
			fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); [ $((i%%200)) = 0 ] && sleep 0.05; done; exit %d", talk, i))
		req.Log = &log.Config{Path: filepath.Join(dir, talker(i)+".log")}
		if _, err := c.Start(ctx, req); err != nil {
			fmt.Println(err)
			return 1
		}
		conn, err := c.Attach(ctx, monitor.AttachRequest{ID: id(talker(i)), Stdout: true})
		if err == nil && i%2 == 0 {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		} // the others never read
	}
	fmt.Println("started")
	select {}
}

func TestTheDaemonKilledLosesNothing(t *testing.T) {
	dir := t.TempDir()
	daemon := exec.Command("/proc/self/exe", "daemon", dir)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	daemon.Stderr = os.Stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	if n, _ := out.Read(line); string(line[:n]) != "started\n" {
		_, _ = io.Copy(os.Stderr, out)
		t.Fatalf("daemon said %q", line[:n])
	}
	_ = daemon.Process.Kill()
	_ = daemon.Wait()
	defer endMonitor(t, dir)

	c := redial(t, dir)
	ended := map[string]int{}
	list, err := c.List(t.Context())
	if err != nil || len(list) != talkers {
		t.Fatalf("%d processes, %v", len(list), err)
	}
	for _, p := range list {
		if p.Exit != nil {
			ended[p.ID.Container] = p.Exit.Code
		}
	}
	// Clients that come, read a little and go must not disturb.
	for i := range talkers {
		conn, err := c.Attach(t.Context(), monitor.AttachRequest{ID: id(talker(i)), Stdout: true})
		if err != nil {
			continue // has ended
		}
		go func() {
			_, _ = io.CopyN(io.Discard, conn, int64(1000*i))
			_ = conn.Close()
		}()
	}
	for len(ended) < talkers {
		select {
		case e := <-c.Exits():
			ended[e.ID.Container] = e.Code
		case <-time.After(20 * time.Second):
			t.Fatalf("%d ended", len(ended))
		}
	}
	for i := range talkers {
		if ended[talker(i)] != i {
			t.Errorf("%s: exit code %d", talker(i), ended[talker(i)])
		}
		got := logLines(t, filepath.Join(dir, talker(i)+".log"))
		if len(got) != talk {
			t.Errorf("%s: %d lines", talker(i), len(got))
			continue
		}
		for n, line := range got {
			if line != fmt.Sprintf("line %d", n) {
				t.Errorf("%s: line %d is %q", talker(i), n, line)
				break
			}
		}
	}
}

func TestStreamsOfTheStdio(t *testing.T) {
	// Abort before anything else leaves no descriptor behind.
	count := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	before := count()
	for range 10 {
		s, err := stdio.New(monitor.Stdio{OpenStdin: true})
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := s.Attach(true, true, true)
		if err != nil {
			t.Fatal(err)
		}
		s.Abort()
		if n, err := theirs.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d, %v", n, err)
		}
		_ = theirs.Close()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// BenchmarkOutput is 101-byte lines from a process to its log; the process
// costs a part of the time.
func BenchmarkOutput(b *testing.B) {
	dir := b.TempDir()
	c, err := monitor.Dial(b.Context(), options(dir))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = c.Shutdown(context.Background())
	}()
	source := filepath.Join(dir, "source")
	const total = 100 << 20
	line := strings.Repeat("0123456789", 10) + "\n"
	if err := os.WriteFile(source, []byte(strings.Repeat(line, total/len(line))), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(total)
	for b.Loop() {
		req := request("talk", monitor.Stdio{}, "cat", source)
		req.Log = &log.Config{Path: filepath.Join(dir, "x.log"), MaxSize: 100 << 20, MaxFiles: 2}
		if _, err := c.Start(b.Context(), req); err != nil {
			b.Fatal(err)
		}
		<-c.Exits()
	}
}
