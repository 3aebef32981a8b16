package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/monitor"
	"hoy/internal/runtime"
)

func runner(t *testing.T) (*Runner, *bytes.Buffer) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes namespaces")
	}
	var log bytes.Buffer
	return Open(Options{
		Dir: filepath.Join(t.TempDir(), "oci"), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Track: func() func() { return func() {} },
		Adopt: func() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) },
	}), &log
}

// rootFS is a directory with the machine's static busybox in it.
func rootFS(t *testing.T) []runtime.RootMount {
	t.Helper()
	dir := t.TempDir()
	bin, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: the package busybox-static has it", err)
	}
	if err := os.MkdirAll(dir+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/bin/sh", bin, 0o755); err != nil { //nolint:gosec // it is to be executed
		t.Fatal(err)
	}
	return []runtime.RootMount{{Type: "bind", Source: dir}}
}

func launch(t *testing.T, id string, args ...string) *runtime.Launch {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	caps := []string{"CAP_KILL"}
	return &runtime.Launch{
		ID: id, Rootfs: rootFS(t), Stdio: [3]*os.File{null, nil, nil},
		Spec: &specs.Spec{
			Version: specs.Version, Root: &specs.Root{Path: "rootfs"},
			Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}},
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/dev", Type: "tmpfs", Source: "dev"},
				{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}},
			},
			Linux: &specs.Linux{
				CgroupsPath: fmt.Sprintf("/hoyforeign%d/%s", os.Getpid(), id),
				Namespaces:  []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}},
			},
		},
	}
}

func script(t *testing.T, text string) monitor.Runtime {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runtime")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil { //nolint:gosec // it is to be executed
		t.Fatal(err)
	}
	return monitor.Runtime{Name: "odd", Path: path, Args: []string{"--before"}}
}

// parse finds out what a script was called for: $verb, $log, $bundle, $pidfile.
const parse = `
while [ $# -gt 0 ]; do case "$1" in
--log) log=$2; shift;; --bundle) bundle=$2; shift;; --pid-file) pidfile=$2; shift;; --root) root=$2; shift;;
create|start|delete|exec) verb=$1;; esac; shift; done
`

// What a runtime may do wrong must end in an error that says so, and leave nothing.
func TestOddRuntimes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"words in the log", `echo '{"level":"warning","msg":"w"}
{"level":"error","msg":"runc create failed: no luck"}' > $log; exit 1`, "odd create: no luck"},
		{"no words", "exit 3", "odd create: exit status 3"},
		{"a log that is none", "echo nonsense > $log; exit 1", "odd create: exit status 1"},
		{"no process", "exit 0", "take over odd's process: open"},
		{"a process number that is none", "echo x > $pidfile", "is not a process number"},
		{"somebody else's process", "echo $PPID > $pidfile", "another parent"},
		{"process 1", "echo 1 > $pidfile", "is not a process number"},
		{"a process that has never been", "echo 99999999 > $pidfile", "pid 99999999"},
		{"no command", `echo '{"level":"error","msg":"exec: \"/x\": stat /x: no such file or directory"}' > $log; exit 1`, "odd create: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, log := runner(t)
			_, err := r.Start(script(t, parse+c.text), launch(t, "odd", "/x"))
			se, ok := errors.AsType[*runtime.StartError](err)
			if !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if ok && se.Exec != (c.name == "no command") {
				t.Errorf("%+v", se)
			}
			if left, _ := os.ReadDir(r.dir); len(left) > 0 || r.Holds("odd") {
				t.Errorf("left behind: %v", left)
			}
			if strings.Contains(log.String(), "level=ERROR") {
				t.Error(log)
			}
		})
	}
}

// What create is given is complete, in a mount namespace of its own.
func TestWhatCreateSees(t *testing.T) {
	r, _ := runner(t)
	out := filepath.Join(t.TempDir(), "out")
	l := launch(t, "see", "/x")
	here, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if err := os.WriteFile(here.Name()+"/f", []byte("from a descriptor\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	l.NetNS = ns
	l.Spec.Mounts = append(l.Spec.Mounts, specs.Mount{Destination: "/d", Type: "bind", Source: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), here.Fd()), Options: []string{"rbind"}})
	_, err = r.Start(script(t, parse+`exec > `+out+` 2>&1
ls $bundle/rootfs/bin; cat $bundle/sources/3/f; stat -f -c %T $bundle/netns; readlink /proc/self/ns/mnt; cat $bundle/config.json
exit 1`), l)
	if err == nil {
		t.Fatal("a create that fails succeeded")
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(text), "\n", 5)
	own, _ := os.Readlink("/proc/self/ns/mnt")
	if len(lines) < 5 || lines[0] != "sh" || lines[1] != "from a descriptor" || lines[2] != "nsfs" || lines[3] == own {
		t.Fatalf("%q", lines)
	}
	for _, want := range []string{`"ociVersion":"1.0.2"`, `/oci/see/netns"`, `/oci/see/sources/3"`, `/oci/see/rootfs"`, `"HOME=/"`} {
		if !strings.Contains(lines[4], want) {
			t.Errorf("%s lacks %s", lines[4], want)
		}
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), r.dir) {
		t.Error("it is mounted here, too")
	}
}

