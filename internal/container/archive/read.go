package archive

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/userns"
)

const (
	// maxDepth bounds how deep directories nest: each level holds a descriptor.
	maxDepth = 1024
	// maxXattr is the kernel's bound of one extended attribute's value, XATTR_SIZE_MAX.
	maxXattr    = 64 << 10
	xattrRecord = "SCHILY.xattr."
)

// Get returns what path is and a tar stream of it. The entries' names begin with
// the path's last element. The root may be closed before the stream.
func Get(root *os.File, name string) (container.PathStat, io.ReadCloser, error) {
	return GetMapped(root, name, nil)
}

// GetMapped is Get of a root that shows its owners through a user namespace.
func GetMapped(root *os.File, name string, ids *userns.Map) (container.PathStat, io.ReadCloser, error) {
	if strings.ContainsRune(name, 0) {
		return container.PathStat{}, nil, errdefs.ErrInvalidArgument.WithMessage("path contains NUL")
	}
	t := parseTarget(name)
	f, st, err := t.open(root)
	if err != nil {
		return container.PathStat{}, nil, err
	}
	if strings.HasSuffix(t.abs, "/") && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		_ = f.Close()
		return container.PathStat{}, nil, classify(t.abs, unix.ENOTDIR)
	}
	stat := t.describe(root, st)
	return stat, stream(f, st, walker{ids: ids}, t.base()), nil
}

// Export writes the whole file system below root, without what is mounted in it.
func Export(root *os.File, w io.Writer) error { return ExportMapped(root, w, nil) }

// ExportMapped is Export of a root that shows its owners through a user namespace.
func ExportMapped(root *os.File, w io.Writer, ids *userns.Map) error {
	out := bufio.NewWriterSize(w, 64<<10)
	tw := &walker{out: tar.NewWriter(out), oneFS: true, ids: ids, links: map[inode]string{}}
	if err := tw.children(root, "", 0); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := tw.out.Close(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return out.Flush()
}

// stream runs a walk in the background; closing the result ends it.
func stream(f *os.File, st unix.Stat_t, w walker, name string) io.ReadCloser {
	r, pw := io.Pipe()
	go func() {
		defer f.Close()
		out := bufio.NewWriterSize(pw, 64<<10)
		w.out = tar.NewWriter(out)
		w.links = map[inode]string{}
		err := w.entry(f, &st, name, 0)
		if err == nil {
			err = w.out.Close()
		}
		if err == nil {
			err = out.Flush()
		}
		_ = pw.CloseWithError(err) // a nil error is the end of the stream
	}()
	return r
}

type inode struct{ dev, ino uint64 }

// walker writes trees to a tar stream.
type walker struct {
	out *tar.Writer
	// oneFS leaves out what is mounted below: mount points are empty.
	oneFS bool
	// exact keeps times to the nanosecond.
	exact bool
	// ids, where not nil, is the map that the owners are seen through.
	ids *userns.Map
	// links has the first name of each file that has several.
	links map[inode]string
	buf   []byte
}

// children writes all entries of a directory, in the order of their names.
func (w *walker) children(dir *os.File, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: directories nest deeper than %d", name, maxDepth)
	}
	// The descriptor may be O_PATH: a second one is opened to read the directory.
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", name, err)
	}
	list := os.NewFile(uintptr(fd), name)
	names, err := list.Readdirnames(-1)
	_ = list.Close()
	if err != nil {
		return fmt.Errorf("read directory %s: %w", name, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := w.child(dir, n, joinName(name, n), depth); err != nil {
			return err
		}
	}
	return nil
}

// joinName keeps a "." or "/" in front that path.Join would drop.
func joinName(dir, name string) string {
	switch {
	case dir == "":
		return name
	case strings.HasSuffix(dir, "/"):
		return dir + name
	}
	return dir + "/" + name
}

