package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountSpec is what the options type, device and o of a local volume ask for.
type mountSpec struct {
	kind, device string
	flags        uintptr
	data         []string
}

// mountFlags are the options of mount(8) that are flags of mount(2); a nil-like
// zero with clear set takes flags away.
var mountFlags = map[string]struct{ set, clear uintptr }{
	"defaults": {}, "rw": {clear: unix.MS_RDONLY}, "ro": {set: unix.MS_RDONLY},
	"suid": {clear: unix.MS_NOSUID}, "nosuid": {set: unix.MS_NOSUID},
	"dev": {clear: unix.MS_NODEV}, "nodev": {set: unix.MS_NODEV},
	"exec": {clear: unix.MS_NOEXEC}, "noexec": {set: unix.MS_NOEXEC},
	"async": {clear: unix.MS_SYNCHRONOUS}, "sync": {set: unix.MS_SYNCHRONOUS},
	"atime": {clear: unix.MS_NOATIME}, "noatime": {set: unix.MS_NOATIME},
	"diratime": {clear: unix.MS_NODIRATIME}, "nodiratime": {set: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"strictatime": {set: unix.MS_STRICTATIME}, "dirsync": {set: unix.MS_DIRSYNC},
	"bind": {set: unix.MS_BIND}, "rbind": {set: unix.MS_BIND | unix.MS_REC},
}

// parseMount checks a local volume's options; without any it returns nil. Errors
// are errdefs.ErrInvalidArgument.
func parseMount(opts map[string]string) (*mountSpec, error) {
	if len(opts) == 0 {
		return nil, nil
	}
	bad := func(format string, args ...any) (*mountSpec, error) {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
	}
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		switch key {
		case "type", "device", "o":
		case "size":
			return bad("quota size requested but no quota support")
		default:
			return bad("invalid option: %q", key)
		}
	}
	for _, key := range []string{"device", "type"} {
		if opts[key] == "" {
			return bad("missing required option: %q", key)
		}
	}
	m := &mountSpec{kind: opts["type"], device: opts["device"]}
	for o := range strings.SplitSeq(opts["o"], ",") {
		o = strings.TrimSpace(o)
		if o == "" {
			continue
		}
		if f, ok := mountFlags[o]; ok {
			m.flags = m.flags&^f.clear | f.set
			continue
		}
		m.data = append(m.data, o)
	}
	if strings.ContainsRune(m.kind+m.device+opts["o"], 0) {
		return bad("mount options must not contain NUL")
	}
	if m.flags&unix.MS_BIND != 0 {
		if !filepath.IsAbs(m.device) {
			return bad("bind device %q must be an absolute path", m.device)
		}
		m.device = filepath.Clean(m.device)
		if len(m.data) > 0 {
			return bad("invalid option for a bind mount: %q", m.data[0])
		}
	}
	return m, nil
}

// plainBind says that the device itself can be bound into containers, with no
// mount of our own on the host.
func (m *mountSpec) plainBind() bool {
	return m.flags&unix.MS_BIND != 0 && m.flags&^(unix.MS_BIND|unix.MS_REC) == 0
}

// mount mounts at dir unless something is mounted there already: by an earlier
// container, or by the engine before it was restarted.
func (m *mountSpec) mount(ctx context.Context, dir string) error {
	mounted, err := mountinfo.Mounted(dir)
	if err != nil || mounted {
		return err
	}
	data, err := m.resolved(ctx)
	if err != nil {
		return err
	}
	if err := unix.Mount(m.device, dir, m.kind, m.flags, data); err != nil {
		return fmt.Errorf("failed to mount local volume: mount %s:%s: %w", m.device, dir, err)
	}
	if m.flags&unix.MS_BIND != 0 {
		// A bind takes its other flags in a second step only, mount(2).
		if err := unix.Mount("", dir, "", m.flags|unix.MS_REMOUNT, ""); err != nil {
			return errors.Join(fmt.Errorf("failed to mount local volume: remount %s: %w", dir, err), unmount(dir))
		}
	}
	return nil
}

// resolved joins the file system's own options. The kernel's network file systems
// want addr= as a number.
func (m *mountSpec) resolved(ctx context.Context) (string, error) {
	data := slices.Clone(m.data)
	if strings.HasPrefix(m.kind, "nfs") || m.kind == "cifs" {
		for i, o := range data {
			host, ok := strings.CutPrefix(o, "addr=")
			if !ok || net.ParseIP(host) != nil {
				continue
			}
			addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
			}
			data[i] = "addr=" + addrs[0].Unmap().String()
		}
	}
	return strings.Join(data, ","), nil
}

// unmount takes away what is mounted at dir; that nothing is, is no error.
func unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", dir, os.NewSyscallError("umount2", err))
}
