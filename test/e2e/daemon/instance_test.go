package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hoy/test/e2e/engine"
)

func TestOneEngineEach(t *testing.T) {
	e := engine.Start(t)
	other := t.TempDir()
	pid := strconv.Itoa(e.Pid())
	t.Run("data root", func(t *testing.T) {
		hoyd(t, append(own(other), "--data-root", e.Dir+"/data")...).
			Refused(t, 1, "another hoyd (pid "+pid+") uses the data root "+e.Dir+"/data")
	})
	t.Run("socket", func(t *testing.T) {
		hoyd(t, append(own(other), "-H", e.Host)...).Refused(t, 1, "another process listens there")
	})
	t.Run("pid file", func(t *testing.T) {
		hoyd(t, append(own(other), "--pidfile", e.Dir+"/hoyd.pid")...).Refused(t, 1, "hoyd with pid "+pid+" is still running")
	})
	if got := e.Must("info", "-f", "{{.DockerRootDir}}"); got != e.Dir+"/data" {
		t.Errorf("the first engine's socket answers for %s", got)
	}
	if got := readPid(t, e); got != e.Pid() {
		t.Errorf("the first engine's pid file says %d, it is %d", got, e.Pid())
	}
}

func readPid(t *testing.T, e *engine.Engine) int {
	t.Helper()
	text, err := os.ReadFile(e.Dir + "/hoyd.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestWhatACrashLeftIsReplaced(t *testing.T) {
	e := engine.Start(t)
	if got := readPid(t, e); got != e.Pid() {
		t.Errorf("pid file: %d, want %d", got, e.Pid())
	}
	e.Kill()
	if _, err := os.Stat(e.Dir + "/hoy.sock"); err != nil {
		t.Fatalf("the crash left no socket to replace: %v", err)
	}
	e.Up()
	if got := readPid(t, e); got != e.Pid() {
		t.Errorf("pid file after the new start: %d, want %d", got, e.Pid())
	}
	e.Stop()
	for _, name := range []string{"/hoy.sock", "/hoyd.pid"} {
		if _, err := os.Stat(e.Dir + name); err == nil {
			t.Errorf("%s is still there after an orderly stop", name)
		}
	}
	// What is no socket is somebody's file.
	writeFile(t, e.Dir+"/hoy.sock", "precious")
	hoyd(t, append(own(t.TempDir()), "-H", e.Host)...).Refused(t, 1, "the file there is not a socket")
	if text, err := os.ReadFile(e.Dir + "/hoy.sock"); err != nil || string(text) != "precious" {
		t.Errorf("the file in the socket's place: %q, %v", text, err)
	}
	if err := os.Remove(e.Dir + "/hoy.sock"); err != nil {
		t.Fatal(err)
	}
}

func TestStopLeavesContainersRunning(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	e.Must("run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sh", "-c",
		"echo still here >/index.html; httpd -p 80 -h /; i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done")
	address := e.Must("port", "web", "80")
	pid, err := strconv.Atoi(e.Must("inspect", "-f", "{{.State.Pid}}", "web"))
	if err != nil {
		t.Fatal(err)
	}
	e.Stop()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the container's process after the daemon's stop: %v", err)
	}
	engine.Eventually(t, "the page without a daemon", func() bool { return engine.Get("http://"+address) == "still here\n" })
	if r := e.Hoy("ps"); r.Code == 0 {
		t.Error("a stopped daemon answers")
	}
	e.Up()
	if got := e.Must("inspect", "-f", "{{.State.Status}} {{.State.Pid}} {{.RestartCount}}", "web"); got != fmt.Sprintf("running %d 0", pid) {
		t.Errorf("after the new start: %s, pid was %d", got, pid)
	}
	e.Must("kill", "web")
	// No line of the time without a daemon is missing.
	for i, line := range strings.Split(e.Must("logs", "web"), "\n") {
		if line != strconv.Itoa(i) {
			t.Fatalf("line %d of the log is %q", i, line)
		}
	}
}

func TestNothingStaysOfAnIdleEngine(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	e.Must("run", "--rm", "busybox", "true")
	e.Must("run", "--name", "ended", "-v", "data:/data", "busybox", "touch", "/data/x", "/y")
	e.Must("run", "-d", "--name", "killed", "-p", "80", "busybox", "sleep", "1000")
	e.Must("kill", "killed")
	e.Stop()
	e.CheckLeftovers() // two stopped containers are no reason to keep a bridge
	// All that is left are files, removable as such: no mount, no immutable flag.
	engine.Run(t, "", "rm", "-r", e.Dir+"/data", e.Dir+"/run").Must(t)
	if _, err := os.Stat(e.Dir + "/data"); err == nil {
		t.Error("the data root is still there")
	}
}
