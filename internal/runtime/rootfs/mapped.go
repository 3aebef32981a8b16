package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// MapError is a file system that cannot show its files with mapped owners.
type MapError struct {
	// Path was to be mapped; FS is the kind of file system that it is on.
	Path, FS string
	Err      error
}

func (e *MapError) Error() string {
	return fmt.Sprintf("the file system of %s (%s) cannot map ids on this kernel: %v", e.Path, e.FS, e.Err)
}

func (e *MapError) Unwrap() error { return e.Err }

// mapIDs maps the owners of a detached tree, the clone of what is at path.
func mapIDs(fd int, path string, userns *os.File, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}
	err := unix.MountSetattr(fd, "", flags, &attr)
	if errors.Is(err, unix.EINVAL) {
		return &MapError{Path: path, FS: FSName(path), Err: err}
	}
	if err != nil {
		return fmt.Errorf("map ids of %s: %w", path, err)
	}
	return nil
}

// mapped is an overlay's layers as mapped clones, held by descriptors.
type mapped struct {
	layers layers
	held   []*os.File
	// lower and upper are the clones; upper's directory has the writable
	// layer and the working directory, which must be of one mount.
	lower      []*os.File
	upper      *os.File
	upperNames [2]string
}

func (m *mapped) close() {
	for _, f := range m.held {
		_ = f.Close()
	}
}

func (m *mapped) clone(dir string, userns *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("overlay: open %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	m.held = append(m.held, f)
	return f, mapIDs(fd, dir, userns, false)
}

func mapLayers(l layers, userns *os.File) (*mapped, error) {
	m := &mapped{layers: l}
	for _, dir := range l.lower {
		f, err := m.clone(dir, userns)
		if err != nil {
			m.close()
			return nil, err
		}
		m.lower = append(m.lower, f)
	}
	if l.upper == "" {
		return m, nil
	}
	base := commonDir([]string{l.upper, l.work})
	f, err := m.clone(base, userns)
	for i, dir := range []string{l.upper, l.work} {
		if err == nil {
			m.upperNames[i], err = filepath.Rel(base, dir)
		}
	}
	if err != nil {
		m.close()
		return nil, err
	}
	m.upper = f
	return m, nil
}

// overlayMapped mounts layers whose owners are mapped one by one: an overlay
// itself cannot be mapped. Before Linux 6.15 layers must be attached somewhere.
func overlayMapped(l layers, to *Owners) (fd int, err error) {
	m, err := mapLayers(l, to.Space)
	if err != nil {
		return -1, err
	}
	defer m.close()
	// The overlay works in its upper layer as who mounted it.
	err = unix.EINVAL
	if takesDetached() {
		err = As(to.UID, to.GID, func() error {
			fd, err = overlayByLayer(m.detached())
			return err
		})
	}
	if !errors.Is(err, unix.EINVAL) {
		return fd, err
	}
	if old, oldErr := overlayAttached(m, to); oldErr == nil {
		return old, nil
	} else if !errors.Is(oldErr, unix.EINVAL) {
		return -1, oldErr
	}
	return -1, fmt.Errorf("%w: an overlay with mapped layers needs Linux 5.19", err)
}

// detached names the clones by their descriptors.
func (m *mapped) detached() layers {
	self := func(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }
	l := m.layers
	l.lower = make([]string, len(m.lower))
	for i, f := range m.lower {
		l.lower[i] = self(f)
	}
	if m.upper != nil {
		l.upper, l.work = self(m.upper)+"/"+m.upperNames[0], self(m.upper)+"/"+m.upperNames[1]
	}
	return l
}

// stage is where a thread with mounts of its own attaches the clones.
const stage = "/dev"

// overlayAttached attaches the clones in a mount namespace that is thrown away.
// The overlay has clones of its own of them.
func overlayAttached(m *mapped, to *Owners) (int, error) {
	return onThread(func() (int, error) {
		if err := leaveMounts(); err != nil {
			return -1, err
		}
		if err := unix.Mount("tmpfs", stage, "tmpfs", 0, "mode=700"); err != nil {
			return -1, fmt.Errorf("overlay: mount tmpfs: %w", err)
		}
		if err := unix.Chdir(stage); err != nil {
			return -1, fmt.Errorf("overlay: chdir %s: %w", stage, err)
		}
		l := m.layers
		l.lower = make([]string, len(m.lower))
		for i, f := range m.lower {
			l.lower[i] = strconv.Itoa(i)
			if err := attach(f, l.lower[i]); err != nil {
				return -1, err
			}
		}
		if m.upper != nil {
			if err := attach(m.upper, "w"); err != nil {
				return -1, err
			}
			l.upper, l.work = "w/"+m.upperNames[0], "w/"+m.upperNames[1]
		}
		if err := unix.Mkdir("root", 0o700); err != nil {
			return -1, fmt.Errorf("overlay: %w", err)
		}
		if _, err := become(to.UID, to.GID); err != nil {
			return -1, err
		}
		return mountTree(l, "root")
	})
}

func attach(f *os.File, name string) error {
	if err := unix.Mkdir(name, 0o700); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if err := unix.MoveMount(int(f.Fd()), "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("overlay: attach %s: %w", f.Name(), err)
	}
	return nil
}

// fsNames are the kinds of file systems that people meet, by statfs's f_type;
// those without a constant in x/sys/unix by their number.
var fsNames = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.F2FS_SUPER_MAGIC: "f2fs",
	unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.FUSE_SUPER_MAGIC: "fuse",
	unix.SQUASHFS_MAGIC: "squashfs", unix.V9FS_MAGIC: "9p", unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs",
	unix.MSDOS_SUPER_MAGIC: "vfat", unix.CEPH_SUPER_MAGIC: "ceph", unix.SMB2_SUPER_MAGIC: "cifs", unix.RAMFS_MAGIC: "ramfs",
	unix.DEVPTS_SUPER_MAGIC: "devpts", unix.CGROUP2_SUPER_MAGIC: "cgroup2", unix.NSFS_MAGIC: "nsfs", unix.ISOFS_SUPER_MAGIC: "iso9660",
	0x2fc12fc1: "zfs", 0xff534d42: "cifs", 0xca451a4e: "bcachefs", 0x786f4256: "vboxsf", 0x2011bab0: "exfat", 0x5346544e: "ntfs",
}

// FSName is the kind of file system that path is on.
func FSName(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "unknown"
	}
	if name, ok := fsNames[int64(uint32(st.Type))]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", uint32(st.Type))
}
