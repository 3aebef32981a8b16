package network

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hoy/internal/network/link"
	"hoy/internal/store"
)

const insideEnv = "HOY_TEST_OWN_NETWORK"

// The engine works in the namespace of its own process: the test runs itself
// again in a fresh one.
func TestInTheProcessesOwnNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	if os.Getenv(insideEnv) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestInTheProcessesOwnNamespace$", "-test.v")
		cmd.Env = append(os.Environ(), insideEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	in(t, own, func() error { return configure("lo", "127.0.0.1/8", "") })
	db, err := store.Open(filepath.Join(t.TempDir(), "hoy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := New(Options{Bridge: "hoytest0", Table: "hoytest", Store: db})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	a, err := s.Attach(t.Context(), Request{ContainerID: "a", Name: "a", Ports: ports(t, ":8080:80/tcp")})
	if err != nil {
		t.Fatal(err)
	}
	defer a.NetNS.Close()
	serveTCP(t, a.NetNS, ":80", "web")
	wantAnswer(t, own, "tcp", "127.0.0.1:8080", "web")
	if err := s.Destroy(); err != nil {
		t.Error(err)
	}
	h, err := link.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if b, err := h.FindBridge("hoytest0"); b != nil || err != nil {
		t.Errorf("left behind: %v, %v", b, err)
	}
}
