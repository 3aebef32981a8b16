// Package create makes containers: it checks, merges, reserves, prepares and
// records, and takes everything back when a part fails.
package create

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/names"
	"hoy/internal/container/record"
	"hoy/internal/container/start"
	"hoy/internal/request"
	"hoy/internal/store"
	"hoy/internal/undo"
)

// Creator creates containers.
type Creator struct {
	*core.Core
	// Filter compiles a container's system call filter, so that a bad profile
	// is refused early and a start finds the filter ready.
	Filter   func(*record.Record, config.Security) ([]byte, error)
	AppArmor bool
}

func (c *Creator) host() config.Host {
	return config.Host{
		CPUs: c.CPUs, CgroupV2: c.Cgroups.Version() == "2", CgroupnsMode: c.CgroupnsMode, IpcMode: c.IpcMode,
		ShmSize: c.DefaultShmSize, LogDriver: c.LogDriver, LogOptions: c.LogOptions, AppArmor: c.AppArmor, Kernel: c.Cgroups.Support(),
		Runtime: c.Runtimes.Default(), Remapped: c.Remap != nil,
	}
}

// Create of api/containers.
func (c *Creator) Create(ctx context.Context, req request.Create) (container.CreateResponse, error) {
	var resp container.CreateResponse
	if req.Config == nil {
		return resp, core.Invalid("config cannot be empty in order to create a container")
	}
	if req.Name != "" {
		if err := names.Check(req.Name); err != nil {
			return resp, err
		}
		req.Name = strings.TrimPrefix(req.Name, "/")
	}
	img, err := c.Images.Resolve(ctx, req.Config.Image, req.Platform)
	if err != nil {
		return resp, err
	}
	r, warnings, err := c.draft(req, img)
	if err != nil {
		return resp, err
	}
	var back undo.Stack
	if err := c.build(ctx, req.Name, r, img, &back); err != nil {
		if undoErr := back.Run(ctx); undoErr != nil {
			c.Log.Warn("creation not wholly undone", "container", r.ID, "error", undoErr)
		}
		return resp, err
	}
	if req.Platform == nil && img.Platform.Architecture != "" && img.Platform.Architecture != runtime.GOARCH {
		warnings = append(warnings, fmt.Sprintf(
			"The requested image's platform (%s/%s) does not match the detected host platform (linux/%s) and no specific platform was requested",
			img.Platform.OS, img.Platform.Architecture, runtime.GOARCH))
	}
	if warnings == nil {
		warnings = []string{}
	}
	return container.CreateResponse{ID: r.ID, Warnings: warnings}, nil
}

// draft is the record as far as it follows from the request alone.
func (c *Creator) draft(req request.Create, img *deps.Image) (*record.Record, []string, error) {
	h := c.host()
	cfg, err := config.Merge(req.Config, img.Config.Config)
	if err != nil {
		return nil, nil, err
	}
	asked, err := config.Systemd(cfg, req.HostConfig)
	if err != nil {
		return nil, nil, err
	}
	hc := config.FillHost(asked, h)
	warnings, err := config.Validate(cfg, hc, h)
	if err != nil {
		return nil, nil, err
	}
	if err := c.Cgroups.Check(hc.CgroupParent); err != nil {
		return nil, nil, err
	}
	if _, err := c.Runtimes.Find(hc.Runtime); err != nil {
		return nil, nil, err
	}
	id := store.NewID()
	if err := c.joins(hc); err != nil {
		return nil, nil, err
	}
	if cfg.Hostname, err = c.hostname(id, cfg, hc); err != nil {
		return nil, nil, err
	}
	ends, err := endpoints(req.Networking, hc.NetworkMode)
	if err != nil {
		return nil, nil, err
	}
	logCfg, err := config.Log(hc.LogConfig, c.Ledger.Dir(id), id)
	if err != nil {
		return nil, nil, err
	}
	return &record.Record{
		Seq: 1, ID: id, Name: req.Name, Created: c.Now().UTC(),
		Image:  record.Image{ID: img.ID, Ref: req.Config.Image, Manifest: img.Manifest, Platform: img.Platform},
		Config: cfg, HostConfig: hc, Endpoints: ends, Log: logCfg,
		State: record.State{Phase: record.Created},
	}, warnings, nil
}

