package runtime

import (
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

// ids are the user namespaces of a start: the container's own, and those that
// stand for the maps of single mounts.
type ids struct {
	own *os.File // nil where the container has none
	m   userns.Map
	// mounts are made here, by their maps.
	mounts map[string]*userns.Spaces
}

// idSpace finds the container's user namespace or makes it, ahead of its process:
// the mounts that are prepared for it need the map.
func idSpace(l *Launch, j *joins) (*ids, error) {
	lin := l.Spec.Linux
	u := &ids{mounts: map[string]*userns.Spaces{}, m: userns.Map{UIDs: lin.UIDMappings, GIDs: lin.GIDMappings}}
	if j.user == nil && wantsUser(lin) && j.shared&unix.CLONE_NEWUSER == 0 {
		made, err := userns.Make(u.m, false)
		if err != nil {
			return nil, err
		}
		j.user = made.User
	} else if j.user != nil && !l.MapRoot {
		found, err := userns.ReadOf(j.user)
		if err != nil {
			return nil, err
		}
		if err := u.m.Differs(found); err != nil {
			return nil, fmt.Errorf("the specification has other %w", err)
		}
		u.m = found
	}
	u.own = j.user
	return u, nil
}

func wantsUser(lin *specs.Linux) bool {
	for _, ns := range lin.Namespaces {
		if ns.Type == specs.UserNamespace {
			return true
		}
	}
	return false
}

// fill is l with the maps of the user namespace that it joins.
func (u *ids) fill(l *Launch) *Launch {
	if u.own == nil {
		return l
	}
	spec, lin, launch := *l.Spec, *l.Spec.Linux, *l
	lin.UIDMappings, lin.GIDMappings = u.m.UIDs, u.m.GIDs
	spec.Linux, launch.Spec = &lin, &spec
	return &launch
}

// root is the host's number of the container's root.
func (u *ids) root() (uid, gid int) {
	if u.own == nil {
		return 0, 0
	}
	host, _ := userns.ToHost(u.m.UIDs, 0)
	group, _ := userns.ToHost(u.m.GIDs, 0)
	return int(host), int(group)
}

// owners say how the layers of the root file system are mapped; nil is not at all.
func (u *ids) owners(l *Launch) *rootfs.Owners {
	if u.own == nil || !l.MapRoot {
		return nil
	}
	uid, gid := u.root()
	return &rootfs.Owners{Space: u.own, UID: uid, GID: gid}
}

// fd is a user namespace with the map m, open as long as u is.
func (u *ids) fd(m userns.Map) (int, error) {
	if u.own != nil && m.Same(u.m) {
		return int(u.own.Fd()), nil
	}
	key := m.String()
	if u.mounts[key] == nil {
		made, err := userns.Make(m, false)
		if err != nil {
			return -1, err
		}
		u.mounts[key] = made
	}
	return int(u.mounts[key].User.Fd()), nil
}

func (u *ids) close() {
	for _, s := range u.mounts {
		s.Close()
	}
}

// mapRoot mounts the root file system, and the binds that are to be mapped like
// it, for a runtime that does the rest itself and may not know how to map.
func (p *Portable) mapRoot(l *Launch) (err error) {
	if !l.MapRoot {
		p.Root, err = openRoot(l, nil)
		return err
	}
	j, err := launchJoins(l)
	if err != nil {
		return err
	}
	defer j.close()
	u, err := idSpace(l, j)
	if err != nil {
		return err
	}
	defer u.close()
	if p.Root, err = openRoot(l, u.owners(l)); err != nil || u.own == nil {
		return err
	}
	p.Binds = map[int]*os.File{}
	for i, m := range l.Spec.Mounts {
		if m.UIDMappings != nil || !slices.ContainsFunc(m.Options, isIDMap) {
			continue
		}
		tree := rootfs.Source{Type: "bind", Source: m.Source, Options: m.Options}
		if p.Binds[i], err = rootfs.MountMapped([]rootfs.Source{tree}, false, u.owners(l)); err != nil {
			delete(p.Binds, i)
			return fmt.Errorf("%s: %w", m.Destination, err)
		}
	}
	return nil
}

func isIDMap(option string) bool { return option == "idmap" || option == "ridmap" }
