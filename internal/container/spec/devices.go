package spec

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Devices are nodes to make in a container and the rules that allow their use.
type Devices struct {
	Nodes []specs.LinuxDevice
	Rules []specs.LinuxDeviceCgroup
}

// HostDevices reads from the host what the configuration asks for: each mapped
// device, a directory standing for all devices in it; all of /dev where it is privileged.
func HostDevices(hc *container.HostConfig) (Devices, error) {
	var d Devices
	if hc.Privileged {
		if err := d.walk("/dev", "/dev", "rwm"); err != nil {
			return d, err
		}
	}
	for _, m := range hc.Devices {
		in, perms := cmp.Or(m.PathInContainer, m.PathOnHost), cmp.Or(m.CgroupPermissions, "rwm")
		// A symbolic link stands for the device that it leads to.
		host, err := filepath.EvalSymlinks(m.PathOnHost)
		if err == nil {
			err = d.walk(host, in, perms)
		}
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return d, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
				"error gathering device information while adding custom device %q: %v", m.PathOnHost, err))
		}
	}
	return d, nil
}

// skipped below /dev: the container has its own.
var skipped = []string{"/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/console", "/dev/.lxc", "/dev/.lxd-mounts", "/dev/.udev"}

func (d *Devices) walk(host, in, perms string) error {
	found := false
	err := filepath.WalkDir(host, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path != host && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if slices.Contains(skipped, path) && path != host {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if e.Type()&fs.ModeDevice == 0 {
			return nil
		}
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was unplugged meanwhile
		}
		if err != nil {
			return err
		}
		found = true
		d.add(in+strings.TrimPrefix(path, host), info, perms)
		return nil
	})
	if err == nil && !found {
		return errors.New("not a device node")
	}
	return err
}

func (d *Devices) add(path string, info fs.FileInfo, perms string) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	kind := "b"
	if info.Mode()&fs.ModeCharDevice != 0 {
		kind = "c"
	}
	major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	mode := info.Mode().Perm()
	d.Nodes = append(d.Nodes, specs.LinuxDevice{Path: path, Type: kind, Major: major, Minor: minor, FileMode: &mode, UID: &st.Uid, GID: &st.Gid})
	d.Rules = append(d.Rules, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: perms})
}

func blockDevice(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("block device %s: %v", path, err))
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}
