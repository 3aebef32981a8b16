package query

import (
	"context"
	"path/filepath"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"hoy/internal/container/config"
	"hoy/internal/container/record"
	"hoy/internal/runtime/armor"
)

// Inspect of api/containers.
func (q *Query) Inspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error) {
	e, err := q.Index.Find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r := e.Record()
	dir := q.Ledger.Dir(r.ID)
	files := dir
	if other := r.HostConfig.NetworkMode.ConnectedContainer(); other != "" {
		files = q.Ledger.Dir(other)
	}
	argv := config.Command(r.Config)
	state := r.API()
	state.Health = e.Health()
	out := container.InspectResponse{
		ID: r.ID, Created: record.Stamp(r.Created), Path: argv[0], Args: argv[1:],
		State: state, Image: r.Image.ID, LogPath: logPath(r), Name: r.Ref(), RestartCount: r.RestartCount,
		Driver: q.Images.Driver(), Platform: "linux", ExecIDs: e.Execs(),
		HostsPath: filepath.Join(files, "hosts"), HostnamePath: filepath.Join(files, "hostname"),
		ResolvConfPath: filepath.Join(files, "resolv.conf"),
		HostConfig:     r.HostConfig, Config: r.Config, Mounts: mountPoints(r),
		NetworkSettings: &container.NetworkSettings{
			SandboxID: r.Net.SandboxID, Ports: livePorts(r), Networks: networks(r),
		},
		Storage: &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: q.Images.Driver()}}},
	}
	// Docker's word for it; the record has been checked when it was made.
	if sec, err := config.ParseSecurity(r.HostConfig, true); err == nil {
		sec.DefaultAppArmor(r.HostConfig.Privileged, armor.HasDefault())
		out.AppArmorProfile = sec.AppArmor
	}
	if r.Image.Platform.OS != "" {
		out.Platform = r.Image.Platform.OS
	}
	if r.Image.Manifest.Digest != "" {
		d := r.Image.Manifest
		out.ImageManifestDescriptor = &d
	}
	if size {
		below, err := q.imageSize(ctx, r)
		if err != nil {
			return out, err
		}
		rw := q.Images.SnapshotUsage(ctx, r.ID)[0]
		root := rw + below
		out.SizeRw, out.SizeRootFs = &rw, &root
	}
	return out, nil
}

// logPath is told where the file is one that others can read, as in Docker.
func logPath(r *record.Record) string {
	if !r.Log.JSON() {
		return ""
	}
	return r.Log.Path
}

func livePorts(r *record.Record) network.PortMap {
	if r.Net.Ports == nil {
		return network.PortMap{}
	}
	return r.Net.Ports
}
