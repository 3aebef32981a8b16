package store

import (
	"fmt"
	"path/filepath"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/durable/boltfile"
	"hoy/internal/image/driver"
)

// The databases: of names, content and leases, and each snapshotter's own.
const (
	metaFile   = "meta.db"
	layersFile = "metadata.db"
)

// mend puts copies in the place of damaged databases, before anything opens them.
func (s *Store) mend(opt Options) error {
	for _, name := range []string{metaFile, filepath.Join(driver.Overlay, layersFile), filepath.Join(driver.Native, layersFile)} {
		d, err := boltfile.Mend(filepath.Join(opt.Root, name))
		if err != nil {
			return fmt.Errorf("image store: %s: %w", name, err)
		}
		if d == nil {
			continue
		}
		done := "its copy was taken"
		if d.Copy {
			done = "the file itself is sound; its copy is made anew"
		} else if !d.Restored {
			done = "there is no sound copy; images have to be pulled again"
		}
		if d.Aside != "" {
			done += "; the damaged file is " + d.Aside
		}
		opt.Damages.Add("records of images", d.Path, d.Err, done)
	}
	return nil
}

// KeepCopies copies the databases that have changed since the last time.
func (s *Store) KeepCopies() {
	for _, k := range s.keepers {
		if err := k.Keep(); err != nil {
			s.log.Warn("no copy of the records of images", "error", err)
		}
	}
}

// DamagedBlob is the error of a blob that is not what it must be.
func DamagedBlob(desc ocispec.Descriptor, what string) error {
	return fmt.Errorf("%s %s is damaged: %s; remove the image and pull or load it again: %w", desc.MediaType, desc.Digest, what, errdefs.ErrDataLoss)
}
