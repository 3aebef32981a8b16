package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"hoy/internal/request"
)

// tree makes a root with some files in it, beside a secret that is outside.
func tree(t testing.TB) (root *os.File, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sets owners and makes devices")
	}
	base := t.TempDir()
	dir = filepath.Join(base, "root")
	must(t, os.MkdirAll(filepath.Join(dir, "etc/conf.d"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "tmp"), 0o777))
	must(t, os.WriteFile(filepath.Join(base, "secret"), []byte("host"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0"), 0o640))
	must(t, os.WriteFile(filepath.Join(dir, "etc/conf.d/a"), []byte("a"), 0o644))
	must(t, os.Symlink("/etc/conf.d", filepath.Join(dir, "conf")))
	must(t, os.Symlink("../../../../secret", filepath.Join(dir, "etc/up")))
	must(t, os.Symlink(filepath.Join(base, "secret"), filepath.Join(dir, "etc/abs")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	root, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStat(t *testing.T) {
	root, _ := tree(t)
	for path, want := range map[string]struct {
		name, link string
		mode       fs.FileMode
	}{
		"/etc/passwd":    {"passwd", "", 0o640},
		"etc/passwd":     {"passwd", "", 0o640},
		"/":              {"/", "", fs.ModeDir | 0o755},
		"/conf":          {"conf", "/etc/conf.d", fs.ModeSymlink | 0o777},
		"/conf/":         {"conf", "", fs.ModeDir | 0o755},
		"/conf/.":        {".", "", fs.ModeDir | 0o755},
		"/etc/up":        {"up", "/secret", fs.ModeSymlink | 0o777},
		"/../etc/passwd": {"passwd", "", 0o640},
	} {
		s, err := Stat(root, path)
		if err != nil || s.Name != want.name || s.LinkTarget != want.link || s.Mode != want.mode {
			t.Errorf("%s: %+v, %v; want %+v", path, s, err, want)
		}
	}
	for path, is := range map[string]func(error) bool{
		"/nope":         errdefs.IsNotFound,
		"/etc/up/":      errdefs.IsNotFound,
		"/etc/passwd/":  errdefs.IsInvalidArgument,
		"/etc/passwd/x": errdefs.IsInvalidArgument,
		"/loop/x":       errdefs.IsInvalidArgument,
		"/etc/\x00":     errdefs.IsInvalidArgument,
	} {
		if s, err := Stat(root, path); !is(err) {
			t.Errorf("%q: %+v, %v", path, s, err)
		}
	}
}

func names(t *testing.T, r io.Reader) []string {
	t.Helper()
	var list []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		must(t, err)
		list = append(list, h.Name)
	}
}

func TestGetNamesEntriesAsDockerDoes(t *testing.T) {
	root, _ := tree(t)
	for path, want := range map[string][]string{
		"/etc/passwd":  {"passwd"},
		"/etc/conf.d":  {"conf.d/", "conf.d/a"},
		"/etc/conf.d/": {"conf.d/", "conf.d/a"},
		"/conf/":       {"conf/", "conf/a"},
		"/conf":        {"conf"},
		"/conf/.":      {"./", "./a"},
		"/etc/up":      {"up"},
	} {
		_, r, err := Get(root, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := names(t, r); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		_ = r.Close()
	}
	_, r, err := Get(root, "/")
	must(t, err)
	if got := names(t, r); got[0] != "/" || !slices.Contains(got, "/etc/passwd") {
		t.Errorf("/: %q", got)
	}
	_ = r.Close()
	if _, _, err := Get(root, "/nope"); !errdefs.IsNotFound(err) || err.Error() != "Could not find the file /nope" {
		t.Errorf("absent: %v", err)
	}
}

func TestRoundTripKeepsWhatFilesAre(t *testing.T) {
	root, dir := tree(t)
	p := func(s string) string { return filepath.Join(dir, "src", s) }
	must(t, os.MkdirAll(p("sub"), 0o750))
	must(t, os.WriteFile(p("suid"), []byte("x"), 0o755))
	must(t, os.Chown(p("suid"), 12, 34))
	must(t, os.Chmod(p("suid"), 0o755|fs.ModeSetuid))
	must(t, os.Link(p("suid"), p("second")))
	must(t, os.Symlink("/nowhere", p("link")))
	must(t, os.Lchown(p("link"), 5, 6))
	must(t, unix.Mkfifo(p("fifo"), 0o600))
	must(t, unix.Mknod(p("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Chmod(p("null"), 0o666))
	sparse, err := os.Create(p("sparse"))
	must(t, err)
	must(t, sparse.Truncate(8<<20))
	_, err = sparse.WriteAt([]byte("end"), 8<<20)
	must(t, err)
	must(t, sparse.Close())
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, os.WriteFile(p("sub/ping"), []byte("ping"), 0o755))
	must(t, unix.Setxattr(p("sub/ping"), "security.capability", capability, 0))
	old := time.Unix(1_000_000_000, 0)
	must(t, os.Chtimes(p("sub"), old, old))

	_, r, err := Get(root, "/src/.")
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "dst"), 0o755))
	must(t, Put(root, "/dst", request.PutArchive{}, r))
	must(t, r.Close())

	d := func(s string) string { return filepath.Join(dir, "dst", s) }
	var st, second unix.Stat_t
	must(t, unix.Lstat(d("suid"), &st))
	must(t, unix.Lstat(d("second"), &second))
	if st.Mode&0o7777 != 0o4755 || st.Uid != 12 || st.Gid != 34 || st.Ino != second.Ino {
		t.Errorf("suid: %o %d:%d, inodes %d %d", st.Mode, st.Uid, st.Gid, st.Ino, second.Ino)
	}
	must(t, unix.Lstat(d("link"), &st))
	if to, _ := os.Readlink(d("link")); to != "/nowhere" || st.Uid != 5 || st.Gid != 6 {
		t.Errorf("link: %q %d:%d", to, st.Uid, st.Gid)
	}
	must(t, unix.Lstat(d("null"), &st))
	if st.Mode != unix.S_IFCHR|0o666 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("device: %o %d", st.Mode, st.Rdev)
	}
	must(t, unix.Lstat(d("sparse"), &st))
	if st.Size != 8<<20+3 || st.Blocks*512 > 1<<20 {
		t.Errorf("sparse: %d bytes in %d", st.Size, st.Blocks*512)
	}
	value := make([]byte, 100)
	n, err := unix.Getxattr(d("sub/ping"), "security.capability", value)
	if err != nil || !bytes.Equal(value[:n], capability) {
		t.Errorf("capability: %x, %v", value[:max(n, 0)], err)
	}
	if info, _ := os.Stat(d("sub")); !info.ModTime().Equal(old) || info.Mode().Perm() != 0o750 {
		t.Errorf("directory: %v %v", info.ModTime(), info.Mode())
	}
}

// entries makes a tar stream.
func entries(t testing.TB, list ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "evil"
			h.Size = int64(len(body))
		}
		must(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, body)
		must(t, err)
	}
	must(t, w.Close())
	return &b
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
func sym(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
}
func hard(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
}

// unharmed fails where anything beside the root changed.
func unharmed(t testing.TB, dir string) {
	t.Helper()
	base := filepath.Dir(dir)
	data, err := os.ReadFile(filepath.Join(base, "secret"))
	if err != nil || string(data) != "host" {
		t.Fatalf("the secret outside is %q, %v", data, err)
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(base, "secret"), &st))
	if st.Nlink != 1 {
		t.Fatal("the secret outside has a second name")
	}
	list, err := os.ReadDir(base)
	if err != nil || len(list) != 2 {
		t.Fatalf("outside of the root: %v, %v", list, err)
	}
}

func TestHostileArchives(t *testing.T) {
	for name, c := range map[string]struct {
		list    []tar.Header
		refused bool
		// at is where the file must have gone, inside the root.
		at string
	}{
		"dots":                    {list: []tar.Header{file("../secret")}, refused: true},
		"dots inside":             {list: []tar.Header{file("a/../../../secret")}, refused: true},
		"dots that stay":          {list: []tar.Header{file("a/../b")}, at: "tmp/b"},
		"absolute":                {list: []tar.Header{file("/secret")}, at: "tmp/secret"},
		"through a link up":       {list: []tar.Header{sym("l", "../../../.."), file("l/secret")}, at: "secret"},
		"through an absolute":     {list: []tar.Header{sym("l", "/"), file("l/secret")}, at: "secret"},
		"over a link":             {list: []tar.Header{sym("l", "../../../secret"), file("l")}, at: "tmp/l"},
		"hard link up":            {list: []tar.Header{hard("h", "../../secret"), file("h")}, refused: true},
		"hard link through links": {list: []tar.Header{sym("l", "../../.."), hard("h", "l/secret")}, refused: true},
		"hard link to a link":     {list: []tar.Header{sym("l", "../../../secret"), hard("h", "l"), file("h")}, at: "tmp/h"},
		"replace the destination": {list: []tar.Header{sym(".", "/")}, refused: true},
		"file as directory":       {list: []tar.Header{file("f"), file("f/g")}, refused: true},
		"loop":                    {list: []tar.Header{sym("l", "l"), file("l/x")}, refused: true},
		"dangling link is made":   {list: []tar.Header{sym("l", "/new/dir"), file("l/x")}, at: "new/dir/x"},
		"odd device":              {list: []tar.Header{{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1 << 20}}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := tree(t)
			err := Put(root, "/tmp", request.PutArchive{}, entries(t, c.list...))
			unharmed(t, dir)
			if c.refused != (err != nil) {
				t.Fatalf("error: %v", err)
			}
			if c.at != "" {
				if data, err := os.ReadFile(filepath.Join(dir, c.at)); err != nil || string(data) != "evil" {
					t.Errorf("%s: %q, %v", c.at, data, err)
				}
			}
		})
	}
}

