package oci_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
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

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/oci/config"
)

// tool is a runtime's program with a bundle and a root directory of its own.
type tool struct {
	testing.TB
	name, program, root, bundle string
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hoy-oci-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/hoy-run", "hoy/cmd/hoy-run")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir + "/hoy-run", nil
})

// activated makes this test's program one that becomes its arguments, with a
// descriptor of socket activation.
const activated = "HOY_TEST_ACTIVATED"

func TestMain(m *testing.M) {
	if os.Getenv(activated) != "" {
		env := append(os.Environ(), "LISTEN_FDS=1", fmt.Sprintf("LISTEN_PID=%d", os.Getpid()))
		fmt.Fprintln(os.Stderr, syscall.Exec(os.Args[1], os.Args[1:], env))
		os.Exit(1)
	}
	code := m.Run()
	if program, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// bundle makes a bundle whose command is a shell's script.
func bundle(tb testing.TB, script string, change func(*specs.Spec)) string {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: it makes namespaces and mounts")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Skipf("needs a static busybox: %v", err)
	}
	dir, err := filepath.EvalSymlinks(tb.TempDir())
	must(tb, err)
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
		must(tb, os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755))
	}
	must(tb, os.WriteFile(filepath.Join(dir, "rootfs/bin/busybox"), busybox, 0o755))
	for _, applet := range strings.Fields("sh true false cat ls id env tty stty sleep echo grep kill touch wc ps trap readlink test head dd") {
		must(tb, os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", applet)))
	}
	s := config.Example()
	s.Version = "1.0.2" // what the oldest runtime beside ours reads
	s.Process.Terminal, s.Process.Args = false, []string{"sh", "-c", script}
	if change != nil {
		change(s)
	}
	data, err := json.Marshal(s)
	must(tb, err)
	must(tb, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
	return dir
}

// hoy is our program alone.
func hoy(tb testing.TB, script string, change func(*specs.Spec)) *tool {
	tb.Helper()
	dir := bundle(tb, script, change)
	program, err := build()
	must(tb, err)
	return &tool{tb, "hoy-run", program, tb.TempDir(), dir}
}

// each runs f with our program, and with runc where that is installed.
func each(t *testing.T, script string, change func(*specs.Spec), f func(*tool)) {
	t.Helper()
	t.Run("hoy-run", func(t *testing.T) { f(hoy(t, script, change)) })
	t.Run("runc", func(t *testing.T) {
		program, err := exec.LookPath("runc")
		if err != nil {
			t.Skip("needs runc, to compare with: ", err)
		}
		f(&tool{t, "runc", program, t.TempDir(), bundle(t, script, change)})
	})
}

func (r *tool) command(args ...string) *exec.Cmd {
	cmd := exec.Command(r.program, append([]string{"--root", r.root}, args...)...)
	cmd.Dir = r.bundle
	return cmd
}

// run gives a verb's output and exit code. Output goes to files: a container
// that outlives its verb would hold a pipe open.
func (r *tool) run(args ...string) (stdout, stderr string, code int) {
	r.Helper()
	cmd := r.command(args...)
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(r.TempDir(), "out")
		must(r, err)
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		must(r, err)
	}
	var text [2]string
	for i, f := range files {
		data, err := os.ReadFile(f.Name())
		must(r, err)
		text[i] = string(data)
	}
	return text[0], text[1], code
}

// ok runs a verb that must succeed.
func (r *tool) ok(args ...string) string {
	r.Helper()
	out, stderr, code := r.run(args...)
	if code != 0 {
		r.Fatalf("%s %q: exit code %d: %s", r.name, args, code, stderr)
	}
	return out
}

// refused runs a verb that must fail with text in its error.
func (r *tool) refused(code int, text string, args ...string) {
	r.Helper()
	_, stderr, got := r.run(args...)
	if got != code || !regexp.MustCompile(text).MatchString(stderr) {
		r.Errorf("%s %q: exit code %d, want %d; %q, want %q", r.name, args, got, code, stderr, text)
	}
}

