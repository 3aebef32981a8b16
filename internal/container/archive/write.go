package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/request"
	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

// maxDirTimes bounds how many directories get their time back once their content
// is in; an archive of more directories than that loses the rest of the times.
const maxDirTimes = 1 << 16

// maxSparse bounds the bytes of all sparse entries together: their holes cost
// nothing in the stream, so a few bytes of it could keep us busy for ever.
const maxSparse = 1 << 40

// Owner is a user and group.
type Owner struct{ UID, GID int }

// Put unpacks a tar stream, compressed or not, into the directory at path. Names
// that lead out of that directory by ".." are errdefs.ErrInvalidArgument; links
// lead nowhere but to places inside the root. Entries keep the owner they have
// in the stream.
func Put(root *os.File, name string, opt request.PutArchive, content io.Reader) error {
	return PutAs(root, name, opt, nil, content)
}

// PutAs is Put where all that is unpacked belongs to owner, unless that is nil:
// the container's user, where the request has CopyUIDGID.
func PutAs(root *os.File, name string, opt request.PutArchive, owner *Owner, content io.Reader) error {
	return put(root, name, opt, owner, nil, content)
}

func put(root *os.File, name string, opt request.PutArchive, owner *Owner, ids *userns.Map, content io.Reader) error {
	if strings.ContainsRune(name, 0) {
		return errdefs.ErrInvalidArgument.WithMessage("path contains NUL")
	}
	t := target{abs: path.Join("/", name), follow: true}
	f, st, err := t.open(root)
	if err != nil {
		return err
	}
	defer f.Close()
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errdefs.ErrInvalidArgument.WithMessage("extraction point is not a directory")
	}
	plain, err := decompress(content)
	if err != nil {
		return err
	}
	defer plain.Close()
	x := &extractor{root: root, dest: t.abs, owner: owner, ids: ids, keepKind: opt.NoOverwriteDirNonDir}
	return x.run(plain)
}

// extractor writes the entries of a tar stream below dest in root.
type extractor struct {
	root  *os.File
	dest  string
	owner *Owner
	// ids, where not nil, is the map that the owners are seen through.
	ids *userns.Map
	// keepKind refuses to put a file in a directory's place and the reverse.
	keepKind bool
	// setRoot gives dest itself the attributes of the entry ".".
	setRoot bool
	sparse  int64
	dirs    []dirTime
	buf     []byte
}

type dirTime struct {
	name string
	at   time.Time
}

func (x *extractor) run(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return badStream(err)
		}
		if err := x.entry(h, tr); err != nil {
			return err
		}
	}
	// Children change their directory's time, so those go in last, deepest first.
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		if f, err := rootfs.OpenInRoot(x.root, path.Join(x.dest, d.name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
			_ = setTimes(f, d.at)
			_ = f.Close()
		}
	}
	// What follows the archive's end is padding, which the sender wants taken.
	_, err := io.Copy(io.Discard, r)
	return badStream(err)
}

// badStream classes errors of reading: they are the sender's.
func badStream(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("unpack: %w: %w", err, errdefs.ErrInvalidArgument)
}

// inside returns the clean relative form of a name; one that leads out of the
// destination is errdefs.ErrInvalidArgument.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if strings.ContainsRune(name, 0) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unpack: %q is outside of the directory to unpack in", name))
	}
	return clean, nil
}

func (x *extractor) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if isSparse(h) {
		if x.sparse += h.Size; h.Size < 0 || x.sparse > maxSparse || x.sparse < 0 {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unpack: sparse files of more than %d bytes", int64(maxSparse)))
		}
	}
	full := path.Join(x.dest, name)
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errdefs.ErrInvalidArgument.WithMessage("unpack: the directory to unpack in is in the archive as something else")
		}
		if !x.setRoot {
			return nil
		}
		f, err := rootfs.OpenInRoot(x.root, full, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return classify(full, err)
		}
		defer f.Close()
		return x.finish(f, h, name)
	}
	uid, gid, err := x.hostIDs(0, 0)
	if err != nil {
		return err
	}
	parent, err := rootfs.MkdirAllInRoot(x.root, path.Dir(full), 0o755, uid, gid)
	if err != nil {
		return classify(path.Dir(full), err)
	}
	defer parent.Close()
	base := path.Base(full)
	isDir, err := x.makeWay(parent, base, full, h.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	if err := x.create(parent, base, h, content, isDir); err != nil {
		return classify(full, err)
	}
	return x.attributes(parent, base, h, name)
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// makeWay removes what an entry replaces and says whether the entry is a
// directory that is there already.
func (x *extractor) makeWay(parent *os.File, base, full string, wantDir bool) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, classify(full, err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case isDir && wantDir:
		return true, nil
	case isDir && x.keepKind:
		return false, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("cannot overwrite directory %q with non-directory", full))
	case wantDir && x.keepKind:
		return false, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("cannot overwrite non-directory %q with directory", full))
	case isDir:
		// The magic link leads to the parent as it is, and RemoveAll follows no
		// link below it.
		err = os.RemoveAll(filepath.Join(self(parent), base))
	default:
		err = unix.Unlinkat(int(parent.Fd()), base, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, classify(full, err)
	}
	return false, nil
}

