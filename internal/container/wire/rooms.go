package wire

import (
	"context"
	"io"
	"iter"
	"os"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/container/archive"
	"hoy/internal/container/deps"
	"hoy/internal/log"
	"hoy/internal/log/reader"
	"hoy/internal/network"
	"hoy/internal/request"
	"hoy/internal/runtime"
	"hoy/internal/runtime/identity"
	"hoy/internal/runtime/rootfs"
	"hoy/internal/runtime/userns"
)

// Networks gives the network room.
func Networks(s *network.Service) deps.Networks { return networks{s} }

type networks struct{ s *network.Service }

func (n networks) Validate(r deps.NetRequest) error { return n.s.Validate(netRequest(r)) }

func (n networks) Attach(ctx context.Context, r deps.NetRequest) (*deps.Attachment, error) {
	a, err := n.s.Attach(ctx, netRequest(r))
	if err != nil {
		return nil, err
	}
	return &deps.Attachment{NetNS: a.NetNS, SandboxID: a.SandboxID, Networks: a.Networks, Ports: a.Ports}, nil
}

func (n networks) Find(ref string) (string, error) { return n.s.Find(ref) }

func (n networks) Unplug(ctx context.Context, r deps.NetRequest) error {
	return n.s.Unplug(ctx, netRequest(r))
}

func (n networks) Detach(ctx context.Context, id string) error { return n.s.Detach(ctx, id) }

func (n networks) Restore(ctx context.Context, held []deps.Held) error {
	all := make([]network.Held, len(held))
	for i, h := range held {
		all[i] = network.Held(h)
	}
	return n.s.Restore(ctx, all)
}

func netRequest(r deps.NetRequest) network.Request {
	return network.Request{
		ContainerID: r.ContainerID, Name: r.Name, Hostname: r.Hostname, Domainname: r.Domainname,
		Mode: r.Mode, Endpoint: r.Endpoint, Ports: r.Ports, PublishAll: r.PublishAll, Exposed: r.Exposed,
		DNS: r.DNS, DNSSearch: r.DNSSearch, DNSOptions: r.DNSOptions, ExtraHosts: r.ExtraHosts,
		Dir: r.Dir, PeerPid: r.PeerPid, NetNS: r.NetNS, InUse: r.InUse, Unplugged: r.Unplugged,
	}
}

// Logs reads logs.
func Logs(ctx context.Context, cfg log.Config, opt deps.LogOptions, ended <-chan struct{}) iter.Seq2[log.Entry, error] {
	return reader.Read(ctx, cfg, reader.ReadOptions(opt), ended)
}

// Archive gives the functions on container files.
func Archive() deps.Archive { return archives{} }

type archives struct{ ids *userns.Map }

func (archives) In(m *userns.Map) deps.Archive { return archives{m} }

func (archives) Stat(root *os.File, path string) (container.PathStat, error) {
	return archive.Stat(root, path)
}

func (a archives) Get(root *os.File, path string) (container.PathStat, io.ReadCloser, error) {
	return archive.GetMapped(root, path, a.ids)
}

func (a archives) Put(root *os.File, path string, opt request.PutArchive, owner *deps.Owner, content io.Reader) error {
	var o *archive.Owner
	if owner != nil {
		o = &archive.Owner{UID: owner.UID, GID: owner.GID}
	}
	return archive.PutMapped(root, path, opt, o, a.ids, content)
}

func (a archives) Export(root *os.File, w io.Writer) error {
	return archive.ExportMapped(root, w, a.ids)
}

func (archives) CopyUp(root *os.File, srcPath, dstDir string) error {
	return archive.CopyUp(root, srcPath, dstDir)
}

func (archives) MountRoot(mounts []runtime.RootMount, readOnly bool) (*os.File, error) {
	return rootfs.Mount(mounts, readOnly)
}

func (archives) Owner(root *os.File, user string) (*deps.Owner, error) {
	u, err := identity.Lookup(root, user, nil)
	if err != nil {
		return nil, err
	}
	return &deps.Owner{UID: int(u.UID), GID: int(u.GID)}, nil
}