func TestPutRules(t *testing.T) {
	root, dir := tree(t)
	put := func(path string, opt request.PutArchive, list ...tar.Header) error {
		return Put(root, path, opt, entries(t, list...))
	}
	if err := put("/nope", request.PutArchive{}, file("x")); !errdefs.IsNotFound(err) {
		t.Errorf("absent destination: %v", err)
	}
	if err := put("/etc/passwd", request.PutArchive{}, file("x")); !errdefs.IsInvalidArgument(err) || err.Error() != "extraction point is not a directory" {
		t.Errorf("file as destination: %v", err)
	}
	keep := request.PutArchive{NoOverwriteDirNonDir: true}
	if err := put("/etc", keep, file("conf.d")); err == nil || !strings.Contains(err.Error(), "cannot overwrite directory") {
		t.Errorf("file over directory: %v", err)
	}
	if err := put("/etc", keep, tar.Header{Name: "passwd/", Typeflag: tar.TypeDir}); err == nil || !strings.Contains(err.Error(), "cannot overwrite non-directory") {
		t.Errorf("directory over file: %v", err)
	}
	must(t, put("/etc", request.PutArchive{}, file("conf.d")))
	must(t, put("/conf2/..", request.PutArchive{}, file("at-root")))
	must(t, PutAs(root, "/", request.PutArchive{CopyUIDGID: true}, &Owner{UID: 7, GID: 8}, entries(t, tar.Header{Name: "deep/new/owned", Typeflag: tar.TypeReg, Uid: 1})))
	for _, p := range []string{"deep", "deep/new", "deep/new/owned"} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, p), &st))
		if st.Uid != 7 || st.Gid != 8 {
			t.Errorf("%s belongs to %d:%d", p, st.Uid, st.Gid)
		}
	}
	whole := entries(t, file("cut")).Bytes()
	if err := Put(root, "/tmp", request.PutArchive{}, bytes.NewReader(whole[:514])); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a stream cut in a file: %v", err)
	}
	if err := Put(root, "/tmp", request.PutArchive{}, strings.NewReader("this is no tar stream, but it is long enough to be looked at: "+strings.Repeat("x", 600))); !errdefs.IsInvalidArgument(err) {
		t.Errorf("not a tar stream: %v", err)
	}
	if err := Put(root, "/tmp", request.PutArchive{}, strings.NewReader("")); err != nil {
		t.Errorf("an empty stream is an empty archive: %v", err)
	}
}

