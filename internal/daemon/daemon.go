// Package daemon puts the rooms of the engine together and runs them: it opens
// what is kept, adopts what runs, serves the API until it is told to stop, and
// leaves the containers as they are.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"hoy/internal/api"
	"hoy/internal/config"
	"hoy/internal/container"
	"hoy/internal/container/deps"
	"hoy/internal/container/plug"
	"hoy/internal/container/runtimes"
	"hoy/internal/container/stats"
	"hoy/internal/container/wire"
	"hoy/internal/durable"
	"hoy/internal/event"
	"hoy/internal/image"
	"hoy/internal/log/forward"
	"hoy/internal/monitor"
	"hoy/internal/network"
	"hoy/internal/reconcile"
	"hoy/internal/runtime/cgroup"
	"hoy/internal/runtime/cgroup/tidy"
	"hoy/internal/space"
	"hoy/internal/store"
	"hoy/internal/system"
	"hoy/internal/undo"
	"hoy/internal/version"
	"hoy/internal/volume"
)

// Daemon is one engine, opened.
type Daemon struct {
	log   *slog.Logger
	level *slog.LevelVar
	// args are read again on a reload.
	args []string

	mu  sync.Mutex
	cfg config.Config

	id         string
	runtime    string
	runtimes   *runtimes.Table
	insecure   []string
	damages    *reconcile.Damages
	events     *event.Bus
	db         *store.DB
	disk       *space.Disk
	meter      *space.Meter
	images     *image.Service
	volumes    *volume.Service
	networks   *network.Service
	monitor    *monitor.Link
	cgroups    cgroup.Manager
	containers *container.Service
	forward    *forward.Manager
	// idle is set while closing where no container runs: then what the engine
	// has in the kernel goes with it.
	idle bool
}

// Run is the daemon's whole life; it returns when ctx ends or what it stands
// on fails. args are the command line that cfg was read from, out takes the log.
func Run(ctx context.Context, cfg *config.Config, args []string, out io.Writer) (err error) {
	d := &Daemon{cfg: *cfg, args: args}
	d.log, d.level = newLogger(out, cfg)
	growTable()
	if err := refuseChroot(); err != nil {
		return err
	}
	var back undo.Stack
	defer func() {
		if failed := back.Run(ctx); failed != nil {
			d.log.Error("closing", "err", failed)
		}
	}()
	lock, err := lockRoot(cfg.DataRoot)
	if err != nil {
		return err
	}
	back.Push("unlock data root", func(context.Context) error { return lock.Close() })
	for _, dir := range []string{"", "image", "image/overlayfs"} {
		if err := durable.Sweep(filepath.Join(cfg.DataRoot, dir)); err != nil {
			d.log.Warn("unfinished files of an earlier daemon stay", "error", err)
		}
	}
	if err := writePidfile(cfg.Pidfile); err != nil {
		return err
	}
	back.Push("remove pid file", func(context.Context) error { removePidfile(cfg.Pidfile); return nil })
	// The sockets are there before the engine is: who connects early waits.
	listeners, err := openListeners(cfg)
	if err != nil {
		return err
	}
	back.Push("close sockets", func(context.Context) error { closeAll(listeners); return nil })
	d.insecure = insecure(cfg, listeners)
	for _, a := range d.insecure {
		d.log.Warn("the API is served without encryption: whoever reaches it is root on this machine", "on", a)
	}
	if err := d.open(ctx, &back); err != nil {
		return err
	}
	sys := system.New(system.Deps{
		Containers: d.containers, Images: d.images, Volumes: d.volumes, Cgroups: d.cgroups, Events: d.events, Settings: d.settings,
		Runtimes: d.runtimes, Loop: d.newLoop(ctx, &back),
		Usage: func(ctx context.Context) *space.Usage {
			return d.meter.Usage(ctx, cfg.DataRoot, space.Budget, d.images.Settled)
		},
		Room: d.disk.State,
	})
	watchers, err := d.observe(ctx, sys, &back)
	if err != nil {
		return err
	}
	d.disk.SetHint(sys.Prunable)
	handler := api.New(api.Options{
		Containers: d.containers, Execs: d.containers, Images: d.images, Volumes: d.volumes, Networks: networkBackend{d.networks, d.containers.Plugs},
		System: sys, Log: d.log, Ease: d.disk.Ease, Watchers: watchers,
	})
	trimMemory()
	defer d.watchSignals()()
	d.log.Info("hoyd is ready", "version", version.Version, "commit", version.Commit, "data-root", cfg.DataRoot, "monitor", d.monitor.Pid())
	err = serve(ctx, trimming(handler), listeners, d.shutdownTimeout, d.log)
	_, running, paused, _ := d.containers.Counts()
	d.log.Info("hoyd stops; its containers do not", "running", running, "paused", paused)
	return err
}

