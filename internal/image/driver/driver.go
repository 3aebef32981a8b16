// Package driver opens the snapshotter that keeps unpacked layers: overlayfs, or
// plain copies where overlayfs cannot work.
package driver

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/space"
)

// The snapshotters that a store can use.
const (
	Overlay = "overlayfs"
	Native  = "native"
)

// Open opens the snapshotter asked for, or overlayfs where the file
// system carries it and native where not.
func Open(root, want string, log *slog.Logger) (string, snapshots.Snapshotter, error) {
	dir := func(name string) (string, error) {
		dir := filepath.Join(root, name)
		return dir, os.MkdirAll(dir, 0o700)
	}
	if want == "" || want == Overlay {
		path, err := dir(Overlay)
		if err != nil {
			return "", nil, fmt.Errorf("image store: %w", err)
		}
		err = probeOverlay(path)
		if _, used := os.Stat(filepath.Join(path, "metadata.db")); space.IsFull(err) && used == nil {
			err = nil // there is no room to try it; it did work here
		}
		if err == nil {
			sn, err := overlay.NewSnapshotter(path, overlay.WithMountOptions(OverlayOptions()))
			if err != nil {
				return "", nil, fmt.Errorf("image store: overlayfs: %w", err)
			}
			return Overlay, sn, nil
		}
		if want == Overlay {
			return "", nil, fmt.Errorf("image store: overlayfs cannot work in %s: %w", path, err)
		}
		_ = os.Remove(path)
		log.Warn("overlayfs cannot work in the data root; falling back to plain copies (slower, more disk)", "root", root, "reason", err)
	}
	if want != "" && want != Native {
		return "", nil, fmt.Errorf("image store: unknown storage driver %q (have %s, %s): %w", want, Overlay, Native, errdefs.ErrInvalidArgument)
	}
	path, err := dir(Native)
	if err != nil {
		return "", nil, fmt.Errorf("image store: %w", err)
	}
	sn, err := native.NewSnapshotter(path)
	if err != nil {
		return "", nil, fmt.Errorf("image store: native: %w", err)
	}
	return Native, sn, nil
}

// OverlayOptions are those of every overlay mount. With redirects and metadata
// copies off, an upper directory holds each changed file whole, so that changes
// are read from it alone.
func OverlayOptions() []string {
	var options []string
	for _, name := range []string{"index", "redirect_dir", "metacopy"} {
		if _, err := os.Stat("/sys/module/overlay/parameters/" + name); err == nil {
			options = append(options, name+"=off")
		}
	}
	return options
}

// probeOverlay makes an overlay in dir without attaching it anywhere.
func probeOverlay(dir string) error {
	tmp, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o700); err != nil {
			return err
		}
	}
	// volatile: without it, letting go of the mount syncs the whole file system.
	if err := createOverlay(tmp, true); err == nil {
		return nil
	}
	return createOverlay(tmp, false)
}

func createOverlay(dir string, volatile bool) error {
	// The raw mount API: only it makes a mount that no namespace sees.
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen overlay: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, kv := range [][2]string{{"lowerdir", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}} {
		if err := unix.FsconfigSetString(fd, kv[0], filepath.Join(dir, kv[1])); err != nil {
			return fmt.Errorf("overlay %s: %w", kv[0], err)
		}
	}
	if volatile {
		if err := unix.FsconfigSetFlag(fd, "volatile"); err != nil {
			return fmt.Errorf("overlay volatile: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}

// Dirs reads where a snapshot's files are: the directory to write to (empty for
// a view) and the directories below it, nearest first.
func Dirs(mounts []mount.Mount) (upper string, lower []string, err error) {
	if len(mounts) != 1 {
		return "", nil, fmt.Errorf("image store: snapshot has %d mounts, want 1: %w", len(mounts), errdefs.ErrInternal)
	}
	m := mounts[0]
	if m.Type != "overlay" {
		if m.ReadOnly() {
			return "", []string{m.Source}, nil
		}
		return m.Source, nil, nil
	}
	for _, o := range m.Options {
		if v, ok := strings.CutPrefix(o, "upperdir="); ok {
			upper = v
		}
		if v, ok := strings.CutPrefix(o, "lowerdir="); ok {
			lower = strings.Split(v, ":")
		}
	}
	return upper, lower, nil
}