func (w *walker) child(dir *os.File, n, name string, depth int) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	if w.oneFS {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	fd, err := unix.Openat2(int(dir.Fd()), n, &how)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil // removed since it was listed
	case errors.Is(err, unix.EXDEV) && w.oneFS:
		return w.mountPoint(dir, n, name)
	case err != nil:
		return fmt.Errorf("open %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	return w.entry(f, &st, name, depth+1)
}

// mountPoint stands in for what a mount covers.
func (w *walker) mountPoint(dir *os.File, n, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil //nolint:nilerr // removed since it was listed
	}
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(st.Mtim.Unix()).Truncate(time.Second)}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		h.Name, h.Typeflag, h.Mode = name+"/", tar.TypeDir, 0o755
	}
	return w.out.WriteHeader(h)
}

// entry writes one file, and what is below it. f is an O_PATH descriptor.
func (w *walker) entry(f *os.File, st *unix.Stat_t, name string, depth int) error {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Unix()),
	}
	if w.ids != nil {
		h.Uid, h.Gid = owners(w.ids, st)
	}
	if !w.exact {
		h.ModTime = h.ModTime.Truncate(time.Second)
	}
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		if !strings.HasSuffix(h.Name, "/") {
			h.Name += "/"
		}
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFLNK:
		to, err := readlinkAt(int(f.Fd()), "")
		if err != nil {
			return fmt.Errorf("read link %s: %w", name, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, to
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if kind == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil // sockets mean nothing without the process that listens
	}
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := w.links[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return w.out.WriteHeader(h)
		}
		w.links[id] = name
	}
	if kind == unix.S_IFREG || kind == unix.S_IFDIR {
		h.PAXRecords = xattrs(f, w.ids)
	}
	if err := w.out.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	switch kind {
	case unix.S_IFDIR:
		return w.children(f, name, depth)
	case unix.S_IFREG:
		return w.content(f, name, st.Size)
	}
	return nil
}

// content writes exactly size bytes: a file that shrinks meanwhile ends in zeros,
// one that grows is cut, so that the stream stays whole.
func (w *walker) content(f *os.File, name string, size int64) error {
	if size == 0 {
		return nil
	}
	// f is known to be a regular file, so that opening it has no effect beyond that.
	src, err := os.OpenFile(self(f), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer src.Close()
	if w.buf == nil {
		w.buf = make([]byte, 256<<10)
	}
	n, err := io.CopyBuffer(onlyWriter{w.out}, io.LimitReader(src, size), w.buf)
	if err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	if n < size {
		_, err = io.CopyN(w.out, zeros{}, size-n)
	}
	return err
}

// onlyWriter hides ReadFrom, which would not use the buffer it is given.
type onlyWriter struct{ io.Writer }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// keptXattr says whether an extended attribute travels in archives.
func keptXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// xattrs reads the extended attributes that travel, as PAX records. An attribute
// that cannot be read is left out.
func xattrs(f *os.File, ids *userns.Map) map[string]string {
	p := self(f)
	n, err := unix.Listxattr(p, nil)
	if err != nil || n == 0 {
		return nil
	}
	names := make([]byte, n)
	if n, err = unix.Listxattr(p, names); err != nil {
		return nil
	}
	var records map[string]string
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !keptXattr(name) {
			continue
		}
		value := make([]byte, maxXattr)
		n, err := unix.Getxattr(p, name, value)
		if err != nil {
			continue
		}
		if records == nil {
			records = map[string]string{}
		}
		records[xattrRecord+name] = string(rootless(name, value[:n], ids))
	}
	return records
}

// CopyUp copies what is in a directory of the root, with owners, modes, times
// and extended attributes, into the host directory dstDir if that is empty; the
// directory itself takes the owner and mode of its source. A source that is
// absent or no directory is no error.
func CopyUp(srcRoot *os.File, srcPath, dstDir string) error {
	t := target{abs: path.Join("/", srcPath), follow: true}
	f, st, err := t.open(srcRoot)
	if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		_ = f.Close()
		return nil
	}
	dst, err := os.Open(dstDir)
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("copy up: %w", err)
	}
	defer dst.Close()
	if _, err := dst.Readdirnames(1); !errors.Is(err, io.EOF) {
		_ = f.Close()
		return err // nil where there is something
	}
	r := stream(f, st, walker{exact: true}, ".")
	defer r.Close()
	x := &extractor{root: dst, dest: "/", setRoot: true}
	if err := x.run(r); err != nil {
		return fmt.Errorf("copy %s to its volume: %w", t.abs, err)
	}
	return nil
}
