// Package untar writes layers to disk.
package untar

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
)

// Apply writes a tar stream below dir without mounting anything: paths and
// links are resolved inside dir, which nothing else can reach.
func Apply(ctx context.Context, dir string, parents []string, overlay bool, r io.Reader) error {
	opts := []archive.ApplyOpt{archive.WithFilter(func(h *tar.Header) (bool, error) {
		dropEngineXattrs(h)
		return true, nil
	})}
	if overlay {
		opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(parents))
	}
	if _, err := archive.Apply(ctx, dir, r, opts...); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
			return fmt.Errorf("not a whole tar archive: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		return err
	}
	return nil
}

// dropEngineXattrs removes what an archive must not set: attributes by which
// overlay itself is steered.
func dropEngineXattrs(h *tar.Header) {
	for key := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if ok && (strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "user.overlay.")) {
			delete(h.PAXRecords, key)
		}
	}
}

// CopyRootInfo gives dst the owner and mode of src.
func CopyRootInfo(dst, src string) error {
	fi, err := os.Stat(src)
	if err != nil {
		return err
	}
	uid, gid := owner(fi)
	if err := os.Lchown(dst, uid, gid); err != nil {
		return err
	}
	return os.Chmod(dst, fi.Mode()&(os.ModePerm|os.ModeSetuid|os.ModeSetgid|os.ModeSticky))
}

func owner(fi os.FileInfo) (uid, gid int) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return 0, 0
}
