package start

import (
	"fmt"
	"os"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/record"
	"hoy/internal/container/spec"
	"hoy/internal/container/users"
	"hoy/internal/runtime/userns"
)

// mapping is the map that a container is to have; nil is the host's users.
func (s *Starter) mapping(r *record.Record) *userns.Map {
	hc := r.HostConfig
	switch {
	case !config.HasUsers(hc, s.Remap != nil):
		return nil
	case r.FirstID != 0:
		m := users.Map(r.FirstID)
		return &m
	default:
		return s.Remap
	}
}

// users makes the container's user namespace, with its network namespace, or
// takes that of the containers whose other namespaces it shares: who shares a
// namespace has no right to it from another user namespace.
func (a *attempt) users(p peers) error {
	m := a.s.mapping(a.r)
	if m == nil {
		return nil
	}
	hc := a.r.HostConfig
	net := !hc.NetworkMode.IsHost() && !hc.NetworkMode.IsContainer()
	user, joined, err := a.joinedUsers(p)
	if err != nil {
		return err
	}
	if user == nil {
		if a.spaces, err = userns.Make(*m, net); err != nil {
			return err
		}
	} else {
		a.spaces, m = &userns.Spaces{User: user}, &joined
		if net {
			a.spaces.Net, err = userns.Net(user)
		}
	}
	if err != nil {
		return err
	}
	a.prep.users = &spec.UserNS{UIDs: m.UIDs, GIDs: m.GIDs, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), a.spaces.User.Fd())}
	return nil
}

// joinedUsers is the user namespace of the containers in p; nil where there is none.
func (a *attempt) joinedUsers(p peers) (user *os.File, m userns.Map, err error) {
	hc := a.r.HostConfig
	for _, peer := range []struct {
		ref string
		pid int
	}{{hc.NetworkMode.ConnectedContainer(), p.net}, {hc.PidMode.Container(), p.pid}, {hc.IpcMode.Container(), p.ipc}} {
		if peer.pid == 0 {
			continue
		}
		f, ids, err := userns.Of(peer.pid)
		switch {
		case err != nil:
		case f == nil:
			err = core.Invalid("cannot share a namespace with container %s, whose users are the host's, when user namespaces are enabled: use --userns=host", peer.ref)
		case user == nil:
			user, m = f, ids
			continue
		case userns.Equal(user, f):
			_ = f.Close()
			continue
		default:
			_ = f.Close()
			err = core.Invalid("cannot share namespaces with containers of different user namespaces: container %s has another", peer.ref)
		}
		if user != nil {
			_ = user.Close()
		}
		return nil, m, err
	}
	return user, m, nil
}
