package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	f := os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestMkdirAllInRoot(t *testing.T) {
	outside := t.TempDir()
	for _, c := range []struct {
		what, link, target, name, want string
	}{
		{"plain", "", "", "/a/b/c", "a/b/c"},
		{"absolute link", "l", "/x", "/l/y", "x/y"},
		{"absolute link out", "l", outside, "/l/y", outside + "/y"},
		{"dot-dot link out", "l", "../../../../etc", "/l/y", "etc/y"},
		{"dot-dot in name", "", "", "/../../z", "z"},
		{"link to nowhere in the middle", "l", "not/there", "/l/y", "not/there/y"},
	} {
		dir := t.TempDir()
		if c.link != "" {
			must(t, os.Symlink(c.target, filepath.Join(dir, c.link)))
		}
		f, err := MkdirAllInRoot(open(t, dir), c.name, 0o750, 7, 8)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		f.Close()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, c.want), &st); err != nil {
			t.Errorf("%s: %v", c.what, err)
		} else if st.Mode&0o777 != 0o750 || st.Uid != 7 || st.Gid != 8 {
			t.Errorf("%s: mode %o owner %d:%d", c.what, st.Mode, st.Uid, st.Gid)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("something was made outside the root: %v", entries)
	}
}

func TestMkdirAllRefusals(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	must(t, os.Symlink("loop2", filepath.Join(dir, "loop1")))
	must(t, os.Symlink("loop1", filepath.Join(dir, "loop2")))
	for name, want := range map[string]error{"/file/x": unix.ENOTDIR, "/loop1/x": unix.ELOOP} {
		if _, err := MkdirAllInRoot(open(t, dir), name, 0o755, 0, 0); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := OpenInRoot(open(t, dir), "/loop1", unix.O_RDONLY, 0); !errors.Is(err, unix.ELOOP) {
		t.Errorf("loop: %v", err)
	}
	if _, err := OpenInRoot(open(t, "/"), "/proc/self/root/etc", unix.O_RDONLY, 0); !errors.Is(err, unix.ELOOP) {
		t.Errorf("magic link: %v", err)
	}
}

func TestCreateInRoot(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	must(t, os.Symlink("../run/systemd/stub.conf", filepath.Join(dir, "etc/resolv.conf")))
	must(t, CreateInRoot(open(t, dir), "/etc/resolv.conf", 0, 0))
	if st, err := os.Lstat(filepath.Join(dir, "run/systemd/stub.conf")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("what the link names: %v, %v", st, err)
	}
	must(t, os.Symlink("again", filepath.Join(dir, "again")))
	if err := CreateInRoot(open(t, dir), "/again", 0, 0); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
}

func TestSplitLower(t *testing.T) {
	for in, want := range map[string][]string{
		"/a": {"/a"}, "/a:/b": {"/a", "/b"}, `/a\:b:/c\\d`: {"/a:b", `/c\d`}, `/a\`: {`/a\`},
	} {
		if got := splitLower(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestMount mounts overlays both ways, with names that need quoting.
func TestMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	base := filepath.Join(t.TempDir(), "with:colon,comma")
	long := filepath.Join(base, strings.Repeat("long", 50), strings.Repeat("long", 50))
	for _, d := range []string{"upper", "work"} {
		must(t, os.MkdirAll(filepath.Join(base, d), 0o755))
	}
	must(t, os.MkdirAll(long, 0o755))
	must(t, os.WriteFile(filepath.Join(long, "below"), []byte("x"), 0o644))
	quote := strings.NewReplacer(":", `\:`)
	l, err := parseOverlay([]string{"lowerdir=" + quote.Replace(long), "upperdir=" + base + "/upper", "workdir=" + base + "/work", "index=off"})
	must(t, err)
	for name, mount := range map[string]func(layers) (int, error){"layers": overlayByLayer, "mount": overlayByMount, "whichever": overlayOf} {
		if name == "layers" && !takesLayers() {
			t.Log("this kernel takes no layer by itself, as before Linux 6.5")
			continue
		}
		fd, err := mount(l)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		root := os.NewFile(uintptr(fd), "root")
		f, err := OpenInRoot(root, "/below", unix.O_RDONLY, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			f.Close()
		}
		root.Close()
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), "with:colon") {
		t.Error("a mount is visible in the host's namespace")
	}
}

func TestMountReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	dir := t.TempDir()
	root, err := Mount([]Source{{Type: "bind", Source: dir}}, true)
	must(t, err)
	defer root.Close()
	if _, err := OpenInRoot(root, "/new", unix.O_CREAT|unix.O_WRONLY, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("create on a read-only root: %v", err)
	}
	for _, bad := range [][]Source{nil, {{Type: "nfs"}}, {{Type: "overlay"}}, {{Type: "bind", Source: dir + "/none"}}} {
		if f, err := Mount(bad, false); err == nil {
			f.Close()
			t.Errorf("%+v: no error", bad)
		}
	}
}
