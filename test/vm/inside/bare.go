package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bareInit is process 1 of a machine without systemd: it mounts what systemd
// would, starts the runner, buries whoever loses his parent, and powers off.
func bareInit() error {
	err := prepare()
	if err == nil {
		err = superviseRunner()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		if w, werr := openRecords(); werr == nil {
			w.fault(err)
		}
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func prepare() error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mountAll([]mountPoint{
		{"proc", "/proc", "proc", plain, ""}, {"sysfs", "/sys", "sysfs", plain, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", plain, "nsdelegate,memory_recursiveprot"},
		{"bpf", "/sys/fs/bpf", "bpf", plain, "mode=700"}, {"securityfs", "/sys/kernel/security", "securityfs", plain, ""},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=000"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"mqueue", "/dev/mqueue", "mqueue", plain, ""},
	}); err != nil {
		return err
	}
	// systemd's default, and what Docker's users have: mounts spread.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return err
	}
	// udev would load it when its node is opened.
	if out, err := exec.Command("modprobe", "loop").CombinedOutput(); err != nil { //nolint:noctx // at the boot
		return fmt.Errorf("modprobe loop: %w: %s", err, out)
	}
	if err := unix.Sethostname([]byte("hoy-vm")); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// superviseRunner starts the runner and reaps until it has ended.
func superviseRunner() error {
	cmd := exec.Command("/proc/self/exe", "run") //nolint:noctx // ends when it ends
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if pid != cmd.Process.Pid {
			continue
		}
		if status.ExitStatus() != 0 {
			return fmt.Errorf("the runner ended with %d", status.ExitStatus())
		}
		return nil
	}
}