func TestARuntimeThatNeverEnds(t *testing.T) {
	r, _ := runner(t)
	c := &container{id: "x", dir: t.TempDir(), runtime: script(t, "exec sleep 1000")}
	began := time.Now()
	err := r.call(c, 50*time.Millisecond, "start", "x")
	if err == nil || !strings.Contains(err.Error(), "odd start did not end within 50ms") || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// real starts a container by Debian's runc.
func real(t *testing.T, r *Runner, l *runtime.Launch) *runtime.Process {
	t.Helper()
	path, err := exec.LookPath("runc")
	if err != nil {
		t.Fatalf("%v: the package runc has it", err)
	}
	p, err := r.Start(monitor.Runtime{Name: "runc", Path: path}, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.PidFD.Close()
		r.Remove(l.ID)
		for _, root := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
			found, _ := filepath.Glob(fmt.Sprintf("%s/hoyforeign%d", root, os.Getpid()))
			for _, dir := range found {
				_ = os.Remove(dir)
			}
		}
	})
	return p
}

// ended waits for a process as the monitor does.
func ended(t *testing.T, p *runtime.Process) syscall.WaitStatus {
	t.Helper()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(p.Pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	return ws
}

func TestRunAndExec(t *testing.T) {
	r, log := runner(t)
	l := launch(t, "a", "/bin/sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.01; done")
	p := real(t, r, l)
	e := &runtime.Exec{ID: "a", Target: p.Pid, Process: &specs.Process{Args: []string{"sh", "-c", "tty; exit 7"}, Cwd: "/", Env: []string{"PATH=/bin"}, Terminal: true}}
	x, err := r.Exec(e, "one")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(x.Console) // ends with EIO
	_ = x.Console.Close()
	_ = x.PidFD.Close()
	if code := ended(t, x).ExitStatus(); code != 7 || !strings.Contains(string(text), "/dev/pts/") && !strings.Contains(string(text), "not a tty") {
		t.Errorf("exit code %d, %q", code, text)
	}
	e.Process = &specs.Process{Args: []string{"nosuch"}, Cwd: "/", Env: []string{"PATH=/bin"}}
	_, err = r.Exec(e, "two")
	if se, ok := errors.AsType[*runtime.StartError](err); !ok || se.ExitCode() != 127 {
		t.Errorf("%v", err)
	}
	if err := unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGTERM, nil, 0); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, p).ExitStatus(); code != 5 && code != 143 {
		t.Errorf("exit code %d", code)
	}
	r.Remove("a")
	if left, _ := os.ReadDir(r.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if log.Len() > 0 {
		t.Error(log)
	}
}

// A monitor that was killed leaves containers that nobody waits for: the next
// one has their runtime end and forget them.
func TestTheNextMonitorRemoves(t *testing.T) {
	r, _ := runner(t)
	p := real(t, r, launch(t, "b", "/bin/sh", "-c", "sleep 1000"))
	next := Open(Options{Dir: r.dir, Log: r.log, Track: r.track, Adopt: r.adopt})
	if !next.Holds("b") {
		t.Error("it is not known")
	}
	next.Wait()
	if ws := ended(t, p); !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("ended with %v", ws)
	}
	if left, _ := os.ReadDir(r.dir); len(left) > 0 || next.Holds("b") {
		t.Errorf("left behind: %v", left)
	}
}

// The way to a socket may be longer than an address of one.
func TestALongWayToTheTerminal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := listen(&container{dir: dir}, "tty")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.path != "tty" {
		t.Errorf("the runtime is told %q", s.path)
	}
	if _, err := os.Stat(dir + "/tty"); err != nil {
		t.Error(err)
	}
	s.close()
	if _, err := os.Stat(dir + "/tty"); err == nil {
		t.Error("it is left behind")
	}
}

func TestJoinFindsWhoIsOutside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cgroup.procs")
	for _, c := range []struct {
		text string
		want bool
	}{{"1\n42\n", true}, {"1\n421\n", false}} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		already, err := join([]string{file}, 42)
		text, _ := os.ReadFile(file)
		if err != nil || already != c.want || !c.want && string(text) != strconv.Itoa(42) {
			t.Errorf("%q: %v, %v, now %q", c.text, already, err, text)
		}
	}
}