// joins makes ids of the names of the containers whose namespaces are shared,
// so that a rename does not lead elsewhere.
func (c *Creator) joins(hc *container.HostConfig) error {
	resolve := func(ref string) (string, error) {
		e, err := c.Index.Find(ref)
		if err != nil {
			// Not "not found": to clients that is the image, which they then pull.
			return "", core.Invalid("%v", err)
		}
		return "container:" + e.ID, nil
	}
	if ref := hc.NetworkMode.ConnectedContainer(); ref != "" {
		mode, err := resolve(ref)
		if err != nil {
			return err
		}
		hc.NetworkMode = container.NetworkMode(mode)
	}
	if ref := hc.IpcMode.Container(); ref != "" {
		mode, err := resolve(ref)
		if err != nil {
			return err
		}
		hc.IpcMode = container.IpcMode(mode)
	}
	if ref := hc.PidMode.Container(); ref != "" {
		mode, err := resolve(ref)
		if err != nil {
			return err
		}
		hc.PidMode = container.PidMode(mode)
	}
	return nil
}

func (c *Creator) hostname(id string, cfg *container.Config, hc *container.HostConfig) (string, error) {
	switch {
	case hc.NetworkMode.IsContainer():
		e, err := c.Index.Find(hc.NetworkMode.ConnectedContainer())
		if err != nil {
			return "", err
		}
		return e.Record().Config.Hostname, nil
	case cfg.Hostname != "":
		return cfg.Hostname, nil
	case hc.NetworkMode.IsHost() || hc.UTSMode.IsHost():
		return os.Hostname()
	default:
		return core.Short(id), nil
	}
}

// endpoints keeps the settings of the one network that the container is on.
func endpoints(n *network.NetworkingConfig, mode container.NetworkMode) (map[string]*network.EndpointSettings, error) {
	if n == nil || len(n.EndpointsConfig) == 0 {
		return nil, nil
	}
	out := map[string]*network.EndpointSettings{}
	for name, ep := range n.EndpointsConfig {
		if name == network.NetworkDefault {
			name = network.NetworkBridge
		}
		if name != string(mode) {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
				"conflicting options: cannot connect container to network %s: its network mode is %s", name, mode))
		}
		if ep == nil {
			ep = &network.EndpointSettings{}
		}
		out[name] = ep.Copy()
	}
	return out, nil
}

// build acquires all that the container holds and publishes it.
func (c *Creator) build(ctx context.Context, name string, r *record.Record, img *deps.Image, back *undo.Stack) error {
	if err := c.reserve(name, r, back); err != nil {
		return err
	}
	if !r.HostConfig.NetworkMode.IsContainer() {
		if err := c.Networks.Validate(start.NetRequest(c.Settings, r, c.Ledger.Dir(r.ID), 0)); err != nil {
			return err
		}
	}
	sec, err := config.ParseSecurity(r.HostConfig, c.AppArmor)
	if err != nil {
		return err
	}
	other, err := c.Runtimes.Find(r.HostConfig.Runtime)
	if err != nil {
		return err
	}
	if err := sec.CheckLandlock(other == nil); err != nil {
		return err
	}
	if _, err := c.Filter(r, sec); err != nil {
		return err
	}
	if config.OwnUsers(r.HostConfig) {
		if r.FirstID, err = c.Blocks.Take(r.ID); err != nil {
			return err
		}
		back.Push("ids", func(context.Context) error { c.Blocks.Release(r.ID); return nil })
	}
	dir := c.Ledger.Dir(r.ID)
	if err := os.Mkdir(dir, 0o710); err != nil {
		return fmt.Errorf("container directory: %w", err)
	}
	back.Push("container directory", func(context.Context) error { return c.Ledger.Delete(r.ID) })
	if err := c.Images.Prepare(ctx, r.ID, img); err != nil {
		return err
	}
	back.Push("snapshot", func(ctx context.Context) error { return c.Images.RemoveSnapshot(ctx, r.ID) })
	if err := c.mount(ctx, r, back); err != nil {
		return err
	}
	// A container that removes itself is gone after a power cut anyway.
	save := c.Ledger.SaveNow
	if r.HostConfig.AutoRemove {
		save = c.Ledger.Save
	}
	if err := save(r); err != nil {
		return err
	}
	c.Index.Add(r)
	back.Release()
	c.Event(r, events.ActionCreate, nil)
	return nil
}

func (c *Creator) reserve(name string, r *record.Record, back *undo.Stack) (err error) {
	reserve := func(n string) error { return c.Index.Reserve(n, r.ID) }
	if name == "" {
		name, err = names.Generate(reserve)
	} else {
		err = reserve(name)
	}
	if err != nil {
		return err
	}
	r.Name = name
	back.Push("name", func(context.Context) error { c.Index.Free(name, r.ID); return nil })
	return nil
}

func covered(mounts []record.Mount) func(string) bool {
	return func(dst string) bool {
		return slices.ContainsFunc(mounts, func(m record.Mount) bool { return m.Destination == dst })
	}
}
