package archive

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"hoy/internal/request"
	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

// owners are a file's owners as the namespace numbers them.
func owners(ids *userns.Map, st *unix.Stat_t) (uid, gid int) {
	u, _ := userns.ToContainer(ids.UIDs, st.Uid)
	g, _ := userns.ToContainer(ids.GIDs, st.Gid)
	return int(u), int(g)
}

// The revisions of a file's capabilities, linux/capability.h: the third ends
// with the id of the root that they are for.
const (
	capRevision   = 0xff000000
	capRevision2  = 2 << 24
	capRevision3  = 3 << 24
	capLen2       = 20
	capLen3       = 24
	capAttribute  = "security.capability"
	capRootOffset = 20
)

// rootless takes the root out of capabilities that are for the namespace's own:
// where they go, that is another number.
func rootless(name string, value []byte, ids *userns.Map) []byte {
	if ids == nil || name != capAttribute || len(value) != capLen3 {
		return value
	}
	magic := binary.LittleEndian.Uint32(value)
	root, _ := userns.ToHost(ids.UIDs, 0)
	if magic&capRevision != capRevision3 || binary.LittleEndian.Uint32(value[capRootOffset:]) != root {
		return value
	}
	binary.LittleEndian.PutUint32(value, magic&^capRevision|capRevision2)
	return value[:capLen2]
}

// PutMapped is PutAs below a root that shows its owners through a user
// namespace: what is unpacked has the namespace's ids. Owners that it does not
// have are errdefs.ErrInvalidArgument.
func PutMapped(root *os.File, name string, opt request.PutArchive, owner *Owner, ids *userns.Map, content io.Reader) error {
	if ids == nil {
		return PutAs(root, name, opt, owner, content)
	}
	uid, okUser := userns.ToHost(ids.UIDs, 0)
	gid, okGroup := userns.ToHost(ids.GIDs, 0)
	if !okUser || !okGroup {
		return fmt.Errorf("unpack: the container has no root in its user namespace")
	}
	// Below a mapped mount only who is in the map can make anything.
	return rootfs.As(int(uid), int(gid), func() error { return put(root, name, opt, owner, ids, content) })
}

// hostIDs are the numbers by which an entry's owners go on the host.
func (x *extractor) hostIDs(uid, gid int) (int, int, error) {
	uid, gid = x.uid(uid), x.gid(gid)
	if x.ids == nil {
		return uid, gid, nil
	}
	u, okUser := userns.ToHost(x.ids.UIDs, uint32(uid))
	g, okGroup := userns.ToHost(x.ids.GIDs, uint32(gid))
	if !okUser || !okGroup || uid < 0 || gid < 0 {
		return 0, 0, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
			"owner %d:%d is not in the user namespace of the container (%s)", uid, gid, x.ids))
	}
	return int(u), int(g), nil
}
