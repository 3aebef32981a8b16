package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/internal/config"
	"hoy/internal/reconcile"
	"hoy/internal/store"
)

func TestOneDaemonPerRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data")
	first, err := lockRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockRoot(root)
	if want := fmt.Sprintf("another hoyd (pid %d) uses the data root %s", os.Getpid(), root); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("second lock: %v", err)
	}
	_ = first.Close()
	again, err := lockRoot(root)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	_ = again.Close()
}

func TestPidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "hoyd.pid")
	for _, old := range []string{"", "garbage", "999999999", "1"} { // 1 lives and is no hoyd
		if old != "" {
			if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := writePidfile(path); err != nil {
			t.Errorf("over %q: %v", old, err)
		}
	}
	removePidfile(path)
	if _, err := os.Stat(path); err == nil {
		t.Error("our own file stays")
	}
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	removePidfile(path)
	if _, err := os.Stat(path); err != nil {
		t.Error("another's file was removed")
	}
}

// TestPidfileOfOneNobodyReaped is what a crash leaves where the parent, a
// supervisor or a test, does not wait.
func TestPidfileOfOneNobodyReaped(t *testing.T) {
	ours, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	// A program of our own name, so that only its end tells it from a living one.
	name := filepath.Join(t.TempDir(), strings.TrimSpace(string(ours)))
	if err := os.Symlink("/bin/sleep", name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	waitFor(t, "the program runs under its name", func() bool { return isDaemon(cmd.Process.Pid) })
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writePidfile(path); err == nil {
		t.Error("the file of a living daemon was taken over")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a zombie does not count", func() bool { return !isDaemon(cmd.Process.Pid) })
	if err := writePidfile(path); err != nil {
		t.Error(err)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEngineIDStays(t *testing.T) {
	root := t.TempDir()
	db, err := store.Open(filepath.Join(root, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	damages := reconcile.NewDamages(slog.New(slog.DiscardHandler))
	first, err := engineID(root, db, damages)
	if err != nil || len(first) != 36 {
		t.Fatalf("%q, %v", first, err)
	}
	for i, bad := range []string{first + "\n", "", strings.Repeat("\x00", 37), "0" + first[1:35] + "0\n"} {
		if err := os.WriteFile(filepath.Join(root, "engine-id"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := engineID(root, db, damages); err != nil || again != first {
			t.Errorf("%q then %q, %v", first, again, err)
		}
		if named := len(damages.Check(t.Context())); named != i {
			t.Errorf("after %q %d files are named, want %d", bad, named, i)
		}
	}
}

func TestGrowTable(t *testing.T) {
	growTable()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var n int
		if _, err := fmt.Sscanf(line, "FDSize: %d", &n); err == nil && n < descriptors {
			t.Errorf("room for %d files, want %d", n, descriptors)
		}
	}
}

func TestServeEndsStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	// A request that would follow for ever.
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "on\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, h, []net.Listener{l}, func() time.Duration { return time.Minute }, slog.New(slog.DiscardHandler))
	}()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a stream holds the daemon's end up")
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	notify("READY=1")
	buf := make([]byte, 64)
	_ = l.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := l.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestSettings(t *testing.T) {
	cfg := config.Default()
	cfg.SeccompProfile = filepath.Join(t.TempDir(), "p.json")
	if _, err := containerSettings(cfg, "/x"); err == nil {
		t.Error("a profile that is not there")
	}
	if err := os.WriteFile(cfg.SeccompProfile, []byte(`{"a":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := containerSettings(cfg, "/x")
	if err != nil || set.SeccompProfile != `{"a":1}` || set.Memory < 1<<20 || set.CPUs < 1 || set.Runtime != "/x" {
		t.Errorf("%+v, %v", set, err)
	}
}