// A sparse entry of the old GNU form: 512 bytes of header that promise almost 2^63 of zeros.
func TestEndlessSparseFile(t *testing.T) {
	root, _ := tree(t)
	h := make([]byte, 512, 2048)
	copy(h, "sparse")
	copy(h[100:], "0000644\x00")
	copy(h[124:], "00000000000\x00")
	copy(h[136:], "00000000000\x00")
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	size := []byte{0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	copy(h[386:], size)              // where the only piece is
	copy(h[398:], "00000000000\x00") // its length
	copy(h[483:], size)              // the whole file's length
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	err := Put(root, "/tmp", request.PutArchive{}, bytes.NewReader(append(h, make([]byte, 1024)...)))
	if err == nil || !strings.Contains(err.Error(), "sparse files of more than") {
		t.Errorf("endless file: %v", err)
	}
}

func TestCompressedInput(t *testing.T) {
	plain := entries(t, file("x")).Bytes()
	pack := func(f func(io.Writer) io.WriteCloser) []byte {
		var b bytes.Buffer
		w := f(&b)
		_, err := w.Write(plain)
		must(t, errors.Join(err, w.Close()))
		return b.Bytes()
	}
	for name, data := range map[string][]byte{
		"plain": plain,
		"gzip":  pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"zstd":  pack(func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z }),
		"xz":    pack(func(w io.Writer) io.WriteCloser { z, _ := xz.NewWriter(w); return z }),
	} {
		root, dir := tree(t)
		if err := Put(root, "/tmp", request.PutArchive{}, bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "tmp/x")); string(got) != "evil" {
			t.Errorf("%s: %q", name, got)
		}
		if name != "plain" {
			if err := Put(root, "/tmp", request.PutArchive{}, bytes.NewReader(data[:len(data)/2])); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s cut: %v", name, err)
			}
		}
	}
}

