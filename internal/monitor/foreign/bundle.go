package foreign

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime"
)

// bundle is what create needs beside config.json: mounts that have a path only
// where create runs.
type bundle struct {
	portable *runtime.Portable
	dir      string
	netns    *os.File
	// attach are detached trees by the path at which they are to be.
	attach []attachment
	trees  []*os.File // those of attach that were made here
	// host is the mount that the bundle lies in, as the host has it, and at its path.
	host *os.File
	at   string
}

type attachment struct {
	tree *os.File
	at   string
}

// newBundle writes config.json and the mount points.
func newBundle(c *container, l *runtime.Launch) (_ *bundle, err error) {
	b := &bundle{dir: c.dir, netns: l.NetNS}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.portable, err = runtime.PortableLaunch(l); err != nil {
		return nil, err
	}
	spec := b.portable.Spec
	spec.Root.Path = c.path(rootDir)
	if err := b.network(c, spec); err != nil {
		return nil, fail("prepare network", err)
	}
	if err := b.sources(c, spec); err != nil {
		return nil, fail("prepare mounts", err)
	}
	if err := c.write(configFile, spec); err != nil {
		return nil, fail("write bundle", err)
	}
	if b.host, b.at, err = mountOf(c.dir); err != nil {
		return nil, fail("find mount of "+c.dir, err)
	}
	return b, nil
}

func (b *bundle) close() {
	if b.portable != nil {
		b.portable.Close()
	}
	for _, tree := range b.trees {
		_ = tree.Close()
	}
	if b.host != nil {
		_ = b.host.Close()
	}
}

// network gives the namespace that came as a descriptor a path.
func (b *bundle) network(c *container, spec *specs.Spec) error {
	if b.netns == nil {
		return nil
	}
	point, err := os.OpenFile(c.path(netnsFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_ = point.Close()
	lin := *spec.Linux
	lin.Namespaces = slices.DeleteFunc(slices.Clone(lin.Namespaces), func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	lin.Namespaces = append(lin.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: point.Name()})
	spec.Linux = &lin
	return nil
}

// sources clones what is mounted from another process's descriptor: such a path
// leads into that process's mount namespace, from which nothing can be bound.
func (b *bundle) sources(c *container, spec *specs.Spec) error {
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if mapped := b.portable.Binds[i]; mapped != nil {
			if err := b.place(c, i, m, mapped); err != nil {
				return err
			}
			continue
		}
		if !strings.HasPrefix(m.Source, "/proc/") || !strings.Contains(m.Source, "/fd/") {
			continue
		}
		flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
		if slices.Contains(m.Options, "rbind") {
			flags |= unix.AT_RECURSIVE
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
		if err != nil {
			return fmt.Errorf("source of %s: %w", m.Destination, err)
		}
		tree := os.NewFile(uintptr(fd), m.Source)
		b.trees = append(b.trees, tree)
		if err := b.place(c, i, m, tree); err != nil {
			return err
		}
	}
	return nil
}

// place gives the source of the mount of number i a path.
func (b *bundle) place(c *container, i int, m *specs.Mount, tree *os.File) error {
	a := attachment{tree, filepath.Join(c.path(sourcesDir), strconv.Itoa(i))}
	b.attach = append(b.attach, a)
	m.Source = a.at
	return mountPoint(a)
}

func mountPoint(a attachment) error {
	info, err := a.tree.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.Mkdir(a.at, 0o700)
	}
	f, err := os.OpenFile(a.at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountOf finds the root of the mount that dir lies in.
func mountOf(dir string) (*os.File, string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, at, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
			return nil, "", &os.PathError{Op: "statx", Path: at, Err: err}
		}
		if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 || at == "/" {
			f, err := os.OpenFile(at, unix.O_PATH|unix.O_CLOEXEC, 0)
			return f, at, err
		}
	}
}

// enter starts cmd in a mount namespace of its own in which the bundle is
// complete. The calling thread stays there and must end.
func (b *bundle) enter(cmd *exec.Cmd) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// What is mounted on a shared mount appears in the host's namespace too.
	if err := unix.Mount("", b.at, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", b.at, err)
	}
	all := append([]attachment{{b.portable.Root, filepath.Join(b.dir, rootDir)}}, b.attach...)
	for _, a := range all {
		if err := unix.MoveMount(int(a.tree.Fd()), "", unix.AT_FDCWD, a.at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("attach %s: %w", a.at, err)
		}
	}
	if b.netns != nil {
		from := "/proc/thread-self/fd/" + strconv.Itoa(int(b.netns.Fd()))
		if err := unix.Mount(from, filepath.Join(b.dir, netnsFile), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("attach network namespace: %w", err)
		}
	}
	if err := b.share(); err != nil {
		return err
	}
	return cmd.Start()
}

// share makes the mount that the bundle lies in a peer of the host's again, for
// binds from it that ask for propagation.
func (b *bundle) share() error {
	ours, err := unix.Open(b.at, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: b.at, Err: err}
	}
	defer func() { _ = unix.Close(ours) }()
	err = unix.MoveMount(int(b.host.Fd()), "", ours, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH|unix.MOVE_MOUNT_SET_GROUP)
	if errors.Is(err, unix.EINVAL) {
		return nil // it never was shared, or the kernel is before 5.15
	}
	return os.NewSyscallError("move_mount", err)
}

// onOwnThread starts a command on a thread that ends afterwards, because start
// takes it where no other goroutine may run.
func onOwnThread(start func(*exec.Cmd) error) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		done := make(chan error, 1)
		go func() {
			goruntime.LockOSThread()
			if unix.Gettid() == os.Getpid() {
				// The first thread never ends; held here, it is not what the next try gets.
				defer goruntime.UnlockOSThread()
				done <- onOwnThread(start)(cmd)
				return
			}
			done <- start(cmd) // never unlocked: the thread ends with this goroutine
		}()
		return <-done
	}
}
