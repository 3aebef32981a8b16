package compile

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

// idMap is the map of the container's user namespace.
func (b *builder) idMap() userns.Map {
	return userns.Map{UIDs: b.lin.UIDMappings, GIDs: b.lin.GIDMappings}
}

// hostID is the host's number for an id of the container; false where there is none.
func (b *builder) hostID(group bool, id uint32) (uint32, bool) {
	if !b.userns {
		return id, true
	}
	if group {
		return userns.ToHost(b.lin.GIDMappings, id)
	}
	return userns.ToHost(b.lin.UIDMappings, id)
}

// checkIDs refuses ids that the container's user namespace does not have.
func checkIDs(b *builder) error {
	if !b.userns {
		return nil
	}
	m := b.idMap()
	if len(m.UIDs)+len(m.GIDs) == 0 && b.ns.Joins(unix.CLONE_NEWUSER) {
		return nil // a plan is made without a look at the namespace
	}
	return m.Has(b.in.User.UID, b.in.User.GID, b.in.User.Groups)
}

// own gives what was made at rel to the user namespace's root.
func (b *builder) own(dir program.Reg, rel string) {
	uid, _ := b.hostID(false, 0)
	gid, _ := b.hostID(true, 0)
	if uid != 0 || gid != 0 {
		b.Call(unix.SYS_FCHOWNAT, program.R(dir), program.Str(rel), program.Num(uid), program.Num(gid), program.Flag(unix.AT_SYMLINK_NOFOLLOW, "NOFOLLOW"))
	}
}

// readMap finds the map of an id-mapped mount: its own, or else the container's.
func readMap(b *builder, m *mount, s specs.Mount) error {
	given := userns.Map{UIDs: s.UIDMappings, GIDs: s.GIDMappings}
	switch {
	case s.UIDMappings == nil && s.GIDMappings == nil && !m.opt.IDMap:
		return nil
	case !m.opt.Bind:
		return fmt.Errorf("only a bind can have its ids mapped, not a mount of type %q", s.Type)
	case s.UIDMappings == nil && s.GIDMappings == nil && !b.userns:
		return nil // the container's ids are the host's
	case s.UIDMappings == nil && s.GIDMappings == nil:
		given = b.idMap()
	}
	m.ids = &given
	return given.Check()
}

// mapMount maps the owners of a mount's files.
func mapMount(b *builder, m *mount) error {
	if m.ids == nil {
		return nil
	}
	fd, err := b.in.MapFD(*m.ids)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.dest, err)
	}
	b.Step("map ids of mount", fmt.Sprintf("%s: %s on %s", m.dest, m.source, rootfs.FSName(m.source)))
	flags := uint64(0)
	if m.opt.RIDMap {
		flags = unix.AT_RECURSIVE
	}
	b.Setattr(program.R(m.fd), "", flags, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(fd)})
	return nil
}
