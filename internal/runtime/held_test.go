package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// listen makes a socket for Launch.Start, and what connects to it.
func listen(tb testing.TB) (*os.File, func() net.Conn) {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "start.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(tb, err)
	must(tb, unix.Bind(fd, &unix.SockaddrUnix{Name: name}))
	must(tb, unix.Listen(fd, 1))
	f := os.NewFile(uintptr(fd), name)
	tb.Cleanup(func() { _ = f.Close() })
	return f, func() net.Conn {
		conn, err := net.Dial("unix", name)
		must(tb, err)
		must(tb, conn.SetDeadline(time.Now().Add(10*time.Second)))
		tb.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

func TestAHeldStart(t *testing.T) {
	dir := busybox(t)
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"sh", "-c", "exit 3"}, "", 3},
		{[]string{"script"}, "exec script: no such file or directory", 125},
	} {
		must(t, os.WriteFile(filepath.Join(dir, "bin/script"), []byte("#!/no/such/interpreter\n"), 0o755))
		sock, connect := listen(t)
		l := &Launch{ID: "held", Spec: docker(c.args...), Rootfs: overlayOn(t, dir), Start: sock}
		p, err := Start(l)
		must(t, err)
		must(t, sock.Close())
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid))
		must(t, err)
		if len(open) != 5 {
			t.Errorf("a waiting process holds %d descriptors, want three streams and two sockets", len(open))
		}
		if err := unix.Waitid(unix.P_PIDFD, int(p.PidFD.Fd()), nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
			t.Error(err)
		}
		err = Started(connect(), p.Faults)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
		if c.want != "" {
			if start, ok := errors.AsType[*StartError](err); !ok || start.ExitCode() != 127 {
				t.Errorf("%#v", err)
			}
		}
		if code := wait(t, p); code != c.code {
			t.Errorf("%q: exit code %d, want %d", c.args, code, c.code)
		}
	}
}

// TestHooksSeeBothTrees: before the pivot the mount namespace holds the host's
// tree, with the container's mounts where the root file system is.
func TestHooksSeeBothTrees(t *testing.T) {
	dir := busybox(t)
	for _, noPivot := range []bool{false, true} {
		called := false
		l := &Launch{ID: "hooks", Spec: docker("sh", "-c", "grep -q MARK /etc/mark && ls /proc/self/fd | wc -l"), NoPivot: noPivot}
		must(t, os.WriteFile(filepath.Join(dir, "etc/mark"), []byte("MARK\n"), 0o644))
		l.Spec.Root = &specs.Root{Path: dir}
		l.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/x"}}}
		l.BeforePivot = func(pid int) error {
			called = true
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			must(t, err)
			defer null.Close()
			for _, test := range []string{dir + "/proc/self", dir + "/dev/pts/ptmx", dir + "/etc/mark", "/proc/self", "/dev/null", "/proc/meminfo", "/etc/passwd"} {
				hook, err := StartHook(&Hook{
					Target: pid,
					Path:   "/bin/sh", Args: []string{"hook", "-c", "test -e $0 && cd /sys && hostname", test}, Stdio: [3]*os.File{null, null, null},
				})
				must(t, err)
				if code := wait(t, hook); code != 0 {
					t.Errorf("a hook does not see %s: exit code %d", test, code)
				}
			}
			return nil
		}
		out, code := output(t, l)
		if code != 0 || !called || !strings.HasPrefix(out, "4") {
			t.Errorf("no pivot %t: called %t, exit code %d, %q", noPivot, called, code, out)
		}
		l.BeforePivot = func(int) error { return errors.New("the hook says no") }
		if _, err := Start(l); err == nil || err.Error() != "run hooks: the hook says no" {
			t.Error(err)
		}
	}
}