// networkBackend is the networks, with who is on them.
type networkBackend struct {
	*network.Service
	*plug.Plugs
}

// open opens the rooms from the lowest up; back closes them in reverse.
func (d *Daemon) open(ctx context.Context, back *undo.Stack) (err error) {
	cfg := &d.cfg
	if err := os.MkdirAll(cfg.ExecRoot, 0o711); err != nil {
		return fmt.Errorf("exec root: %w", err)
	}
	d.damages = reconcile.NewDamages(d.log)
	if d.runtime, err = findRuntime(cfg.RuntimeBinary); err != nil {
		return err
	}
	d.runtimes = runtimes.New(d.runtime)
	d.setRuntimes()
	d.disk, err = space.Open(space.Options{Root: cfg.DataRoot, Reserve: int64(cfg.Reserve), Log: d.log})
	if err != nil {
		return err
	}
	back.Push("close the reserve", func(context.Context) error { return d.disk.Close() })
	d.meter = space.NewMeter(filepath.Join(cfg.DataRoot, "usage.json"))
	back.Push("close the meter", func(context.Context) error { return d.meter.Close() })
	d.disk.Ease() // what follows finishes removals, and writes
	if d.db, err = store.OpenReporting(filepath.Join(cfg.DataRoot, "hoy.db"), d.damages); err != nil {
		return err
	}
	back.Push("close store", func(context.Context) error { return d.db.Close() })
	d.db.SetFull(d.disk.GiveWay)
	if d.id, err = engineID(cfg.DataRoot, d.db, d.damages); err != nil {
		return err
	}
	d.events = event.Open(event.Options{Path: filepath.Join(cfg.DataRoot, "events"), ID: d.id, Name: hostname(), Log: d.log})
	back.Push("close events", func(context.Context) error { return d.events.Close() })
	if d.cgroups, err = cgroup.New(cfg.CgroupDriver(), cfg.CgroupParent); err != nil {
		return err
	}
	tidy.Empty(cfg.CgroupParent)
	back.Push("clear cgroups", func(context.Context) error { defer tidy.Empty(cfg.CgroupParent); return d.cgroups.Clear() })
	d.volumes, err = volume.Open(volume.Options{
		Root: filepath.Join(cfg.DataRoot, "volumes"), Store: d.db, Events: d.events.Publish, Log: d.log, Meter: d.meter,
	})
	if err != nil {
		return err
	}
	d.images, err = image.Open(ctx, image.Options{
		Root: filepath.Join(cfg.DataRoot, "image"), Snapshotter: cfg.StorageDriver,
		InsecureRegistries: cfg.InsecureRegistries, RegistryMirrors: cfg.Mirrors, Events: d.events.Publish, Log: d.log,
		Disk: d.disk, Meter: d.meter, Damages: d.damages,
	})
	if err != nil {
		return err
	}
	back.Push("close images", func(context.Context) error { return d.images.Close() })
	d.networks, err = network.New(network.Options{
		Bridge: cfg.Bridge, Table: cfg.FirewallTable, Subnet: cfg.BIP, MTU: cfg.MTU, Store: d.db,
		Events: d.events.Publish, Log: d.log, DefaultBind: cfg.IP, Disabled: cfg.Bridge == "none",
	})
	if err != nil {
		return err
	}
	back.Push("close networks", func(context.Context) error { return d.leaveNetworks() })
	d.monitor, err = monitor.Connect(ctx, monitor.Options{
		Socket: filepath.Join(cfg.ExecRoot, "monitor.sock"), ExecRoot: cfg.ExecRoot, Binary: d.runtime, Log: d.log,
	})
	if err != nil {
		return err
	}
	back.Push("leave the monitor", d.leaveMonitor)
	return d.openContainers(ctx, back)
}