func (r *tool) status(id string) string {
	r.Helper()
	var s struct{ Status string }
	must(r, json.Unmarshal([]byte(r.ok("state", id)), &s))
	return s.Status
}

func (r *tool) becomes(id, status string) {
	r.Helper()
	for end := time.Now().Add(10 * time.Second); r.status(id) != status; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // another process's doing
		if time.Now().After(end) {
			r.Fatalf("%s is %s and does not become %s", id, r.status(id), status)
		}
	}
}

func TestALife(t *testing.T) {
	each(t, "trap 'exit 3' TERM; echo up >/tmp/up; while :; do sleep 0.1; done", func(s *specs.Spec) { s.Root.Readonly = false }, func(r *tool) {
		id := "life" + r.name
		r.ok("create", "--pid-file", "pid", id)
		defer r.run("delete", "--force", id)
		var state map[string]any
		must(r, json.Unmarshal([]byte(r.ok("state", id)), &state))
		keys := slices.Sorted(maps.Keys(state))
		if want := []string{"bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"}; !slices.Equal(keys, want) {
			r.Errorf("state has %q, want %q", keys, want)
		}
		pid, err := os.ReadFile(filepath.Join(r.bundle, "pid"))
		must(r, err)
		if state["status"] != "created" || fmt.Sprint(state["pid"]) != string(pid) || state["rootfs"] != r.bundle+"/rootfs" {
			r.Errorf("%v, pid file %q", state, pid)
		}
		r.refused(1, "container with given ID already exists", "create", id)
		r.ok("start", id)
		r.refused(1, "cannot start an already running container", "start", id)
		r.refused(1, "that is not stopped: running", "delete", id)
		for end := time.Now().Add(10 * time.Second); ; {
			if _, err := os.Stat(filepath.Join(r.bundle, "rootfs/tmp/up")); err == nil || time.Now().After(end) {
				break
			}
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // another process's doing
		}
		if out := r.ok("ps", "-f", "json", id); !strings.HasPrefix(out, "["+string(pid)) {
			r.Errorf("ps: %s, want %s", out, pid)
		}
		if out := r.ok("ps", id, "-o", "pid,args"); !strings.Contains(out, "trap 'exit 3'") {
			r.Errorf("ps: %s", out)
		}
		if out := r.ok("exec", "-e", "A=b", "--cwd", "/tmp", "-u", "5:6", id, "sh", "-c", "echo $A $PWD $(id -u) $(id -g)"); out != "b /tmp 5 6\n" {
			r.Errorf("exec: %q", out)
		}
		if _, _, code := r.run("exec", id, "sh", "-c", "exit 7"); code != 7 {
			r.Errorf("exec: exit code %d", code)
		}
		r.refused(255, `exec failed: unable to start container process: exec: \\?"nosuch\\?": executable file not found in \$PATH`, "exec", id, "nosuch")
		r.ok("pause", id)
		if s := r.status(id); s != "paused" {
			r.Errorf("status %s", s)
		}
		r.refused(255, "cannot exec in a paused container", "exec", id, "true")
		r.ok("resume", id)
		r.refused(1, "container not paused", "resume", id)
		var stats struct {
			Type string
			Data struct {
				Memory struct{ Usage struct{ Limit uint64 } }
			}
		}
		must(r, json.Unmarshal([]byte(r.ok("events", "--stats", id)), &stats))
		if stats.Type != "stats" || stats.Data.Memory.Usage.Limit == 0 {
			r.Errorf("%+v", stats)
		}
		r.ok("update", "--memory", "50000000", "--pids-limit", "40", id)
		must(r, json.Unmarshal([]byte(r.ok("events", "--stats", id)), &stats))
		if l := stats.Data.Memory.Usage.Limit; l < 49e6 || l > 50e6 {
			r.Errorf("limit %d after an update", l)
		}
		r.refused(1, "unknown signal", "kill", id, "FOO")
		r.ok("kill", id, "TERM")
		r.becomes(id, "stopped")
		r.refused(1, "container not running", "kill", id, "9")
		r.refused(255, "cannot exec in a stopped container", "exec", id, "true")
		r.refused(1, "cannot start a container that has stopped", "start", id)
		r.ok("delete", id)
		r.refused(1, "container does not exist", "state", id)
		r.refused(1, "container does not exist", "delete", id)
		r.ok("delete", "--force", id)
	})
}

