package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// overlayByMount mounts with mount(2) in a mount namespace of a thread that is
// thrown away, and takes the tree out of it. The options must fit a page.
func overlayByMount(l layers) (int, error) {
	return onThread(func() (int, error) {
		if err := leaveMounts(); err != nil {
			return -1, err
		}
		base := commonDir(l.lower)
		if err := unix.Chdir(base); err != nil {
			return -1, fmt.Errorf("overlay: chdir %s: %w", base, err)
		}
		lower := make([]string, len(l.lower))
		for i, dir := range l.lower {
			rel, err := filepath.Rel(base, dir)
			if err != nil {
				return -1, fmt.Errorf("overlay: %w", err)
			}
			lower[i] = rel
		}
		l.lower = lower
		// Any directory will do as the mount point: the namespace is this thread's own.
		return mountTree(l, "/dev")
	})
}

// onThread calls f on a thread that ends with it.
func onThread(f func() (int, error)) (int, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread's namespace and directory are not the
		// process's any more, so the thread ends with this goroutine.
		runtime.LockOSThread()
		fd, err := f()
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

// leaveMounts gives the thread mounts and a working directory of its own.
func leaveMounts() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("overlay: unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("overlay: make / private: %w", err)
	}
	return nil
}

// mountTree mounts the overlay at a directory and takes the tree out of there.
func mountTree(l layers, at string) (int, error) {
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	lower := make([]string, len(l.lower))
	for i, dir := range l.lower {
		lower[i] = escape.Replace(dir)
	}
	options := append([]string{"lowerdir=" + strings.Join(lower, ":")}, l.other...)
	options = append(options, l.flags...)
	if l.upper != "" {
		options = append(options, "upperdir="+escape.Replace(l.upper), "workdir="+escape.Replace(l.work))
	}
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize() {
		return -1, fmt.Errorf("overlay: %d layers need %d bytes of options, this kernel takes %d (Linux 6.5 has no such limit)",
			len(l.lower), len(data), os.Getpagesize()-1)
	}
	if err := unix.Mount("overlay", at, "overlay", 0, data); err != nil {
		return -1, fmt.Errorf("overlay: %w", err)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("overlay: open_tree: %w", err)
	}
	return fd, nil
}

// commonDir is the deepest directory above all of dirs.
func commonDir(dirs []string) string {
	base := filepath.Dir(dirs[0])
	for _, dir := range dirs[1:] {
		for base != "/" && !strings.HasPrefix(dir+"/", base+"/") {
			base = filepath.Dir(base)
		}
	}
	return base
}