func (d *Daemon) openContainers(ctx context.Context, back *undo.Stack) error {
	set, err := containerSettings(&d.cfg, d.runtime)
	if err != nil {
		return err
	}
	set.Runtimes = d.runtimes
	d.forward = forward.New(forward.Options{Dir: filepath.Join(d.cfg.DataRoot, "unsent-logs"), Log: d.log})
	back.Push("stop forwarding logs", func(context.Context) error { d.forward.Close(); return nil })
	d.containers, err = container.New(d.db, deps.Deps{
		Images: wire.Images(d.images), Networks: wire.Networks(d.networks), Volumes: d.volumes, Monitor: d.monitor,
		Cgroups: cgroups{d.cgroups}, Seccomp: filters{}, Forward: d.forward, Archive: wire.Archive(), Logs: wire.Logs, Top: stats.Top,
		Events: d.events.Publish, Told: d.events.Told, Log: d.log, Now: time.Now, Damages: d.damages,
	}, set)
	if err != nil {
		return err
	}
	d.images.SetUsers(func() []image.Use {
		uses := d.containers.Uses()
		all := make([]image.Use, len(uses))
		for i, u := range uses {
			all[i] = image.Use(u)
		}
		return all
	})
	if _, err := d.containers.Restore(ctx); err != nil {
		return fmt.Errorf("restore containers: %w", err)
	}
	back.Push("close containers", func(context.Context) error { d.containers.Close(); return nil })
	return nil
}

// monitorGrace is how long a monitor with nothing to watch has to end.
const monitorGrace = 5 * time.Second

// leaveMonitor ends the monitor where it has nothing left to watch, else goes without it.
func (d *Daemon) leaveMonitor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, monitorGrace)
	defer cancel()
	err := d.monitor.Shutdown(ctx)
	// A command that ran in a container may end a little later than that.
	for errdefs.IsFailedPrecondition(err) && d.empty() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			err = d.monitor.Shutdown(ctx)
		}
	}
	if err == nil {
		d.idle = true
		return nil // its end closed the connection
	}
	d.log.Debug("the monitor stays", "why", err)
	if err := d.monitor.Close(); !errors.Is(err, os.ErrClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // it went by itself
}

// empty says whether nothing runs, nor is about to be gone.
func (d *Daemon) empty() bool {
	all, _, _, stopped := d.containers.Counts()
	return all == stopped && !d.containers.Lingers()
}

// leaveNetworks takes bridge and rules away where nothing runs, else leaves them to the containers.
func (d *Daemon) leaveNetworks() error {
	if d.idle {
		return d.networks.Destroy()
	}
	return d.networks.Close()
}

// findRuntime finds hoy-run: where the configuration says, beside this binary, or in the path.
func findRuntime(path string) (string, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(self), "hoy-run")
		if _, err := os.Stat(path); err != nil {
			path = "hoy-run"
		}
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return "", fmt.Errorf("hoy-run was found neither beside hoyd nor in PATH: %w; install it, or name it with --runtime-binary", err)
	}
	return filepath.Abs(found)
}

// settings is what GET /info tells of the configuration of the moment.
func (d *Daemon) settings() system.Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return system.Settings{
		ID: d.id, DataRoot: d.cfg.DataRoot, Debug: d.cfg.Debug, Labels: slices.Clone(d.cfg.Labels),
		InsecureRegistries: slices.Clone(d.cfg.InsecureRegistries), Mirrors: slices.Clone(d.cfg.Mirrors),
		LogDriver: d.cfg.LogDriver, SeccompProfile: d.cfg.SeccompProfile, NoNewPrivileges: d.cfg.NoNewPrivileges,
		Remapped: d.cfg.UsernsRemap != "",
		Runtime:  d.runtime, FirewallTable: d.cfg.FirewallTable, Insecure: d.insecure,
	}
}

// setRuntimes tells the containers' room which runtimes are configured now.
func (d *Daemon) setRuntimes() {
	list := make(map[string]runtimes.Runtime, len(d.cfg.Runtimes))
	for name, r := range d.cfg.Runtimes {
		list[name] = runtimes.Runtime{Path: r.Path, Args: r.Args}
	}
	d.runtimes.Set(list, d.cfg.DefaultRuntime)
}

func (d *Daemon) shutdownTimeout() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.cfg.ShutdownTimeout) * time.Second
}