func TestRefusals(t *testing.T) {
	each(t, "true", nil, func(r *tool) {
		for _, id := range []string{"..", "a/b", ".", "x y", "a\nb", "../../etc"} {
			r.refused(1, "invalid container ID format|does not exist", "state", id)
			r.refused(1, "invalid container ID format|already exists|does not exist", "create", id)
		}
		r.refused(1, "no such file", "create", "--bundle", "/no/such", "x")
		r.refused(3, "No help topic for 'frobnicate'", "frobnicate")
		r.refused(1, "requires exactly 1 argument", "state")
		r.refused(1, "flag provided but not defined", "state", "--nosuch", "x")
	})
	for text, change := range map[string]func(*specs.Spec){
		"ociVersion must not be empty": func(s *specs.Spec) { s.Version = "" },
		"2.0.0.* is not supported":     func(s *specs.Spec) { s.Version = "2.0.0" },
		"args must not be empty":       func(s *specs.Spec) { s.Process.Args = nil },
		"Cwd must be an absolute path": func(s *specs.Spec) { s.Process.Cwd = "x" },
		"root must be specified":       func(s *specs.Spec) { s.Root = nil },
		"invalid rootfs":               func(s *specs.Spec) { s.Root.Path = "nosuch" },
		"host's root":                  func(s *specs.Spec) { s.Root.Path = "/" },
		"duplicated ns":                func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) },
		"is not absolute":              func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} },
		"mappings specified":           func(s *specs.Spec) { s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} },
		"without setting console":      func(s *specs.Spec) { s.Process.Terminal = true },
	} {
		r := hoy(t, "true", change)
		r.refused(1, text, "create", "x")
		if left, err := os.ReadDir(r.root); err == nil && len(left) > 0 {
			t.Errorf("%s: %v is left", text, left)
		}
	}
}

func TestExitCodesAndErrorsOfRun(t *testing.T) {
	each(t, "exit 9", nil, func(r *tool) {
		if _, _, code := r.run("run", "r"+r.name); code != 9 {
			r.Errorf("exit code %d", code)
		}
		if out := r.ok("list", "-q"); out != "" {
			r.Errorf("left: %s", out)
		}
	})
	each(t, "", func(s *specs.Spec) { s.Process.Args = []string{"/no/such"} }, func(r *tool) {
		log := filepath.Join(r.bundle, "log")
		r.refused(1, `unable to start container process: exec: .*/no/such`, "--log", log, "--log-format", "json", "create", "e"+r.name)
		data, err := os.ReadFile(log)
		must(r, err)
		var line struct{ Level, Msg, Time string }
		must(r, json.Unmarshal(bytes.Split(bytes.TrimSpace(data), []byte("\n"))[0], &line))
		if _, err := time.Parse(time.RFC3339, line.Time); err != nil || line.Level != "error" || !strings.Contains(line.Msg, "no such file or directory") {
			r.Errorf("%s", data)
		}
	})
	// What only shows at the last call of all is start's error.
	r := hoy(t, "", func(s *specs.Spec) { s.Process.Args = []string{"script"} })
	must(t, os.WriteFile(filepath.Join(r.bundle, "rootfs/bin/script"), []byte("#!/no/such/interpreter\n"), 0o755))
	r.ok("create", "late")
	r.refused(1, "exec script: no such file or directory", "start", "late")
	r.becomes("late", "stopped")
	r.ok("delete", "late")
}

func TestKilledWithoutPidNamespace(t *testing.T) {
	r := hoy(t, "sleep 1000 & sleep 1000", func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] })
	r.ok("run", "-d", "nopid")
	r.ok("kill", "nopid", "KILL")
	r.becomes("nopid", "stopped")
	if out := r.ok("ps", "-f", "json", "nopid"); out != "[]\n" {
		t.Errorf("left: %s", out)
	}
	r.ok("delete", "nopid")
}

