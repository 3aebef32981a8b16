// Package rootfs mounts the root file system of a container as a detached tree,
// which no mount namespace ever sees, and opens paths inside such a tree without
// ever leaving it.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Source is one mount of a root file system, in the form that snapshotters give
// it (fstab style: Type "overlay", Options "lowerdir=…"; Type "bind").
type Source struct {
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Options []string `json:"options,omitempty"`
}

// maxParam is the longest string that fsconfig takes, without its NUL.
const maxParam = 255

// Mount mounts what mounts says and returns the tree's root directory. There
// is nothing to unmount: the tree goes with the last descriptor and the last
// mount namespace that holds it. Exactly one mount is supported, as every
// snapshotter in use gives one.
func Mount(mounts []Source, readOnly bool) (*os.File, error) {
	return MountMapped(mounts, readOnly, nil)
}

// Owners say how the owners of files are mapped.
type Owners struct {
	// Space is the user namespace whose map is taken: what is 0 on disk is its root's.
	Space *os.File
	// UID and GID are its root as the calling process sees it.
	UID, GID int
}

// MountMapped is Mount with the owners of all files mapped, where to is not nil.
func MountMapped(mounts []Source, readOnly bool, to *Owners) (*os.File, error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("root file system: want one mount, have %d", len(mounts))
	}
	m := mounts[0]
	var fd int
	var err error
	switch m.Type {
	case "overlay":
		fd, err = overlay(m.Options, to)
	case "bind", "rbind", "":
		fd, err = bind(m, to)
	default:
		return nil, fmt.Errorf("root file system: unsupported mount type %q", m.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("mount root file system: %w", err)
	}
	// What is mounted below the directory of a bind is of the host's groups, too.
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: propagation(m)})
	if err == nil && (readOnly || hasOption(m.Options, "ro")) {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("mount root file system: set attributes: %w", err)
	}
	return os.NewFile(uintptr(fd), "rootfs"), nil
}

// propagation of a root file system: one that is to be slave or shared sees what
// the host mounts below it; never the other way round.
func propagation(m Source) uint64 {
	for _, o := range []string{"slave", "rslave", "shared", "rshared"} {
		if hasOption(m.Options, o) {
			return unix.MS_SLAVE
		}
	}
	return unix.MS_PRIVATE
}

func hasOption(list []string, want string) bool {
	for _, o := range list {
		if o == want {
			return true
		}
	}
	return false
}

func bind(m Source, to *Owners) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Type == "rbind" || hasOption(m.Options, "rbind") {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", m.Source, err)
	}
	if to != nil {
		if err := mapIDs(fd, m.Source, to.Space, flags&unix.AT_RECURSIVE != 0); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// layers is an overlay mount's options by kind.
type layers struct {
	lower        []string
	upper, work  string
	other, flags []string
}

func parseOverlay(options []string) (layers, error) {
	var l layers
	for _, o := range options {
		key, value, has := strings.Cut(o, "=")
		switch {
		case key == "lowerdir":
			l.lower = splitLower(value)
		case key == "upperdir":
			l.upper = value
		case key == "workdir":
			l.work = value
		case has:
			l.other = append(l.other, o)
		case key == "ro" || key == "rw" || key == "":
		default:
			l.flags = append(l.flags, o)
		}
	}
	if len(l.lower) == 0 {
		return l, errors.New("overlay without lowerdir")
	}
	return l, nil
}

// splitLower splits at colons that no backslash precedes, and takes the
// backslashes away.
func splitLower(s string) []string {
	var out []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == ':':
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	return append(out, b.String())
}

func overlay(options []string, to *Owners) (int, error) {
	l, err := parseOverlay(options)
	if err != nil {
		return -1, err
	}
	if to != nil {
		return overlayMapped(l, to)
	}
	return overlayOf(l)
}

// kernel is the running kernel's version. What it does not know it must not be
// asked at every start: overlayfs writes each refusal to the kernel's log.
var kernel = sync.OnceValue(func() (v [2]int) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return v
	}
	// What cannot be read is old, for which there is a way that all kernels have.
	_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &v[0], &v[1])
	return v
})

// takesLayers says whether overlayfs knows "lowerdir+", takesDetached whether a
// layer may be a detached tree.
func takesLayers() bool   { return since(6, 5) }
func takesDetached() bool { return since(6, 15) }

func since(major, minor int) bool {
	v := kernel()
	return v[0] > major || v[0] == major && v[1] >= minor
}

func overlayOf(l layers) (int, error) {
	if !takesLayers() {
		return overlayByMount(l)
	}
	fd, err := overlayByLayer(l)
	if errors.Is(err, unix.EINVAL) {
		if old, oldErr := overlayByMount(l); oldErr == nil {
			return old, nil
		} else if !errors.Is(oldErr, unix.EINVAL) {
			return -1, oldErr
		}
	}
	return fd, err
}

// overlayByLayer gives each layer its own parameter, so that neither number nor
// length of all paths together is bounded by a page.
func overlayByLayer(l layers) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("overlay: %w", err)
	}
	defer func() { _ = unix.Close(fs) }()
	var held []int
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	set := func(key, dir string) error {
		value := dir
		if len(value) > maxParam {
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("overlay: %s=%s: %w", key, dir, err)
			}
			held = append(held, fd)
			value = fmt.Sprintf("/proc/self/fd/%d", fd)
		}
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return fmt.Errorf("overlay: %s=%s: %w", key, dir, err)
		}
		return nil
	}
	if err := unix.FsconfigSetString(fs, "source", "overlay"); err != nil {
		return -1, fmt.Errorf("overlay: %w", err)
	}
	for _, dir := range l.lower {
		if err := set("lowerdir+", dir); err != nil {
			return -1, err
		}
	}
	if l.upper != "" {
		if err := errors.Join(set("upperdir", l.upper), set("workdir", l.work)); err != nil {
			return -1, err
		}
	}
	for _, o := range l.other {
		key, value, _ := strings.Cut(o, "=")
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, fmt.Errorf("overlay: %s: %w", o, err)
		}
	}
	for _, o := range l.flags {
		if err := unix.FsconfigSetFlag(fs, o); err != nil {
			return -1, fmt.Errorf("overlay: %s: %w", o, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("overlay: %w%s", err, reason(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("overlay: fsmount: %w", err)
	}
	return fd, nil
}

// reason is what the kernel wrote in the context's own log, for an error's text.
func reason(fs int) string {
	buf := make([]byte, 1024)
	n, err := unix.Read(fs, buf)
	if err != nil || n <= 0 {
		return ""
	}
	return " (" + strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "e ")) + ")"
}