// create makes the entry itself. O_EXCL and calls that do not follow links make
// sure that it is a new one in that very directory.
func (x *extractor) create(parent *os.File, base string, h *tar.Header, content io.Reader, exists bool) error {
	dir := int(parent.Fd())
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeDir:
		if exists {
			return nil
		}
		return unix.Mkdirat(dir, base, 0o700)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return x.file(dir, base, content)
	case tar.TypeSymlink:
		return unix.Symlinkat(h.Linkname, dir, base)
	case tar.TypeLink:
		return x.link(dir, base, h.Linkname)
	case tar.TypeFifo:
		return unix.Mknodat(dir, base, unix.S_IFIFO|mode&0o777, 0)
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 0xfff || h.Devminor > 0xfffff {
			return unix.EINVAL
		}
		return unix.Mknodat(dir, base, kind|mode&0o777, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	}
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unpack: %q has the unknown type %q", h.Name, h.Typeflag))
}

// file writes content, leaving holes where it has whole blocks of zeros.
func (x *extractor) file(dir int, base string, content io.Reader) error {
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	if x.buf == nil {
		x.buf = make([]byte, 256<<10)
	}
	var at int64
	hole := false
	for {
		n, err := io.ReadFull(content, x.buf)
		if n > 0 {
			if hole = allZero(x.buf[:n]); !hole {
				if _, err := f.WriteAt(x.buf[:n], at); err != nil {
					return err
				}
			}
			at += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < len(x.buf) {
			if streamErr := endOf(content); streamErr != nil {
				return badStream(streamErr)
			}
			break
		}
		if err != nil {
			return badStream(err)
		}
	}
	if hole {
		return f.Truncate(at)
	}
	return nil
}

// endOf tells a file's end from a stream that was cut: the tar reader answers
// io.EOF again in the first case only.
func endOf(r io.Reader) error {
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

func allZero(p []byte) bool {
	for len(p) >= 8 {
		if p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7] != 0 {
			return false
		}
		p = p[8:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// link makes a second name of a file that is below dest. A link at the end of
// the first name is not followed.
func (x *extractor) link(dir int, base, to string) error {
	name, err := inside(to)
	if err != nil {
		return err
	}
	full := path.Join(x.dest, name)
	old, err := rootfs.OpenInRoot(x.root, path.Dir(full), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	return unix.Linkat(int(old.Fd()), path.Base(full), dir, base, 0)
}

func (x *extractor) uid(of int) int {
	if x.owner != nil {
		return x.owner.UID
	}
	return of
}

func (x *extractor) gid(of int) int {
	if x.owner != nil {
		return x.owner.GID
	}
	return of
}

// attributes gives a new entry its owner, mode, extended attributes and time. A
// further name of a file has those of the first.
func (x *extractor) attributes(parent *os.File, base string, h *tar.Header, name string) error {
	if h.Typeflag == tar.TypeLink {
		return nil
	}
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return classify(name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return x.finish(f, h, name)
}

// finish works on the file that f, an O_PATH descriptor, refers to. Changing the
// owner takes set-id bits and capabilities away, so it comes first.
func (x *extractor) finish(f *os.File, h *tar.Header, name string) error {
	uid, gid, err := x.hostIDs(h.Uid, h.Gid)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(int(f.Fd()), "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return classify(name, fmt.Errorf("set owner: %w", err))
	}
	if h.Typeflag == tar.TypeSymlink {
		return classifyTimes(name, setTimes(f, h.ModTime))
	}
	if err := unix.Chmod(self(f), uint32(h.Mode&0o7777)); err != nil {
		return classify(name, fmt.Errorf("set mode: %w", err))
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || !keptXattr(attr) {
			continue
		}
		err := unix.Setxattr(self(f), attr, []byte(value), 0)
		// A file system without them, or an attribute that does not fit the file, costs the attribute only.
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return classify(name, fmt.Errorf("set %s: %w", attr, err))
		}
	}
	if h.Typeflag == tar.TypeDir && len(x.dirs) < maxDirTimes {
		x.dirs = append(x.dirs, dirTime{name: name, at: h.ModTime})
		return nil
	}
	return classifyTimes(name, setTimes(f, h.ModTime))
}

func classifyTimes(name string, err error) error {
	if err == nil {
		return nil
	}
	return classify(name, fmt.Errorf("set times: %w", err))
}

// setTimes sets access and modification time of the file itself, link or not. A
// time that no file system can hold is left out.
func setTimes(f *os.File, at time.Time) error {
	if at.IsZero() || at.Unix() < 0 || at.Year() > 2400 {
		return nil
	}
	ts := unix.NsecToTimespec(at.UnixNano())
	times := []unix.Timespec{ts, ts}
	return unix.UtimesNanoAt(int(f.Fd()), "", times, unix.AT_EMPTY_PATH)
}