func TestHooks(t *testing.T) {
	r := hoy(t, "echo command >>/log", nil)
	log := filepath.Join(r.bundle, "rootfs/log")
	must(r, os.WriteFile(log, nil, 0o666))
	hook := func(name, more string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", `s=$(cat); s=${s#*\"status\":\"}; echo ` + name + ` ${s%%\"*} $E >>` + log + "; " + more}, Env: []string{"E=env", "PATH=/bin:/usr/bin"}}}
	}
	s := config.Example()
	s.Version, s.Process.Terminal, s.Root.Readonly = "1.0.2", false, false
	s.Process.Args = []string{"sh", "-c", "echo command >>/log"}
	mine := "test $(readlink /proc/self/ns/mnt) != " + readlink(r, "/proc/self/ns/mnt") + " && test -e " + r.bundle + "/rootfs/proc/self && echo beside >>" + log
	s.Hooks = &specs.Hooks{
		Prestart: hook("prestart", ""), CreateRuntime: hook("createRuntime", "test $(readlink /proc/self/ns/mnt) = "+readlink(r, "/proc/self/ns/mnt")+" || exit 1"),
		CreateContainer: hook("createContainer", mine), StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo startContainer $$ >>/log"}}},
		Poststart: hook("poststart", "exit 1"), Poststop: hook("poststop", "exit 1"),
	}
	data, err := json.Marshal(s)
	must(r, err)
	must(r, os.WriteFile(filepath.Join(r.bundle, "config.json"), data, 0o644))
	id := "hooks" + r.name
	read := func() string {
		data, err := os.ReadFile(log)
		must(r, err)
		return string(data)
	}
	r.ok("create", id)
	const first = "prestart creating env\ncreateRuntime creating env\ncreateContainer creating env\nbeside\n"
	if got := read(); got != first {
		r.Errorf("after create:\n%s", got)
	}
	if _, stderr, code := r.run("start", id); code != 0 || !strings.Contains(stderr, "poststart hook #0: exit status 1") {
		r.Errorf("start: exit code %d, %q", code, stderr)
	}
	r.becomes(id, "stopped")
	rest := strings.Split(strings.TrimPrefix(read(), first), "\n")
	slices.Sort(rest[1:]) // the command and poststart run side by side
	if !strings.HasPrefix(rest[0], "startContainer ") || !slices.Equal(rest[1:], []string{"", "command", "poststart running env"}) {
		r.Errorf("after start: %q", rest)
	}
	r.ok("delete", id)
	if got := read(); !strings.HasSuffix(got, "poststop stopped env\n") {
		r.Errorf("after delete:\n%s", got)
	}
}

func readlink(tb testing.TB, name string) string {
	tb.Helper()
	to, err := os.Readlink(name)
	must(tb, err)
	return to
}

