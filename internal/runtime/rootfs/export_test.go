package rootfs

import "os"

// MountAttached mounts mapped layers the way of kernels before Linux 6.15.
func MountAttached(options []string, to *Owners) (*os.File, error) {
	l, err := parseOverlay(options)
	if err != nil {
		return nil, err
	}
	m, err := mapLayers(l, to.Space)
	if err != nil {
		return nil, err
	}
	defer m.close()
	fd, err := overlayAttached(m, to)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "root"), nil
}
