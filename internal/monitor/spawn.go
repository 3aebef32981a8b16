package monitor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenFD is the descriptor that the guardian finds the monitor's listening
// socket at: the socket exists before the process does, so that nobody ever has
// to wait for it.
const ListenFD = 3

// maxLog bounds monitor.log; a longer one is set aside as monitor.log.1 at start.
const maxLog = 1 << 20

// spawn starts the guardian, which starts the monitor. The caller holds the lock.
func spawn(opt Options) error {
	listener, err := Listen(opt.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	binary, err := sealedCopy(opt.Binary)
	if err != nil {
		return err
	}
	defer binary.Close()
	logPath := filepath.Join(opt.ExecRoot, LogFile)
	if fi, err := os.Stat(logPath); err == nil && fi.Size() > maxLog {
		_ = os.Rename(logPath, logPath+".1")
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/fd/" + strconv.Itoa(int(binary.Fd())),
		Args: []string{"hoy-run", "guard", "--socket", opt.Socket, "--exec-root", opt.ExecRoot,
			"--listen-fd", strconv.Itoa(ListenFD)},
		Env:         []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOTRACEBACK=all"},
		Dir:         "/",
		Stderr:      log,
		ExtraFiles:  []*os.File{listener},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		_ = os.Remove(opt.Socket)
		return err
	}
	go func() { _ = cmd.Wait() }() // so that no zombie stays should it end first
	return nil
}

// Listen makes the monitor's socket, 0600 and non-blocking, in place of one that
// nobody answers at.
func Listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	// The mode that bind gives the file is the socket's own less the umask, so
	// that nobody else can connect in between.
	err = os.NewSyscallError("fchmod", unix.Fchmod(fd, 0o600))
	if err == nil {
		err = os.NewSyscallError("bind "+path, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, 128))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sealedCopy puts the program in memory that nobody can write to any more: a
// container that gets at /proc/PID/exe of the monitor cannot change what the
// next one runs (CVE-2019-5736), and the file on disk may be replaced freely.
func sealedCopy(path string) (_ *os.File, err error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("hoy-run", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("hoy-run", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	// Above all that the child gets as 0, 1, 2, 3 …, which would take its place
	// before it is executed.
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 64)
	_ = unix.Close(fd)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(high), "hoy-run")
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if _, err := io.Copy(f, src); err != nil {
		return nil, fmt.Errorf("copy %s: %w", path, err)
	}
	if err := f.Chmod(0o500); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("seal", err)
	}
	return f, nil
}

// LeaveUnit takes the calling process out of the daemon's systemd unit, so that
// stopping or restarting the unit does not take the containers along. Outside
// of a unit nothing is done, and a refusal is no error: the unit may say
// KillMode=process instead.
func LeaveUnit() {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(own)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || (parts[1] != "" && parts[1] != "name=systemd") {
			continue
		}
		if !strings.HasSuffix(parts[2], ".service") && !strings.HasSuffix(parts[2], ".scope") {
			continue
		}
		if root := cgroupMount(parts[1]); root != "" {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte("0"), 0) //nolint:forbidigo // a file of the kernel
		}
	}
}

// cgroupMount finds where the v2 tree (controller "") or a named v1 hierarchy is mounted.
func cgroupMount(controller string) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(head) < 5 || len(tail) < 3 || head[3] != "/" {
			continue
		}
		if controller == "" && tail[0] == "cgroup2" ||
			controller != "" && tail[0] == "cgroup" && strings.Contains(","+tail[2]+",", ","+controller+",") {
			return head[4]
		}
	}
	return ""
}