func TestHooksThatFail(t *testing.T) {
	second := 1
	bad := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo reason; exit 4"}}}
	slow := []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: &second}}
	for text, h := range map[string]*specs.Hooks{
		"createRuntime hook #0: exit status 4.*reason":                   {CreateRuntime: bad},
		"createContainer hook #0: exit status 4.*reason":                 {CreateContainer: bad},
		"createContainer hook #0: hook ran past specified timeout of 1s": {CreateContainer: slow},
		"prestart hook #0: hook ran past specified timeout of 1s":        {Prestart: slow},                             //nolint:staticcheck // in use
		"prestart hook #0: .*no such file or directory":                  {Prestart: []specs.Hook{{Path: "/no/such"}}}, //nolint:staticcheck // in use
	} {
		r := hoy(t, "true", func(s *specs.Spec) { s.Hooks = h })
		h.Poststop = []specs.Hook{{Path: "/bin/touch", Args: []string{"touch", filepath.Join(r.bundle, "stopped")}}}
		r.rewrite(func(s *specs.Spec) { s.Hooks = h })
		r.refused(1, text, "create", "bad")
		r.refused(1, "container does not exist", "state", "bad")
		if _, err := os.Stat(filepath.Join(r.bundle, "stopped")); err != nil {
			t.Errorf("%s: no poststop hook: %v", text, err)
		}
	}
	r := hoy(t, "sleep 100", func(s *specs.Spec) { s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/false"}}} })
	r.ok("create", "bad")
	r.refused(1, "startContainer hook #0: exit status 1", "start", "bad")
	r.becomes("bad", "stopped")
	r.ok("delete", "bad")
}

// rewrite changes the bundle's specification.
func (r *tool) rewrite(change func(*specs.Spec)) {
	r.Helper()
	name := filepath.Join(r.bundle, "config.json")
	data, err := os.ReadFile(name)
	must(r, err)
	s := new(specs.Spec)
	must(r, json.Unmarshal(data, s))
	change(s)
	data, err = json.Marshal(s)
	must(r, err)
	must(r, os.WriteFile(name, data, 0o644))
}

func TestConsoleSocket(t *testing.T) {
	each(t, "tty; stty size; read x; echo got $x", func(s *specs.Spec) {
		s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 33, Width: 77}
	}, func(r *tool) {
		socket := filepath.Join(r.TempDir(), "c.sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		must(r, err)
		defer l.Close()
		got := make(chan *os.File, 1)
		go func() {
			defer close(got)
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			defer conn.Close()
			oob := make([]byte, 64)
			_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 64), oob)
			if err != nil {
				return
			}
			msgs, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil {
				return
			}
			fds, err := unix.ParseUnixRights(&msgs[0])
			if err == nil {
				got <- os.NewFile(uintptr(fds[0]), "master")
			}
		}()
		id := "tty" + r.name
		r.ok("create", "--console-socket", socket, id)
		defer r.run("delete", "--force", id)
		master := <-got
		if master == nil {
			r.Fatal("no terminal came")
		}
		defer master.Close()
		r.ok("start", id)
		_, err = master.WriteString("word\n")
		must(r, err)
		out, _ := io.ReadAll(master) //nolint:errcheck // EIO is the end
		for _, want := range []string{"/dev/pts/0\r\n", "33 77\r\n", "got word\r\n"} {
			if !strings.Contains(string(out), want) && r.name == "hoy-run" {
				r.Errorf("%q, want %q", out, want)
			}
		}
		r.becomes(id, "stopped")
	})
}

