package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"hoy/test/vm/plan"
)

const root = "/root"

type mountPoint struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func mountAll(list []mountPoint) error {
	for _, m := range list {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.source, m.target, err)
		}
	}
	return nil
}

// firstStage finds the disk, leaves the plan in /run and becomes the plan's init.
func firstStage() error {
	text, err := os.ReadFile("/plan.json")
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if err := mountAll([]mountPoint{{"devtmpfs", "/dev", "devtmpfs", 0, ""}, {"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"}}); err != nil {
		return err
	}
	for _, m := range p.Modules {
		if err := load(m); err != nil {
			return fmt.Errorf("module %s: %w", m, err)
		}
	}
	if err := waitFor("/dev/vda"); err != nil {
		return err
	}
	if err := mountAll([]mountPoint{{"/dev/vda", root, "ext4", unix.MS_NOATIME, ""}}); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/vdb"); err == nil {
		if err := mountAll([]mountPoint{{"/dev/vdb", root + plan.State, "ext4", unix.MS_NOATIME, ""}}); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(plan.File), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(plan.File, text, 0o644); err != nil { //nolint:forbidigo // in memory
		return err
	}
	if err := switchRoot(); err != nil {
		return fmt.Errorf("switch to the disk: %w", err)
	}
	return unix.Exec(p.Init[0], p.Init, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=vt100"})
}

func load(name string) error {
	f, err := os.Open("/modules/" + name + ".ko")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// waitFor waits for a device: the driver's probe may go on after the module is loaded.
func waitFor(path string) error {
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // devtmpfs tells nobody
	}
	return errors.New("no " + path)
}

// switchRoot makes the disk's root the root. The initial RAM file system stays
// below it, as nothing can be pivoted away from there.
func switchRoot() error {
	for _, dir := range []string{"/dev", "/run"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, root+dir, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}
