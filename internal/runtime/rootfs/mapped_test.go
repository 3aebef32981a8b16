package rootfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func owner(t *testing.T, at int, name string) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW))
	if st.Uid != st.Gid {
		t.Errorf("%s: owner %d:%d", name, st.Uid, st.Gid)
	}
	return st.Uid
}

func space(t *testing.T) *rootfs.Owners {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it maps ids and mounts")
	}
	r := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	s, err := userns.Make(userns.Map{UIDs: r, GIDs: r}, false)
	must(t, err)
	t.Cleanup(s.Close)
	return &rootfs.Owners{Space: s.User, UID: 100000, GID: 100000}
}

func lowers(t *testing.T, n int) (dir string, lower []string) {
	t.Helper()
	dir = t.TempDir()
	for i := range n {
		l := filepath.Join(dir, fmt.Sprint(i), "fs")
		must(t, os.MkdirAll(l, 0o755))
		file := filepath.Join(l, fmt.Sprintf("file%d", i))
		must(t, os.WriteFile(file, nil, 0o644))
		must(t, os.Chown(file, i, i))
		lower = append(lower, l)
	}
	for _, d := range []string{"w/fs", "w/work"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	return dir, lower
}

func TestMappedOverlay(t *testing.T) {
	ns := space(t)
	const layers = 120
	dir, lower := lowers(t, layers)
	m := []rootfs.Source{{Type: "overlay", Options: []string{"lowerdir=" + strings.Join(lower, ":"), "upperdir=" + dir + "/w/fs", "workdir=" + dir + "/w/work"}}}
	for name, mount := range map[string]func() (*os.File, error){
		"detached": func() (*os.File, error) { return rootfs.MountMapped(m, false, ns) },
		"attached": func() (*os.File, error) { return rootfs.MountAttached(m[0].Options, ns) },
	} {
		t.Run(name, func(t *testing.T) {
			root, err := mount()
			must(t, err)
			defer root.Close()
			for i := range layers {
				if got := owner(t, int(root.Fd()), fmt.Sprintf("file%d", i)); got != 100000+uint32(i) {
					t.Errorf("file%d belongs to %d", i, got)
				}
			}
			// Who is not in the map can make nothing; who is, makes what is on disk the id inside.
			if _, err := rootfs.MkdirAllInRoot(root, "/no/dir", 0o755, 0, 0); !errors.Is(err, unix.EOVERFLOW) {
				t.Errorf("as the host's root: %v", err)
			}
			made := "made-" + name
			must(t, rootfs.As(100005, 100005, func() error {
				d, err := rootfs.MkdirAllInRoot(root, "/"+made+"/dir", 0o755, 0, 0)
				if err == nil {
					err = d.Close()
				}
				return err
			}))
			if inside, on := owner(t, int(root.Fd()), made+"/dir"), owner(t, unix.AT_FDCWD, dir+"/w/fs/"+made); inside != 100005 || on != 5 {
				t.Errorf("made by 5: %d inside, %d on disk", inside, on)
			}
		})
	}
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	if len(entries) > 50 {
		t.Errorf("%d descriptors stay open", len(entries))
	}
}

func TestMappedBindAndRefusal(t *testing.T) {
	ns := space(t)
	dir, _ := lowers(t, 1)
	root, err := rootfs.MountMapped([]rootfs.Source{{Type: "bind", Source: dir}}, true, ns)
	must(t, err)
	defer root.Close()
	if got := owner(t, int(root.Fd()), "0/fs/file0"); got != 100000 {
		t.Errorf("owner %d", got)
	}
	_, err = rootfs.MountMapped([]rootfs.Source{{Type: "bind", Source: "/proc"}}, true, ns)
	var refused *rootfs.MapError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "the file system of /proc (proc) cannot map ids") {
		t.Errorf("procfs: %v", err)
	}
}

func TestAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it takes other ids")
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700)) // only its owner and who overrides permissions can write there
	must(t, rootfs.As(7, 8, func() error { return os.Mkdir(dir+"/x", 0o755) }))
	var st unix.Stat_t
	must(t, unix.Stat(dir+"/x", &st))
	if st.Uid != 7 || st.Gid != 8 {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	for range 20 {
		done := make(chan error)
		go func() { done <- os.WriteFile(dir+"/y", nil, 0o600) }()
		must(t, <-done)
		must(t, unix.Stat(dir+"/y", &st))
		if st.Uid != 0 {
			t.Errorf("a thread kept the ids: %d", st.Uid)
		}
		must(t, os.Remove(dir+"/y"))
	}
}