func TestForegroundTerminalAndSignals(t *testing.T) {
	r := hoy(t, "stty size; read x; echo got $x; exit 5", func(s *specs.Spec) { s.Process.Terminal = true })
	cmd := r.command("run", "fg")
	cmd.Stdin = strings.NewReader("typed\n")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 5 || !strings.Contains(string(out), "got typed\r\n") {
		t.Errorf("%q, %v", out, err)
	}
	r = hoy(t, "trap 'echo caught; exit 6' HUP; echo ready; while :; do sleep 0.05; done", nil)
	cmd = r.command("run", "sig")
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	buf := make([]byte, 16)
	n, err := pipe.Read(buf)
	must(t, err)
	if string(buf[:n]) != "ready\n" {
		t.Errorf("%q", buf[:n])
	}
	must(t, cmd.Process.Signal(syscall.SIGHUP))
	rest, err := io.ReadAll(pipe)
	must(t, err)
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 6 || string(rest) != "caught\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestPassedDescriptors(t *testing.T) {
	each(t, "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | wc -l", nil, func(r *tool) {
		self, err := os.Executable()
		must(r, err)
		cmd := exec.Command(self, r.program, "--root", r.root, "run", "--preserve-fds", "1", "fds"+r.name)
		cmd.Dir, cmd.Env = r.bundle, append(os.Environ(), activated+"=1")
		for _, text := range []string{"three\n", "four\n"} {
			f, err := os.CreateTemp(r.TempDir(), "fd")
			must(r, err)
			defer f.Close()
			_, err = f.WriteString(text)
			must(r, err)
			_, err = f.Seek(0, 0)
			must(r, err)
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "three\nfour\n1 1\n6\n" {
			r.Errorf("%q, %v", out, err)
		}
	})
}

func TestOutOfMemoryIsAnEvent(t *testing.T) {
	r := hoy(t, "sleep 1000", func(s *specs.Spec) {
		limit := int64(20 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	})
	r.ok("run", "-d", "oom")
	defer r.run("delete", "--force", "oom")
	cmd := r.command("events", "--interval", "100ms", "oom")
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer cmd.Wait()         //nolint:errcheck // ended below
	defer cmd.Process.Kill() //nolint:errcheck // ended already is as good
	dec := json.NewDecoder(pipe)
	var e struct{ Type, ID string }
	must(t, dec.Decode(&e)) // it listens by now
	_, _, code := r.run("exec", "oom", "dd", "if=/dev/zero", "of=/dev/null", "bs=60M", "count=1")
	if code != 137 {
		t.Errorf("exit code %d", code)
	}
	for e.Type != "oom" {
		must(t, dec.Decode(&e))
	}
	if e.ID != "oom" {
		t.Errorf("%+v", e)
	}
}

func TestTornRecordsAreNoticed(t *testing.T) {
	r := hoy(t, "sleep 1000", nil)
	r.ok("run", "-d", "torn")
	name := filepath.Join(r.root, "torn/state.json")
	data, err := os.ReadFile(name)
	must(t, err)
	for _, broken := range [][]byte{data[:len(data)/2], bytes.Replace(data, []byte(`"phase":"started"`), []byte(`"phase":"created"`), 1), nil} {
		must(t, os.WriteFile(name, broken, 0o600))
		r.refused(1, "record is damaged", "state", "torn")
		r.refused(1, "record is damaged", "delete", "torn")
		if out := r.ok("list", "-q"); out != "torn\n" {
			t.Errorf("list: %q", out)
		}
	}
	must(t, os.WriteFile(name, data, 0o600))
	r.ok("delete", "--force", "torn")
}

func TestTwoVerbsAtOnce(t *testing.T) {
	r := hoy(t, "sleep 1000", nil)
	codes := make(chan int, 8)
	for _, verb := range [][]string{{"create", "x"}, {"start", "x"}, {"delete", "--force", "x"}} {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				cmd := r.command(verb...)
				if err := cmd.Run(); err != nil {
					codes <- 1
					return
				}
				codes <- 0
			})
		}
		wg.Wait()
		good := 0
		for range 8 {
			if <-codes == 0 {
				good++
			}
		}
		if verb[0] != "delete" && good != 1 || verb[0] == "delete" && good != 8 {
			t.Errorf("%q succeeded %d times of 8", verb, good)
		}
	}
}

func TestVersionAndSpec(t *testing.T) {
	r := hoy(t, "true", nil)
	lines := strings.Split(r.ok("--version"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "hoy-run version ") || !strings.HasPrefix(lines[1], "commit: ") || lines[2] != "spec: "+specs.Version {
		t.Errorf("%q", lines)
	}
	dir := t.TempDir()
	r.ok("spec", "--bundle", dir)
	r.refused(1, "config.json exists", "spec", "--bundle", dir)
	if _, _, err := config.Read(dir); err != nil {
		t.Error(err)
	}
	var f struct {
		Linux struct{ Namespaces, Capabilities []string }
	}
	must(t, json.Unmarshal([]byte(r.ok("features")), &f))
	if len(f.Linux.Namespaces) < 7 || len(f.Linux.Capabilities) < 38 {
		t.Errorf("%+v", f)
	}
}

// TestTheProgramIsNotTheWayToItsFile: what /proc shows as a waiting process's
// program cannot be written by way of that, not even when nobody runs it any more.
func TestTheProgramIsNotTheWayToItsFile(t *testing.T) {
	r := hoy(t, "true", nil)
	pid := filepath.Join(r.bundle, "pid")
	r.ok("create", "--pid-file", pid, "exe")
	n, err := os.ReadFile(pid)
	must(t, err)
	exe, err := os.Open("/proc/" + string(n) + "/exe")
	must(t, err)
	defer exe.Close()
	r.ok("delete", "--force", "exe")
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", exe.Fd()), os.O_WRONLY, 0)
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("opened for writing: %v", err)
		if err == nil {
			must(t, f.Close())
		}
	}
}