func TestExportLeavesMountsOut(t *testing.T) {
	root, dir := tree(t)
	must(t, os.Mkdir(filepath.Join(dir, "proc"), 0o555))
	must(t, unix.Mount("tmpfs", filepath.Join(dir, "proc"), "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(dir, "proc"), 0)) })
	must(t, os.WriteFile(filepath.Join(dir, "proc/inside"), nil, 0o644))
	must(t, unix.Mount(filepath.Join(filepath.Dir(dir), "secret"), filepath.Join(dir, "etc/passwd"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(dir, "etc/passwd"), 0)) })
	var b bytes.Buffer
	must(t, Export(root, &b))
	if bytes.Contains(b.Bytes(), []byte("host")) {
		t.Error("the content of a mounted file is exported")
	}
	got := names(t, &b)
	want := []string{"conf", "etc/", "etc/abs", "etc/conf.d/", "etc/conf.d/a", "etc/passwd", "etc/up", "loop", "proc/", "tmp/"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyUp(t *testing.T) {
	root, dir := tree(t)
	must(t, os.Chown(filepath.Join(dir, "etc"), 3, 4))
	must(t, os.Chmod(filepath.Join(dir, "etc"), 0o700))
	dst := t.TempDir()
	must(t, CopyUp(root, "/etc", dst))
	var st unix.Stat_t
	must(t, unix.Stat(dst, &st))
	if st.Uid != 3 || st.Gid != 4 || st.Mode&0o7777 != 0o700 {
		t.Errorf("volume's root: %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	if data, _ := os.ReadFile(filepath.Join(dst, "conf.d/a")); string(data) != "a" {
		t.Errorf("content: %q", data)
	}
	must(t, os.WriteFile(filepath.Join(dir, "etc/later"), nil, 0o644))
	must(t, CopyUp(root, "/etc", dst))
	if _, err := os.Stat(filepath.Join(dst, "later")); err == nil {
		t.Error("a volume with content was written to")
	}
	empty := t.TempDir()
	for _, p := range []string{"/nope", "/etc/passwd", "/loop"} {
		must(t, CopyUp(root, p, empty))
	}
}

// A container that swaps a directory for a link while an archive is unpacked
// into it, or read from it, must gain nothing.
func TestSwappedDirectories(t *testing.T) {
	root, dir := tree(t)
	outside := filepath.Join(filepath.Dir(dir))
	must(t, os.Mkdir(filepath.Join(dir, "tmp/d"), 0o755))
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(filepath.Join(dir, "tmp/d"), filepath.Join(dir, "tmp/e"))
			_ = os.Symlink(outside, filepath.Join(dir, "tmp/d"))
			_ = os.Remove(filepath.Join(dir, "tmp/d"))
			_ = os.Rename(filepath.Join(dir, "tmp/e"), filepath.Join(dir, "tmp/d"))
		}
	}()
	for range 300 {
		_ = Put(root, "/tmp", request.PutArchive{}, entries(t, file("d/secret"), file("d/other")))
		if _, r, err := Get(root, "/tmp/d/"); err == nil {
			data, _ := io.ReadAll(r)
			if bytes.Contains(data, []byte("host")) {
				t.Error("the secret outside was read")
			}
			_ = r.Close()
		}
	}
	close(stop)
	<-done
	unharmed(t, dir)
}

func TestGetCanBeAbandoned(t *testing.T) {
	root, dir := tree(t)
	must(t, os.WriteFile(filepath.Join(dir, "big"), make([]byte, 4<<20), 0o644))
	_, r, err := Get(root, "/big")
	must(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	must(t, err)
	must(t, r.Close())
}

func FuzzPut(f *testing.F) {
	f.Add(entries(f, file("a"), sym("l", "../../.."), file("l/secret"), hard("h", "l/x")).Bytes())
	f.Add(entries(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, sym("d/u", ".."), hard("d/u/h", "d/u")).Bytes())
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		root, dir := tree(t)
		_ = Put(root, "/tmp", request.PutArchive{}, bytes.NewReader(data))
		unharmed(t, dir)
	})
}

func BenchmarkGet(b *testing.B) {
	root, dir := tree(b)
	for i := range 500 {
		must(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("tmp/f%d", i)), make([]byte, 8<<10), 0o644))
	}
	for b.Loop() {
		_, r, err := Get(root, "/tmp")
		must(b, err)
		n, err := io.Copy(io.Discard, r)
		must(b, err)
		b.SetBytes(n)
	}
}
