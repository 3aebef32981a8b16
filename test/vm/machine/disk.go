package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hoy/test/vm/plan"
)

// debianPackages are added to Debian's smallest system.
const debianPackages = "systemd,systemd-sysv,dbus,kmod,busybox-static,nftables,iproute2,apparmor"

// Inits of a machine.
var (
	// Bare is a machine with nothing but the kernel and the runner: version 2 of
	// cgroups and no manager of them.
	Bare = []string{plan.Dir + "/inside", "init"}
	// Systemd is a machine that systemd boots; the runner is a unit of it.
	Systemd = []string{"/sbin/init"}
)

// unit runs the plan's steps under systemd. What hoyd leaves running on purpose
// is not systemd's to end.
const unit = `[Unit]
Description=The steps of the test machine
After=dbus.service
[Service]
Type=oneshot
ExecStart=` + plan.Dir + `/inside run
StandardOutput=tty
TTYPath=/dev/console
StandardInput=tty
KillMode=process
TimeoutStartSec=infinity
`

// unneeded units cost seconds of a boot and are of no use to a test.
var unneeded = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
	"getty.target", "systemd-timesyncd.service", "systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
	"systemd-random-seed.service", "systemd-machine-id-commit.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-firstboot.service",
	"systemd-sysusers.service", "systemd-hwdb-update.service", "modprobe@drm.service", "modprobe@fuse.service", "modprobe@configfs.service", "systemd-remount-fs.service",
	"systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "ldconfig.service", "systemd-networkd-wait-online.service",
}

// Debian makes a root file system with systemd and the kernel's modules at dir.
func Debian(ctx context.Context, dir string, k *Kernel) error {
	if _, err := command(ctx, "", "mmdebstrap", "--quiet", "--variant=minbase", "--include="+debianPackages,
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--customize-hook=rm -rf \"$1\"/var/cache/apt \"$1\"/var/lib/apt/lists", "bookworm", dir); err != nil {
		return err
	}
	// The root file system has links for /lib and /sbin, all made by Debian just now.
	if err := os.CopyFS(filepath.Join(dir, "usr/lib/modules", k.Release), os.DirFS(k.Modules())); err != nil {
		return err
	}
	if _, err := command(ctx, "", "chroot", dir, "depmod", k.Release); err != nil {
		return err
	}
	units := filepath.Join(dir, "etc/systemd/system")
	for _, u := range unneeded {
		if err := link("/dev/null", filepath.Join(units, u)); err != nil {
			return err
		}
	}
	if err := link("../hoy-vm.service", filepath.Join(units, "multi-user.target.wants/hoy-vm.service")); err != nil {
		return err
	}
	for path, text := range map[string]string{
		filepath.Join(units, "hoy-vm.service"): unit,
		filepath.Join(dir, "etc/fstab"):        "",
		filepath.Join(dir, "etc/machine-id"):   strings.Repeat("c0ffee11", 4) + "\n",
		filepath.Join(dir, "etc/hostname"):     "hoy-vm\n",
		filepath.Join(dir, "etc/hosts"):        "127.0.0.1 localhost hoy-vm\n",
		filepath.Join(dir, "etc/resolv.conf"):  "nameserver 192.0.2.1\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:forbidigo // on its way to a disk of a test
			return err
		}
	}
	return link("/lib/systemd/system/multi-user.target", filepath.Join(units, "default.target"))
}

func link(to, at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(to, at)
}

// TestFile is the name of a package's tests in plan.Dir/tests; its test data is beside it.
func TestFile(pkg string) string {
	return strings.ReplaceAll(strings.TrimPrefix(pkg, "hoy/"), "/", "_") + ".test"
}

// WorkDir is where a package's tests run in a machine.
func WorkDir(pkg string) string { return plan.Dir + "/src/" + strings.TrimPrefix(pkg, "hoy/") }

// Install builds the project's binaries and the tests of packages into root.
func Install(ctx context.Context, module, root string, tests []string) error {
	dir := root + plan.Dir
	for _, d := range []string{"/bin/", "/tests"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			return err
		}
	}
	build := func(args ...string) error {
		_, err := command(ctx, module, "env", append([]string{"CGO_ENABLED=0", "go"}, args...)...)
		return err
	}
	if err := build("build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/bin/", "./cmd/..."); err != nil {
		return err
	}
	if err := BuildInside(ctx, module, dir+"/inside"); err != nil {
		return err
	}
	for _, pkg := range tests {
		if err := build("test", "-c", "-ldflags=-s -w", "-o", dir+"/tests/"+TestFile(pkg), pkg); err != nil {
			return err
		}
		work := root + WorkDir(pkg)
		if err := os.MkdirAll(work, 0o755); err != nil {
			return err
		}
		data := filepath.Join(module, strings.TrimPrefix(pkg, "hoy/"), "testdata")
		if _, err := os.Stat(data); err != nil {
			continue
		}
		if err := os.CopyFS(filepath.Join(work, "testdata"), os.DirFS(data)); err != nil {
			return err
		}
	}
	return nil
}

// BuildInside builds the program that is process 1.
func BuildInside(ctx context.Context, module, path string) error {
	_, err := command(ctx, module, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./test/vm/inside")
	return err
}

// Disk writes an ext4 file system of size with the tree at root, or an empty one
// where root is empty.
func Disk(ctx context.Context, root, path, size string) error {
	args := []string{"-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0"}
	if root != "" {
		args = append(args, "-d", root)
	}
	_, err := command(ctx, "", "mke2fs", append(args, path, size)...)
	return err
}
